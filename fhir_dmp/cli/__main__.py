"""``python -m fhir_dmp.cli``: the same commands."""

from fhir_dmp.cli import main

if __name__ == "__main__":  # processes that verify beside a command import this
    main()

"""``python -m fhir_dmp.cli``: the same commands."""

from fhir_dmp.cli import main

main()

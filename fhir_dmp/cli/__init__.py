"""The command line: each command acts as a named operator, through the doors, and leaves its events."""

from __future__ import annotations

import click

from fhir_dmp.cli.access import access
from fhir_dmp.cli.account import account
from fhir_dmp.cli.audit import audit
from fhir_dmp.cli.client import client
from fhir_dmp.cli.load import load_command
from fhir_dmp.cli.record import record
from fhir_dmp.cli.reindex import reindex_command
from fhir_dmp.cli.serve import demo, serve
from fhir_dmp.cli.token import token


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fhir_dmp")
def main() -> None:
    """A FHIR R4 server for the French shared medical record.

    \b
    To try it, with synthetic patients:
      fhir-dmp demo
    To run it:
      fhir-dmp serve
      fhir-dmp client add my-ehr --role ehr --scope "system/*.cruds" --jwks keys.json
      fhir-dmp load --as my-ehr records/
    Each command explains itself: fhir-dmp COMMAND --help
    """  # noqa: D301 - click leaves the lines of a paragraph alone that begins with this character


for command in (serve, demo, client, account, access, token, load_command, audit, reindex_command, record):
    main.add_command(command)

"""``fhir-dmp token``: a short-lived bearer for curl."""

from __future__ import annotations

from pathlib import Path

import click

from fhir_dmp.access.systems import PURPOSES
from fhir_dmp.cli.common import parts, reported, with_data_dir, with_operator


@click.command()
@click.argument("client_id")
@click.option("--scope", default="", help="Fewer scopes than it was registered with.")
@click.option("--patient", help="Bind the token to one record: Patient/id, or the id alone.")
@click.option(
    "--purpose", default="TREAT", show_default=True, help=f"Why it asks: {', '.join(PURPOSES)} (codes of v3-ActReason)."
)
@with_data_dir
@with_operator
@reported
def token(client_id: str, scope: str, patient: str | None, purpose: str, data_dir: Path | None, operator: str) -> None:
    """Print a short-lived bearer token for CLIENT_ID, for curl."""
    with parts(data_dir, operator) as (server, context):
        made = server.tokens.operator_token(
            client_id, scope.split(), operator, context(), patient=patient, purpose=purpose
        )
        click.echo(made)

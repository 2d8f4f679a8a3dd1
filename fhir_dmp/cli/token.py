"""``fhir-dmp token``: a short-lived bearer for curl."""

from __future__ import annotations

from pathlib import Path

import click

from fhir_dmp.cli.common import parts, reported, with_data_dir, with_operator


@click.command()
@click.argument("client_id")
@click.option("--scope", default="", help="Fewer scopes than it was registered with.")
@with_data_dir
@with_operator
@reported
def token(client_id: str, scope: str, data_dir: Path | None, operator: str) -> None:
    """Print a short-lived bearer token for CLIENT_ID, for curl."""
    with parts(data_dir, operator) as (server, context):
        click.echo(server.tokens.operator_token(client_id, scope.split(), operator, context()))

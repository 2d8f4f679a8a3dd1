"""``fhir-dmp client``: the systems that may ask for tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fhir_dmp.cli.common import err, out, parts, reported, with_data_dir, with_operator
from fhir_dmp.oauth.clients import KINDS, ROLES
from fhir_dmp.service.clients import NewClient


@click.group()
def client() -> None:
    """Register, list and remove the systems that may ask for tokens."""


@client.command("add")
@click.argument("client_id")
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    default="backend",
    show_default=True,
    help="A system for itself (backend), or an app for people: one that keeps a key or a secret (confidential), or none (public).",
)
@click.option(
    "--role", type=click.Choice(ROLES), required=True, help="What the system is; it decides what it may ever see."
)
@click.option("--scope", required=True, help='SMART scopes, for example "system/*.cruds" or "system/Patient.rs".')
@click.option(
    "--jwks",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File with its public key set (a JWK Set).",
)
@click.option("--jwks-url", help="Where its public key set is published.")
@click.option(
    "--secret", is_flag=True, help="Make a secret for a confidential client that has no key set; it is printed once."
)
@click.option("--redirect-uri", multiple=True, help="Where an app gets its answers; may be given several times.")
@click.option("--name", help="What people are told it is called, when it asks them.")
@click.option("--organization", help="The structure it acts for: SYSTEM|VALUE.")
@with_data_dir
@with_operator
@reported
def client_add(client_id: str, jwks: Path | None, data_dir: Path | None, operator: str, **given: Any) -> None:
    """Register a client under CLIENT_ID."""
    new = NewClient(
        id=client_id,
        kind=given["kind"],
        role=given["role"],
        scopes=tuple(given["scope"].split()),
        organization=given["organization"],
        jwks=jwks.read_text() if jwks else None,
        jwks_url=given["jwks_url"],
        redirect_uris=given["redirect_uri"],
        name=given["name"],
    )
    secret = None
    with parts(data_dir, operator) as (server, context):
        if given["secret"]:
            made, secret = server.clients.add_with_secret(new, context())
        else:
            made = server.clients.add(new, context())
    out.print(f"{made.id}: {made.kind} client, role {made.role}, scopes {' '.join(made.scopes)}")
    if secret is not None:
        err.print("Its secret, which is kept nowhere and shown this once:")
        click.echo(secret)


@client.command("list")
@with_data_dir
@with_operator
@reported
def client_list(data_dir: Path | None, operator: str) -> None:
    """List all clients."""
    with parts(data_dir, operator) as (server, context):
        for each in server.clients.list(context()):
            click.echo(f"{each.id}\t{each.kind}\t{each.role}\t{' '.join(each.scopes)}\t{each.organization or ''}")


@client.command("remove")
@click.argument("client_id")
@with_data_dir
@with_operator
@reported
def client_remove(client_id: str, data_dir: Path | None, operator: str) -> None:
    """Forget CLIENT_ID: its tokens stop at once."""
    with parts(data_dir, operator) as (server, context):
        server.clients.remove(client_id, context())
    out.print(f"{client_id} is removed.")

"""``fhir-dmp access``: why somebody may or may not see a record."""

from __future__ import annotations

from pathlib import Path

import click

from fhir_dmp.access.model import Action
from fhir_dmp.cli.common import out, parts, reported, with_data_dir, with_operator
from fhir_dmp.service.explain import Explainer, Supposed


@click.group()
def access() -> None:
    """Explain who may see what."""


@access.command("explain")
@click.option("--as", "who", required=True, help="A client's id, or an account's login or id.")
@click.option("--patient", required=True, help="The record: Patient/id, or the id alone.")
@click.option("--resource", help="One resource of it: Type/id. Without it, the record as a whole.")
@click.option(
    "--action",
    type=click.Choice(["create", "read", "update", "delete", "search"]),
    default="read",
    show_default=True,
    help="What they want to do.",
)
@click.option("--purpose", type=click.Choice(["TREAT", "BTG", "ETREAT"]), help="Why a professional asks.")
@click.option("--reason", help="What is written for an emergency.")
@click.option(
    "--situation", type=click.IntRange(1), default=1, show_default=True, help="In which of a professional's situations."
)
@click.option(
    "--weak", is_flag=True, help="As one who signed in without a second factor, at a provider that asks for none."
)
@with_data_dir
@with_operator
@reported
def explain_command(
    who: str,
    patient: str,
    resource: str | None,
    action: Action,
    purpose: str | None,
    reason: str | None,
    situation: int,
    *,
    weak: bool,
    data_dir: Path | None,
    operator: str,
) -> None:
    """Tell in plain words how the server decides."""
    with parts(data_dir, operator) as (server, context):
        explainer = Explainer(server.grants, server.accounts.accounts, server.env)
        supposed = Supposed(purpose, reason, situation, strong=not weak)
        found = explainer.explain(who, patient, context(), resource=resource, action=action, supposed=supposed)
        for line in found:
            out.print(line, markup=False, soft_wrap=True)

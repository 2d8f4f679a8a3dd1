"""``fhir-dmp account``: the people who may sign in."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fhir_dmp.call import Context
from fhir_dmp.cli.common import out, parts, reported, with_data_dir, with_operator
from fhir_dmp.errors import Invalid
from fhir_dmp.oauth.people import traits_digest
from fhir_dmp.oauth.providers import TRAITS
from fhir_dmp.service.accounts import Accounts, Enrolment, NewAccount
from fhir_dmp.store.accounts import Account, Represented, Situation

PASSWORD_LENGTH = 1024


@click.group()
def account() -> None:
    """Add, list, change and remove the people who may sign in."""


@account.command("add")
@click.argument("login", required=False)
@click.option("--kind", type=click.Choice(["patient", "professional"]), required=True)
@click.option("--name", required=True, help="How the person is shown.")
@click.option("--resource", required=True, help="Who that is in FHIR: Patient/ID, RelatedPerson/ID or Practitioner/ID.")
@click.option("--identifier", required=True, help="The national one: SYSTEM|VALUE, an INS, IDNPS or RPPS.")
@click.option(
    "--situation",
    multiple=True,
    help="Of a professional: PROFESSION,SPECIALTY,ORGANIZATION,NAME, for example "
    '"10,SM26,urn:oid:1.2.250.1.71.4.2.2|1750712184,Cabinet du Port"; what comes after the profession may be left out.',
)
@click.option("--birth-date", help="YYYY-MM-DD; it tells who is a minor.")
@click.option(
    "--traits",
    help="The five traits by which an identity provider may know the person: FAMILY|GIVEN NAMES|YYYY-MM-DD|M or F|CODE OF BIRTH PLACE.",
)
@click.option("--federated", help="The person at an OpenID provider: PROVIDER|SUBJECT. Then LOGIN may be left out.")
@with_data_dir
@with_operator
@reported
def account_add(login: str | None, data_dir: Path | None, operator: str, **given: Any) -> None:
    """Add a person who signs in by LOGIN; the password is asked for, or read from standard input.

    A professional gets a second factor at once, which is shown this once.
    """
    provider, _, subject = (given["federated"] or "").partition("|")
    new = NewAccount(
        kind=given["kind"],
        name=given["name"],
        resource=given["resource"],
        identifier=given["identifier"],
        login=login,
        password=_password() if login else None,
        situations=tuple(_situation(text) for text in given["situation"]),
        birth_date=given["birth_date"],
        traits=_traits(given["traits"]) if given["traits"] else None,
        provider=provider or None,
        subject=subject or None,
    )
    with parts(data_dir, operator) as (server, context):
        made = server.accounts.add(new, context())
        out.print(f"{made.id}\t{made.kind}\t{made.login or made.provider}\t{made.name}", soft_wrap=True)
        if made.kind == "professional" and made.login:
            _tell(server.accounts.new_totp(made.id, context()))


@account.command("represent")
@click.argument("which")
@click.argument("related_person")
@click.argument("patient")
@click.option("--name", required=True, help="Whose record it is, as it is shown to who chooses.")
@with_data_dir
@with_operator
@reported
def account_represent(
    which: str, related_person: str, patient: str, name: str, data_dir: Path | None, operator: str
) -> None:
    """Say that WHICH (id or login) is RELATED_PERSON (RelatedPerson/ID) in the record of PATIENT (Patient/ID).

    It opens nothing by itself: that is for the record to say.
    """
    with parts(data_dir, operator) as (server, context):
        server.accounts.represent(which, Represented(related_person, patient, name), context())
    out.print(f"{which} is {related_person} in the record of {name}.")


@account.command("list")
@with_data_dir
@with_operator
@reported
def account_list(data_dir: Path | None, operator: str) -> None:
    """List all accounts."""
    with parts(data_dir, operator) as (server, context):
        for each in server.accounts.list(context()):
            out.print(_line(each), soft_wrap=True)


def _change(name: str, told: str, change: Callable[[Accounts, str, Context], object], done: str) -> None:
    """Make the command of a change that needs nothing but the account."""

    @account.command(name, help=told)
    @click.argument("which")
    @with_data_dir
    @with_operator
    @reported
    def command(which: str, data_dir: Path | None, operator: str) -> None:
        with parts(data_dir, operator) as (server, context):
            change(server.accounts, which, context())
        out.print(f"{which} is {done}.")


_change(
    "disable",
    "Let nobody sign in by WHICH (id or login): its sessions and tokens stop at once.",
    Accounts.disable,
    "disabled",
)
_change("enable", "Let the owner of WHICH (id or login) sign in again.", Accounts.enable, "enabled")
_change("remove", "Forget WHICH (id or login): its sessions and tokens stop at once.", Accounts.remove, "removed")


@account.command("password")
@click.argument("which")
@with_data_dir
@with_operator
@reported
def account_password(which: str, data_dir: Path | None, operator: str) -> None:
    """Replace the password of WHICH (id or login): it is asked for, or read from standard input."""
    password = _password()
    with parts(data_dir, operator) as (server, context):
        server.accounts.set_password(which, password, context())
    out.print(f"{which} has a new password; who was signed in is signed out.")


@account.command("totp")
@click.argument("which")
@with_data_dir
@with_operator
@reported
def account_totp(which: str, data_dir: Path | None, operator: str) -> None:
    """Give WHICH (id or login) a new second factor, which is shown this once."""
    with parts(data_dir, operator) as (server, context):
        _tell(server.accounts.new_totp(which, context()))


def _password() -> str:
    """Return the password as a person typed it, twice, or as another program wrote it, on one line."""
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline(PASSWORD_LENGTH).rstrip("\r\n")


def _situation(text: str) -> Situation:
    profession, specialty, organization, label = [*(part.strip() for part in text.split(",", 3)), "", "", ""][:4]
    if not profession:
        raise Invalid("A situation begins with the code of a profession, such as 10.")
    return Situation(profession, specialty or None, organization or None, label)


def _traits(text: str) -> str:
    parts = text.split("|")
    if len(parts) != len(TRAITS) or not all(part.strip() for part in parts):
        raise Invalid("The traits are five: FAMILY|GIVEN NAMES|YYYY-MM-DD|M or F|CODE OF BIRTH PLACE.")
    return traits_digest(*parts)


def _tell(enrolment: Enrolment) -> None:
    out.print("Second factor, for an authenticator application:", f"  {enrolment.uri}", sep="\n", soft_wrap=True)
    out.print(
        "Codes for the day it is lost, each good once:", f"  {' '.join(enrolment.recovery)}", sep="\n", soft_wrap=True
    )


def _line(each: Account) -> str:
    state = "disabled" if each.disabled else "second factor" if each.totp else "enabled"
    by = each.login or f"{each.provider}|{each.subject}"
    return f"{each.id}\t{each.kind}\t{by}\t{each.name}\t{each.resource}\t{each.identifier}\t{state}"

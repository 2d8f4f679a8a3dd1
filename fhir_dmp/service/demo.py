"""The demonstration: a client and synthetic patients, which no real server may hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol

from joserfc.jwk import ECKey

from fhir_dmp.call import Call, Context, Result
from fhir_dmp.demo.generate import directory, patients
from fhir_dmp.demo.people import PASSWORD, TOTP, household, people, records
from fhir_dmp.fhir import codec
from fhir_dmp.service.accounts import Accounts, NewAccount
from fhir_dmp.service.clients import Clients, NewClient
from fhir_dmp.service.load import Door, Outcome, load_unit
from fhir_dmp.service.load_files import Unit
from fhir_dmp.service.tokens import Tokens
from fhir_dmp.store.port import Store

BUNDLES = 4
"""How many are loaded beside those of the patients: the directory, the people who may sign in, and their records."""


class Parts(Protocol):
    """What of the server the demonstration needs."""

    @property
    def clients(self) -> Clients:
        """The door of registration."""
        ...

    @property
    def accounts(self) -> Accounts:
        """The door of accounts."""
        ...

    @property
    def tokens(self) -> Tokens:
        """The door of OAuth."""
        ...

    @property
    def store(self) -> Store:
        """Where marks are kept."""
        ...

    def perform(self, call: Call, context: Context) -> Result:
        """Pass the one door."""
        ...

    def operator_context(self, operator: str, act: str) -> Context:
        """Return the Context of the person who demonstrates."""
        ...


def prepare_demo(parts: Parts, count: int, seed: int, progress: Callable[[Outcome], None]) -> None:
    """Register the demonstration's clients and people and load its patients, unless that was done before."""
    context = parts.operator_context("demo", "demo")
    known = {client.id for client in parts.clients.list(context)}
    for new in _clients():
        if new.id not in known:
            parts.clients.add(new, context)
    doors = {client: _door(parts, client, context) for client in ("demo-ehr", "demo-insurance")}
    for client, name, bundle in _bundles(count, seed):
        progress(load_unit(Unit(name, partial(bytes, codec.dumps(bundle))), doors[client]))
    _add_people(parts.accounts, seed, context)


def _door(parts: Parts, client_id: str, context: Context) -> Door:
    caller = parts.tokens.verify_bearer(parts.tokens.operator_token(client_id, (), "demo", context))
    writer = caller.enters(context)
    return Door(parts.perform, lambda: writer, parts.store.has_mark)


def _add_people(accounts: Accounts, seed: int, context: Context) -> None:
    for person in people(seed):
        if accounts.accounts.find_account_by_login(person.login):
            continue
        new = NewAccount(
            kind=person.kind,
            name=person.name,
            resource=person.resource,
            identifier=person.identifier,
            login=person.login,
            password=PASSWORD,
            situations=person.situations,
            represents=person.represents,
            birth_date=person.birth_date.isoformat() if person.birth_date else None,
        )
        made = accounts.add(new, context)
        if person.kind == "professional":
            accounts.new_totp(made.id, context, TOTP)


def _clients() -> Iterator[NewClient]:
    """Yield the clients; their private keys are thrown away, so that tokens come from the command line alone."""
    for client_id, role, scopes in (
        ("demo-ehr", "ehr", ("system/*.cruds",)),
        ("demo-auditor", "auditor", ("system/AuditEvent.rs",)),
        ("demo-insurance", "insurance-feed", ("system/*.cruds",)),
    ):
        key = ECKey.generate_key("P-384")
        jwks = json.dumps({"keys": [{**key.as_dict(private=False), "kid": "demo"}]})
        yield NewClient(id=client_id, kind="backend", role=role, scopes=scopes, jwks=jwks, organization="urn:demo|1")


def _bundles(count: int, seed: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield who loads it, what it is called, and the bundle: the insurance tells who people are, which opens their records."""
    yield "demo-insurance", "directory", directory(seed)
    yield "demo-insurance", "household", household(seed)
    for number, bundle in enumerate((*records(seed), *patients(seed, count)), start=1):
        yield "demo-ehr", f"patient {number}", bundle

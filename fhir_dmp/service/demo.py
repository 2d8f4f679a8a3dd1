"""The demonstration: a client and synthetic patients, which no real server may hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

from joserfc.jwk import ECKey

from fhir_dmp.call import Call, Context, Result
from fhir_dmp.demo.generate import directory, patients
from fhir_dmp.errors import Conflict
from fhir_dmp.fhir import codec
from fhir_dmp.service.clients import Clients, NewClient
from fhir_dmp.service.load import Door, Outcome, Unit, load_unit
from fhir_dmp.service.tokens import Tokens
from fhir_dmp.store.port import Store

DEMO_CLIENTS = ("demo-ehr", "demo-auditor")


class Parts(Protocol):
    """What of the server the demonstration needs."""

    @property
    def clients(self) -> Clients:
        """The door of registration."""
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


def require_no_demo(clients: Clients, context: Context) -> None:
    """Refuse to serve a folder that holds the clients of a demonstration."""
    found = [client.id for client in clients.list(context) if client.id in DEMO_CLIENTS]
    if found:
        raise Conflict(
            f"This folder was made by a demonstration ({', '.join(found)}): serve another --data-dir, "
            "or remove its clients with fhir-dmp client remove."
        )


def prepare_demo(parts: Parts, count: int, seed: int, progress: Callable[[Outcome], None]) -> None:
    """Register the demonstration's clients and load its patients, unless that was done before."""
    context = parts.operator_context("demo", "demo")
    known = {client.id for client in parts.clients.list(context)}
    for new in _clients():
        if new.id not in known:
            parts.clients.add(new, context)
    caller = parts.tokens.verify_bearer(parts.tokens.operator_token("demo-ehr", (), "demo", context))
    writer = caller.enters(context)
    door = Door(parts.perform, lambda: writer, parts.store.has_mark)
    for name, raw in _bundles(count, seed):
        progress(load_unit(Unit(name, partial(bytes, raw)), door))


def _clients() -> Iterator[NewClient]:
    """Yield the clients; their private keys are thrown away, so that tokens come from the command line alone."""
    for client_id, role, scopes in (
        ("demo-ehr", "ehr", ("system/*.cruds",)),
        ("demo-auditor", "auditor", ("system/AuditEvent.rs",)),
    ):
        key = ECKey.generate_key("P-384")
        jwks = json.dumps({"keys": [{**key.as_dict(private=False), "kid": "demo"}]})
        yield NewClient(id=client_id, kind="backend", role=role, scopes=scopes, jwks=jwks, organization="urn:demo|1")


def _bundles(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    yield "directory", codec.dumps(directory(seed))
    for number, bundle in enumerate(patients(seed, count), start=1):
        yield f"patient {number}", codec.dumps(bundle)

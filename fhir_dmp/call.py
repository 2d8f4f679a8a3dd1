"""The travelling values: what is asked, by whom, with what, what shall change, and what comes back."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any, Literal, Protocol
from urllib.parse import quote

from msgspec import Struct, field
from msgspec.structs import replace

from fhir_dmp.access.model import Action, Decision, Rule, Subject
from fhir_dmp.access.policy import Policy
from fhir_dmp.clock import Clock, Ids
from fhir_dmp.definitions.model import Definitions
from fhir_dmp.errors import FhirError, Issue
from fhir_dmp.fhir import url
from fhir_dmp.fhir.parameters import NONE_GIVEN, Parameters
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.search.form import FORM
from fhir_dmp.settings import Limits, Readings
from fhir_dmp.store.change import Change, Event, Lock, Stored
from fhir_dmp.store.grants import PolicyRow
from fhir_dmp.store.ledger import Ledger
from fhir_dmp.store.port import Extract, Store
from fhir_dmp.store.query import Query, Row
from fhir_dmp.store.recent import Recent
from fhir_dmp.store.turns import Turns

Params = url.Params

MOST_ASKED = 128 * 1024
"""Characters of what one call may ask beside its URL, in a form or in Parameters, and of an entry's URL: the log holds it whole."""

MOST_CONDITIONS = 8 * MOST_ASKED
"""Characters of the criteria of one transaction, which has one event: the log holds them whole."""

_CODE = re.compile(r"[A-Za-z0-9\-]{1,64}\Z")


class Call(Struct, frozen=True):
    """One FHIR interaction as it was asked. https://hl7.org/fhir/R4/http.html#3.1.0.

    ``name`` is the code of http://hl7.org/fhir/restful-interaction. ``body`` is what was sent (bytes), or the resource
    of a bundle's entry (parsed). ``params`` are the query's names and values in their order, decoded. ``criteria`` is the
    query of a conditional interaction (``If-None-Exist``, or the search part of the URL). ``mark`` is remembered in the
    commit of what the call does, so that a load is known to be done. ``provenance`` is the Provenance (JSON) that is told with a
    change. ``compartment`` is the record that a search stays within. ``operation`` is the code of an operation, without ``$``, and
    ``parameters`` what it is given, once that was read; its ``body`` is None where it was called by GET.
    """

    name: str
    type: str | None = None
    id: str | None = None
    version: str | None = None
    params: Params = ()
    body: bytes | Mapping[str, Any] | None = None
    criteria: str | None = None
    if_match: str | None = None
    if_none_match: str | None = None
    if_modified_since: str | None = None
    strict: bool = False
    prefer: Literal["minimal", "representation", "OperationOutcome"] | None = None
    mark: str | None = None
    provenance: str | None = None
    operation: str | None = None
    compartment: Ref | None = None
    parameters: Parameters = NONE_GIVEN

    @property
    def act(self) -> str:
        """The name that the log knows it by: the interaction, or the operation as ``$name`` if it is one that could be."""
        return f"${self.operation}" if self.operation and _CODE.match(self.operation) else self.name

    @property
    def resource_type(self) -> str:
        """The type that the call names; only for calls that name one."""
        if self.type is None:
            raise ValueError(f"{self.name} names no type")
        return self.type

    @property
    def ref(self) -> Ref:
        """The resource that the call names; only for calls that name one."""
        if self.type is None or self.id is None:
            raise ValueError(f"{self.name} names no resource")
        return Ref(self.type, self.id)

    @property
    def path(self) -> str:
        """Where it is asked for, below the base URL: what it names, or ``*`` for whatever is in a compartment. https://hl7.org/fhir/R4/http.html#3.1.0.1.6."""
        within = (self.compartment.type, self.compartment.id, self.type or "*") if self.compartment else (self.type,)
        listed = "_history" if self.name.startswith("history") or self.version else None
        parts = (*within, self.id, listed, self.version, self.act if self.operation else None)
        return "/".join([quote(part, "$*") for part in parts if part])


class Context(Struct, frozen=True):
    """Who asks, why, from where and when.

    ``subject`` is None for a caller that nobody knows, who reaches nothing but a refusal. ``url`` is method and URL as sent,
    for the audit; ``address`` the network address of the client; ``base_url`` that of the FHIR endpoint. ``policy`` is what
    opens the one record that the subject's token reaches, read with its token. ``language`` is that of words for people.
    """

    subject: Subject | None
    now: datetime
    request_id: str
    base_url: str
    address: str = ""
    url: str = ""
    purpose: str = "TREAT"
    policy: PolicyRow | None = None
    language: Literal["fr", "en"] = "fr"


class Caller(Struct, frozen=True):
    """Who a bearer token speaks for, and what opens the one record that it reaches, both as they stand now."""

    subject: Subject
    policy: PolicyRow | None = None

    def enters(self, context: Context) -> Context:
        """Return the Context of a stranger as the Context of this caller."""
        return replace(context, subject=self.subject, purpose=self.subject.purpose, policy=self.policy)


Restrict = Callable[[str, Params], Query]
"""Compiles search parameters of a type to the query that they mean for one row, or raises a ``FhirError``."""

Validate = Callable[[str, Mapping[str, Any]], Sequence[Issue]]
"""Given the type that is expected and a parsed resource, return what is wrong with it (empty: nothing)."""


class Env(Struct, frozen=True):
    """What interactions work with; made once by the composition root.

    ``seal`` and ``unseal`` protect page tokens: bytes to URL-safe text and back (``unseal`` raises ``Invalid``).
    ``restrict`` compiles the search restrictions of scopes. At ``majority`` years, on the day as it begins in ``zone``, nobody's parents act
    for them. ``readings`` are of the rules that no text settles.
    ``indexed_by`` is a number that changes with the search parameters of ``extract``; ``statement`` is the CapabilityStatement as it stands.
    ``form`` is that in which all rows that are stored are indexed (``search.form``). ``turns`` is the order of those who change
    the same resource, ``recent`` what writers may presume of policies. ``tied`` tells to which resource an account is tied that has a number:
    of a type (``Practitioner``), ``system|value``.
    """

    store: Store
    ledger: Ledger
    definitions: Definitions
    validate: Validate
    extract: Extract
    clock: Clock
    ids: Ids
    limits: Limits
    seal: Callable[[bytes], str]
    unseal: Callable[[str], bytes]
    restrict: Restrict
    indexed_by: Callable[[], int]
    statement: Callable[[], bytes]
    form: int = FORM
    majority: int = 18
    zone: tzinfo = UTC
    readings: Readings = field(default_factory=Readings)
    turns: Turns = field(default_factory=Turns)
    recent: Recent = field(default_factory=Recent)
    tied: Callable[[str, str], str | None] = lambda *_: None


class Grant(Protocol):
    """What the caller of one perform may do: the same rules, read by ``decide`` for one row and by ``narrow`` for lists."""

    def rules(self, action: Action, *, provenances_apart: bool = False) -> tuple[Rule, ...]:
        """Return the rules for whatever is listed; raise ``TooCostly`` if too many records would have to be looked at.

        Who lists so few rows that each Provenance among them can be judged by itself (``decide``) takes them apart.
        """
        ...

    def decide(self, action: Action, row: Row) -> Decision:
        """Return the decision for one row, by the policies of the records that hold it."""
        ...

    def sees(self, provenances: Sequence[Ref]) -> Collection[Ref]:
        """Return those of these Provenances whose targets the caller all sees."""
        ...

    def policy(self, patient: str) -> tuple[Policy, int]:
        """Return what opens a record (``Patient/p``) now, and its version (0: nothing was ever said)."""
        ...

    def searches(self, action: Action) -> bool:
        """Tell whether a rule for the action looks at what is searched, as a scope with a restriction does."""
        ...


class Entity(Struct, frozen=True):
    """A resource that an act touched, for its event.

    ``patients`` are ids (``Patient/p``) of the records concerned; ``hidden`` tells that its label hides it from representatives,
    ``stays`` that it was to be changed and nothing of it differed: it is the version that it was. ``authors`` are those of a Binary, whose
    documents say whose it is.
    """

    ref: Ref
    version: int | None
    patients: tuple[str, ...] = ()
    hidden: bool = False
    stays: bool = False
    authors: tuple[str, ...] = ()


class Result(Struct, frozen=True):
    """What an interaction answers, before HTTP renders it.

    ``outcome`` is a fact that ``http`` gives a status. ``body`` is JSON as bytes (never parsed again). ``entities`` are what
    was disclosed or changed; ``query`` is what a search asked, as the server understood it. ``entries`` are the acts of
    a bundle's entries, each with its own outcome. ``content_type`` is that of a body that is no FHIR resource. ``concerned`` are what
    was told of and not named: rows that were counted, events of the log; of these the event tells whose they are. ``hidden`` tells, once
    there is an event, that of the token's own record it tells representatives nothing.
    """

    outcome: Literal["ok", "created", "no-content", "not-modified", "accepted"]
    body: bytes | None = None
    ref: Ref | None = None
    version: int | None = None
    updated: int | None = None
    entities: tuple[Entity, ...] = ()
    query: str | None = None
    entries: tuple[Act, ...] = ()
    content_type: str | None = None
    concerned: tuple[Entity, ...] = ()
    hidden: bool = False


class Act(Struct, frozen=True):
    """One call and how it ended: what an event describes.

    ``met`` is what it had to do with and did not touch: it failed, found nothing or merely referred to it; ``referred`` are the criteria by
    which a transaction did (``Type?criteria``). ``hidden``: representatives are told nothing of it, whatever it touched.
    """

    call: Call
    result: Result | None = None
    error: FhirError | None = None
    reasons: tuple[str, ...] = ()
    met: tuple[Entity, ...] = ()
    referred: tuple[str, ...] = ()
    hidden: bool = False


class Plan(Struct, frozen=True):
    """What a writer would change, and how it answers once that is done.

    Writers are pure: the same call, store state and ids give the same Plan. ``relied_on`` are versions that were read.
    ``finish`` makes the Result from the committed versions, in the order of ``changes``, and from what became of
    ``reads``, which pass the door by themselves once the commit is done. ``entities`` and ``entries`` describe
    the Plan for the event, which is part of the same commit. ``events`` are rows for the log beside that one. ``entitled`` marks
    the Plan of an operation on access itself, which has judged by its own rules that its caller may open or shut the record; of
    a Patient only the elements that it ``states`` are its word. ``erased`` are records that are removed for good. ``withheld`` is the
    error that the log tells where the answer is that nothing is there. ``told`` is the call that the log tells where what was asked
    is not what was done. ``referred`` are the criteria by which its resources refer to others, and ``met`` what these found.
    """

    changes: tuple[Change, ...]
    finish: Callable[[Sequence[Stored], Sequence[Act]], Result]
    locks: tuple[Lock, ...] = ()
    relied_on: Mapping[Ref, int] = field(default_factory=dict)
    entities: tuple[Entity, ...] = ()
    entries: tuple[Act, ...] = ()
    events: tuple[Event, ...] = ()
    reads: tuple[Call, ...] = ()
    entitled: bool = False
    states: tuple[str, ...] = ()
    erased: tuple[str, ...] = ()
    withheld: FhirError | None = None
    told: Call | None = None
    referred: tuple[str, ...] = ()
    met: tuple[Entity, ...] = ()


Interaction = Callable[[Call, Context, Grant, Env], Result | Plan]
"""The one shape of every interaction: readers return what they found, writers what they would change."""

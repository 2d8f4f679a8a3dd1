"""What each caller is told of the log: its AuditEvents, rendered as they may see them.

Auditors read all of it, without clinical values; holders and their representatives what was done to the record, without what the law
still hides from them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any, TypeVar

import structlog
from msgspec import Struct, field
from msgspec.structs import replace

from fhir_dmp.audit.parts import event_id
from fhir_dmp.audit.render import Opened, render
from fhir_dmp.audit.scene import View
from fhir_dmp.call import Context, Entity, Env, Grant
from fhir_dmp.errors import FhirError
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.labels import HIDDEN_FROM_REPRESENTATIVES
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.store.change import Event
from fhir_dmp.store.log import indexes_of
from fhir_dmp.store.port import EventPart

T = TypeVar("T")

TYPE = "AuditEvent"
_PATIENT = re.compile(r"Patient/[A-Za-z0-9\-.]{1,64}\Z")
_log = structlog.get_logger(__name__)


def rendered(parts: Sequence[EventPart], context: Context, grant: Grant, env: Env) -> list[bytes | None]:
    """Return the AuditEvents as this caller may see them; None for those of a row that is damaged."""
    rows = {part.event.id: _made(partial(Opened.of, part.event)) for part in parts}
    named = [_made(partial(_names, rows[part.event.id], part.number)) for part in parts]
    view = view_of({name for names in named for name in names or ()}, context, grant, env)

    def told(part: EventPart, row: Opened) -> bytes:
        return codec.dumps(render(row, part.number, context.base_url, _own(view, part, context)))

    return [
        _made(partial(told, part, row)) if (row := rows[part.event.id]) is not None and names is not None else None
        for part, names in zip(parts, named, strict=True)
    ]


def _made(make: Callable[[], T]) -> T | None:
    """Return what is made of a row; None if the row says nothing that makes sense: somebody, or a disk, damaged it."""
    try:
        return make()
    except (FhirError, LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as fault:
        _log.error("audit-row-damaged", fault=type(fault).__name__)
        return None


def _names(row: Opened | None, number: int) -> Collection[str]:
    """Return what an AuditEvent names, and the Consents of its row."""
    if row is None:
        return ()
    names = (*row.parts[number - 1].names, *row.row.get("consents", ()))
    if not all(isinstance(name, str) for name in names):
        raise TypeError("a name is no text")
    return names


def damage(row_id: str, env: Env) -> str:
    """Return what is said of a damaged row."""
    return f"An event of the log, {place(row_id, env)}, is damaged and cannot be told: see fhir-dmp audit verify."


def place(row_id: str, env: Env) -> str:
    """Return a row's id with its place, as a verifier names it, where the log still knows that."""
    found = env.ledger.place_of(row_id)
    if found is None:
        return row_id
    row, leaf = found
    return f"{row_id} ({row.writer}/{row.epoch}/{row.number}, {'no leaf yet' if leaf is None else f'leaf {leaf}'})"


def view_of(names: Iterable[str], context: Context, grant: Grant, env: Env) -> View:
    """Return what a caller sees: a person the items they may read now, an auditor ids of all and clinical values of none.

    What others asked for and is not here is not told, as what is hidden is not: whoever asks for an id would have them tell which it is.
    """
    person = context.subject.person if context.subject else None
    if person is None:
        return View(context.language, sealed=False)
    refs = {ref for name in names if (ref := ref_of(name)) and ref.type != TYPE}
    rows = env.store.find_many(sorted(refs, key=str)) if refs else {}

    @cache
    def sees(name: str) -> bool:
        ref = ref_of(name)
        row = rows.get(ref) if ref else None
        return row is not None and grant.decide("read", row.index).permit

    return View(context.language, sees, values=False, sealed=False, hidden=person.kind != "representative")


def _own(view: View, part: EventPart, context: Context) -> View:
    """Return the view with what lies sealed, for somebody who looks at what they did themselves, or at whose glass was broken."""
    person = context.subject.person if context.subject else None
    if person is None:
        return view
    tokens = part.event.index.get("t", ())
    opened = any(f"p={purpose}" in tokens for purpose in ("BTG", "ETREAT"))
    mine = f"g={person.identifier}" in tokens or f"g={person.resource}" in tokens
    return replace(view, values=mine, sealed=mine, reason=mine or opened, own=mine)


def sees_all(event: Event, context: Context, grant: Grant) -> bool:
    """Tell whether the caller may have a row as it is stored: no person may, since what they see is cut to what concerns them."""
    if context.subject is None or context.subject.person is not None:
        return False
    parts = (EventPart(event, number) for number in range(1, event.index.get("m", 1) + 1))
    return all(grant.decide("read", judged(part)).permit for part in parts)


def ref_of(name: str) -> Ref | None:
    """Return what a name of the log refers to (``Type/id``, or a version of it), if to anything."""
    parts = name.split("/")
    return Ref(parts[0], parts[1]) if len(parts) > 1 else None


def judged(part: EventPart) -> dict[str, Any]:
    """Return what the rules judge an AuditEvent by."""
    index = indexes_of(part.event.index)[part.number - 1]
    ident = event_id(part.event.id, part.number)
    return {**index, "pt": tuple(index.get("pt", ())), "_id": f"{TYPE}/{ident}", "ty": TYPE}


def traced(part: EventPart) -> Entity | None:
    """Return what the event says of an AuditEvent that is told: in whose journals it stands; None of a row that is damaged."""
    return _made(partial(_traced, part))


def _traced(part: EventPart) -> Entity:
    index = judged(part)
    patients = tuple(_patients(index))
    ident = event_id(part.event.id, part.number)
    return Entity(Ref(TYPE, ident), 1, patients, HIDDEN_FROM_REPRESENTATIVES in index.get("sec", ()))


def _patients(index: Mapping[str, Any]) -> Iterator[str]:
    """Yield whose an AuditEvent is; of what somebody altered in the database no more is named than could be a patient."""
    return (each for each in index.get("pt", ()) if isinstance(each, str) and _PATIENT.match(each))


class Concerned(Struct):
    """Of whom rows tell that leave whole: of as many patients as an event may name (``most``), unless one row tells of more."""

    most: int
    hidden: dict[str, bool] = field(default_factory=dict)

    def takes(self, index: Mapping[str, Any]) -> bool:
        """Take in a row, by what it is found by, and return True; False where it would then be of too many. A damaged row is nobody's."""
        found = _made(partial(_whose, index)) or {}
        if self.hidden and len(self.hidden) + sum(each not in self.hidden for each in found) > self.most:
            return False
        self.hidden.update({each: hidden and self.hidden.get(each, True) for each, hidden in found.items()})
        return True

    @property
    def entities(self) -> tuple[Entity, ...]:
        """In whose journals it stands, and where with the holder alone, for all that is told of them is."""
        return tuple(
            Entity(ref, None, (patient,), hidden)
            for patient, hidden in self.hidden.items()
            if (ref := ref_of(patient)) is not None
        )


def _whose(index: Mapping[str, Any]) -> dict[str, bool]:
    """Return whose the AuditEvents of a row are, and whether all of theirs are hidden from representatives."""
    found: dict[str, bool] = {}
    for each in indexes_of(index):
        hidden = HIDDEN_FROM_REPRESENTATIVES in each.get("sec", ())
        found.update({patient: hidden and found.get(patient, True) for patient in _patients(each)})
    return found

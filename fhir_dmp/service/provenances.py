"""A Provenance belongs to the record of what it is about, and is seen by who sees all of that. https://hl7.org/fhir/R4/provenance.html.

It has no labels of its own: an item that is masked, hidden or withheld by a Consent would be told by the Provenance of it. So its
targets are judged when somebody asks, by the rules as they are then. What is hidden from representatives when a Provenance is told of it hides
that for good: the traces of it would say who had to do with it, and when.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from msgspec.structs import replace

from fhir_dmp.access.model import Action, Decision
from fhir_dmp.call import Call, Entity, Env, Plan
from fhir_dmp.fhir.labels import HIDDEN_FROM_REPRESENTATIVES
from fhir_dmp.fhir.reference import Ref, parse_literal
from fhir_dmp.interactions.entities import entity
from fhir_dmp.service.named import asked_of
from fhir_dmp.store.change import Change
from fhir_dmp.store.query import TARGETS, Row

TYPE = "Provenance"
MOST = 1000
"""Provenances of a list whose targets are looked at."""

_TARGET = TARGETS[0]
_SYSTEM = ("search-system", "history-system")


class Judge(Protocol):
    """Knows what the caller may do with a row."""

    def decide(self, action: Action, row: Row) -> Decision:
        """Return the decision for one row."""
        ...


def targets_of(row: Row) -> tuple[Ref, ...]:
    """Return what a Provenance is about, of what lies on this server."""
    named = (parse_literal(each.removeprefix(_TARGET)) for each in row.get("t") or () if each.startswith(_TARGET))
    return tuple(dict.fromkeys(each.ref for each in named if each and each.base is None))


def is_known_what_about(row: Row) -> bool:
    """Tell whether it is known what a Provenance is about: not of one that was deleted when deletions kept less."""
    return not row.get("del") or any(each.startswith(TARGETS) for each in row.get("t") or ())


def may_be_listed(call: Call, env: Env) -> bool:
    """Tell whether a list that the call asks for can hold a Provenance, or lead over one."""
    if call.type == TYPE or call.name in _SYSTEM or call.compartment is not None or call.operation is not None:
        return True
    if call.name == "transaction":
        return TYPE.encode() in call.body if isinstance(call.body, bytes) else True
    return any(TYPE in text or text == "*" for pair in asked_of(call, env) for text in pair)


def belonging(plan: Plan, judge: Judge, env: Env) -> Plan:
    """Return the plan with each Provenance in the record of its targets that the caller makes, changes or sees.

    Of any other target nothing is taken over: whether it is there is not told by what becomes of the Provenance.
    """
    told = [change for change in plan.changes if change.ref.type == TYPE and change.body is not None]
    if not told:
        return plan
    made = {change.ref: change.index for change in plan.changes}
    sought = {ref for change in told for ref in targets_of(change.index)} - made.keys()
    rows = env.store.find_many(sorted(sought, key=str)) if sought else {}
    known: dict[Ref, Row] = {
        ref: row.index
        for ref, row in rows.items()
        if any(judge.decide(action, row.index).permit for action in ("read", "update"))
    }
    placed = {change.ref: _placed(change, {**known, **made}) for change in told}
    return replace(
        plan,
        changes=tuple(placed.get(change.ref, change) for change in plan.changes),
        entities=tuple(_entities(plan, placed)),
    )


def _placed(change: Change, known: Mapping[Ref, Row]) -> Change:
    about = [known[ref] for ref in targets_of(change.index) if ref in known and ref != change.ref]
    patients = dict.fromkeys(
        (*(change.index.get("pt") or ()), *(each for row in about for each in row.get("pt") or ()))
    )
    category = next((row["ca"] for row in about if "ca" in row), None)
    index = {**change.index, **({"pt": list(patients)} if patients else {}), **({"ca": category} if category else {})}
    if any(HIDDEN_FROM_REPRESENTATIVES in (row.get("sec") or ()) for row in about):
        index["sec"] = list(dict.fromkeys((*(index.get("sec") or ()), HIDDEN_FROM_REPRESENTATIVES)))
    return replace(change, index=index)


def _entities(plan: Plan, placed: Mapping[Ref, Change]) -> Iterator[Entity]:
    for each in plan.entities:
        yield entity(placed[each.ref]) if each.ref in placed else each

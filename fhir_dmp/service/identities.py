"""One person has one record: no Patient is given an INS that another has.

The national health identity names one person: https://hl7.fr/ig/fhir/core/StructureDefinition-fr-core-patient-ins.html. Whoever writes into
a record finds it by that number alone, and of two they could choose none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import replace

from fhir_dmp.call import Context, Env, Plan
from fhir_dmp.errors import Duplicate, Stale, Unprocessable
from fhir_dmp.fhir.ins import INS_SYSTEMS
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.store.change import Change, Lock, Stored
from fhir_dmp.store.matching import matches
from fhir_dmp.store.query import Eq, Row

_NUMBERED = tuple(f"Patient.identifier={system}|" for system in INS_SYSTEMS)
"""How the tokens begin by which a Patient is found by the INS."""

_PATH = "Patient.identifier"


def of_one_person(plan: Plan, context: Context, env: Env) -> Plan:
    """Return the Plan held to what it relies on: that nobody else has the INS that it gives to a Patient.

    Raises ``Duplicate`` where another Patient has it, of the Plan itself or of those that are here, whether the caller sees that one or
    not: who feeds records finds it by the same number. Raises ``Stale`` where that one came since the Plan's criteria were asked for, and meets
    them: whoever asks again finds it. A token for one record finds no other so, and gives no INS (``Unprocessable``).
    """
    given = [(change, token) for change in plan.changes for token in _given(change)]
    if not given:
        return plan
    if context.subject is not None and context.subject.record is not None:
        raise Unprocessable("With a token for one record no INS is given to it.", expression=_PATH)
    written = {change.ref: change for change in plan.changes}
    queries = [Eq("t", token) for _, token in given]
    locks = []
    for (change, token), query, rows in zip(given, queries, env.store.find_each(queries), strict=True):
        if any(_came_since(row, plan.locks) for row in rows):
            raise Stale
        others = {row.ref for row in rows if row.ref not in written} | set(_having(token, written))
        if others - {change.ref}:
            text = "Another Patient has this INS, and a person has one record: find it by Patient?identifier=…"
            raise Duplicate(text, expression=_PATH, met=tuple(map(str, {change.ref, *others})))
        locks.append(Lock(f"INS {token}", query, tuple(row.ref for row in rows)))
    return replace(plan, locks=(*plan.locks, *locks))


def _came_since(row: Stored, criteria: Sequence[Lock]) -> bool:
    return any(row.ref not in each.found and matches(each.query, row.index) for each in criteria)


def _given(change: Change) -> Iterator[str]:
    """Yield the tokens of numbers that a Patient has after the change and had not before."""
    if change.ref.type != "Patient" or change.body is None:
        return
    had = change.before.index if change.before is not None else {}
    before = set(numbers(had))
    yield from (token for token in dict.fromkeys(numbers(change.index)) if token not in before)


def numbers(index: Row) -> Iterator[str]:
    """Yield the tokens of the INS that a Patient has."""
    return (token for token in index.get("t") or () if token.startswith(_NUMBERED))


def _having(token: str, written: Mapping[Ref, Change]) -> Iterator[Ref]:
    return (ref for ref, change in written.items() if token in (change.index.get("t") or ()))

"""Patients that share one INS, from before a second one was refused: into no such record does anybody write who finds it by that number.

An operator looks for them and has them joined by who wrote them. No INS is shown, nor anything else that they hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fhir_dmp.call import Act, Call, Context, Env, Result
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.interactions.entities import disclosed
from fhir_dmp.service.evidence import described
from fhir_dmp.service.identities import numbers
from fhir_dmp.store.change import Stored
from fhir_dmp.store.port import Page
from fhir_dmp.store.query import Eq, both

MOST_OF_ONE = 100
"""Patients of one INS that are named."""

_PAGE = 500
_CALL = Call("operation", "Patient", operation="twins")
_PATIENTS = Eq("ty", "Patient")


def twins(context: Callable[[], Context], env: Env) -> Iterator[tuple[Ref, ...]]:
    """Yield the Patients that share an INS, those of each number once, the oldest first.

    That somebody looks for them leaves its event, and so do those that are named, each in the traces of its record.
    """
    _record(Result("ok"), context(), env)
    found = env.store.search(_PATIENTS, Page(_PAGE, with_index=True))
    while found.rows:
        for group in _shared(found.rows, env):
            _record(Result("ok", entities=tuple(map(disclosed, group))), context(), env)
            yield tuple(row.ref for row in group)
        found = env.store.search(_PATIENTS, Page(_PAGE, after=found.last, with_index=True))


def _shared(patients: tuple[Stored, ...], env: Env) -> Iterator[tuple[Stored, ...]]:
    """Yield for each of the Patients that is the oldest of a number all those that have it too."""
    tokens = [(row, token) for row in patients for token in numbers(row.index)]
    rows_of = env.store.find_each([Eq("t", token) for _, token in tokens]) if tokens else ()
    several = [pair for pair, rows in zip(tokens, rows_of, strict=True) if len(rows) > 1]
    for patient, token in several:
        group = env.store.search(both(_PATIENTS, Eq("t", token)), Page(MOST_OF_ONE)).rows
        if len(group) > 1 and group[0].ref == patient.ref:
            yield group


def _record(result: Result, context: Context, env: Env) -> None:
    env.store.record(described(Act(_CALL, result), context, env))

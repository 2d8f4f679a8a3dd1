"""Whose item a call met that failed, or that found nothing: the answer tells of it, and so its event stands in the journals of its patients."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import product

import structlog

from fhir_dmp.call import Act, Call, Context, Entity, Env
from fhir_dmp.errors import FhirError, NotFound
from fhir_dmp.fhir.reference import ID, Ref, parse_literal
from fhir_dmp.interactions.entities import disclosed
from fhir_dmp.service.named import sought_by_number
from fhir_dmp.store.change import Stored

_TELLING = frozenset({400, 404, 409, 410, 412, 422})
"""Statuses of errors that may have looked at what is there; a refusal (403) that did says itself whose it is."""

_NAMING = ("_id", "_type", "_count", "_elements", "_format", "_pretty", "_sort", "_summary", "_total")
"""Parameters that ask nothing of the items that a search names: with these alone it tells no more than a read."""

_MOST = 20
"""Items that a search names and that are looked at."""

_log = structlog.get_logger(__name__)


def met_by(act: Act, context: Context, env: Env) -> tuple[Entity, ...]:
    """Return what a call met, as it is there now, where neither its error nor what it found says whose that is; one more read, of these alone.

    It goes to the log and nowhere else. A database that does not answer leaves the answer as it is.
    """
    if context.subject is None:
        return ()
    try:
        rows = _found(act, context, env) if act.error is None else _rows(_refs(act.call, act.error), env)
    except Exception as fault:  # noqa: BLE001 - whatever it is, the caller is told of the error, and the log of it
        _log.warning("met-unknown", fault=type(fault).__name__, request_id=context.request_id)
        return ()
    return tuple(map(disclosed, rows))


def _rows(refs: Sequence[Ref], env: Env) -> Collection[Stored]:
    return env.store.find_many(refs, with_index=False).values() if refs else ()


def _refs(call: Call, error: FhirError) -> list[Ref]:
    """Return what an error is about: what it says itself, and what the path names unless that is known to be absent."""
    if error.patients or error.status not in _TELLING:
        return []
    found = [literal.ref for name in error.met if (literal := parse_literal(name))]
    absent = isinstance(error, NotFound) and "absent" in error.reasons and call.version is None
    if call.type is not None and call.id is not None and call.type not in ("AuditEvent", "Patient") and not absent:
        found.append(call.ref)
    return [ref for ref in dict.fromkeys(found) if ID.match(ref.id)]


def _found(act: Act, context: Context, env: Env) -> Collection[Stored]:
    """Return what a search named, asked something of, and did not find: that it is not so is told.

    Not of who reads the log: by what is told of their own search they would learn that there is an item which they do not see.
    """
    call, result, person = act.call, act.result, context.subject.person if context.subject else None
    if result is None or result.concerned or (person and person.kind != "professional"):
        return ()
    if call.name not in ("search-type", "search-system") or call.type == "AuditEvent":
        return ()
    numbered = sought_by_number(call, env)
    return _rows(_sought(call), env) if numbered is None else env.store.concerned(numbered, _MOST)


def _sought(call: Call) -> list[Ref]:
    """Return the items that a search names by their ids and asks something of."""
    asked = dict(call.params)
    if "_id" not in asked or not asked.keys() - set(_NAMING):
        return []
    types = [call.type] if call.type else asked.get("_type", "").split(",")
    named = product(types, asked["_id"].split(","))
    refs = [Ref(kind, own) for kind, own in named if ID.match(own) and kind not in ("", "AuditEvent", "Patient")]
    return refs[:_MOST]

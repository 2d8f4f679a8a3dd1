"""Whose item a call met that failed, or that found nothing: the answer tells of it, and so its event stands in the journals of its patients."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice

import structlog
from msgspec.structs import replace

from fhir_dmp.audit.asked import conditions_of
from fhir_dmp.call import Act, Call, Context, Entity, Env, Params
from fhir_dmp.errors import FhirError, NotFound
from fhir_dmp.fhir.reference import ID, Ref, parse_literal
from fhir_dmp.interactions.entities import disclosed
from fhir_dmp.search.patients import Named, named_by, with_criteria
from fhir_dmp.store.change import Stored
from fhir_dmp.store.query import Query

_TELLING = frozenset({400, 404, 409, 410, 412, 422})
"""Statuses of errors that may have looked at what is there; a refusal (403) that did says itself whose it is."""

_SEARCHES = ("search-type", "search-system")
_MADE = 1
"""The version that a create makes."""

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
        found = _met(act, context, env)
    except Exception as fault:  # noqa: BLE001 - whatever it is, the caller is told of the error, and the log of it
        _log.warning("met-unknown", fault=type(fault).__name__, request_id=context.request_id)
        found = ()
    return _beside(act, (*act.met, *found))


def _met(act: Act, context: Context, env: Env) -> tuple[Entity, ...]:
    if act.error is not None and (act.error.patients or act.error.status not in _TELLING):
        return ()
    refs = _refs(act.call, act.error) if act.error else []
    named = [named_by(types, params, context.base_url) for types, params in _unmet(act, context)]
    found = tuple(map(disclosed, _looked_up(refs, named, env)))
    return found if act.call.name in _SEARCHES else (*found, *_named(named, found))


def _named(named: Sequence[Named], found: Sequence[Entity]) -> Iterator[Entity]:
    """Yield those whom criteria name themselves, unless an item of theirs was found."""
    known = {patient for entity in found for patient in entity.patients}
    patients = dict.fromkeys(patient for each in named for patient in each.patients or () if patient not in known)
    return (Entity(ref, None, (str(ref),)) for ref in (Ref(*patient.split("/")) for patient in islice(patients, _MOST)))


def _beside(act: Act, met: tuple[Entity, ...]) -> tuple[Entity, ...]:
    """Return what was met of others than those whose items were touched.

    One label stands for all that an event tells: where that is for all to see, it says nothing of what is hidden.
    """
    touched = act.result.entities if act.result else ()
    if not touched:
        return met
    label, known = all(entity.hidden for entity in touched), {each for entity in touched for each in entity.patients}
    others = (entity for entity in met if (label or not entity.hidden) and not known.issuperset(entity.patients))
    return tuple(replace(entity, hidden=label) for entity in others)


def _refs(call: Call, error: FhirError) -> list[Ref]:
    """Return what an error is about: what it says itself, and what the path names unless that is known to be absent."""
    found = [literal.ref for name in error.met if (literal := parse_literal(name))]
    absent = isinstance(error, NotFound) and "absent" in error.reasons and call.version is None
    if call.type is not None and call.id is not None and call.type not in ("AuditEvent", "Patient") and not absent:
        found.append(call.ref)
    return [ref for ref in dict.fromkeys(found) if ID.match(ref.id)]


def _looked_up(refs: Sequence[Ref], named: Sequence[Named], env: Env) -> Collection[Stored]:
    """Return the rows of what an error is about, or of what was named and asked something of; of numbers, only where nothing else is named."""
    asking = [each for each in named if each.asks]
    items = (ref for each in asking for ref in each.items if ref.type not in ("", "AuditEvent", "Patient"))
    wanted = list(dict.fromkeys((*refs, *items)))
    if wanted:
        return env.store.find_many(wanted[: len(refs) + _MOST], with_index=False).values()
    query = _by_number(asking, env)
    return () if query is None else env.store.concerned(query, _MOST)


def _by_number(asking: Sequence[Named], env: Env) -> Query | None:
    """Return the rows of whoever is named by their numbers, or else of the items that their identifiers name."""
    numbers = [token for each in asking for token in each.numbers]
    if numbers:
        return env.restrict("Patient", (("identifier", ",".join(dict.fromkeys(numbers[:_MOST]))),))
    for each in asking:
        if each.identifiers and each.patients is None and each.types != ("",):
            return env.restrict(each.types[0], (("identifier", ",".join(each.identifiers[:_MOST])),))
    return None


def _unmet(act: Act, context: Context) -> Iterator[tuple[tuple[str, ...], Params]]:
    """Yield what was asked to which the answer is no: a search that found nothing, and criteria that nothing meets, with their types.

    Not of who reads the log: by what is told of their own search they would learn that there is an item which they do not see.
    """
    call, result, person = act.call, act.result, context.subject.person if context.subject else None
    if person and person.kind != "professional":
        return
    if call.name in _SEARCHES:
        if result is not None and not result.concerned and not result.entities:
            asked = dict(call.params).get("_type", "").split(",")
            yield (call.type,) if call.type else tuple(asked), call.params
        return
    if call.name == "transaction" and act.error is not None:
        yield from _conditions(call, act.error)
    for each in (act, *_planned(act)):
        if each.call.type and is_unmet(each):
            yield (each.call.type,), with_criteria((), each.call.criteria)


def _conditions(call: Call, error: FhirError) -> Iterator[tuple[tuple[str, ...], Params]]:
    """Yield the criteria of a transaction that failed: of its entries, and by which it refers to something."""
    entries = call.body.get("entry") if isinstance(call.body, Mapping) else None
    for url, unless in (*conditions_of(entries), *((each, "") for each in error.referred)):
        kind = url.partition("?")[0].rpartition("/")[2]
        yield (kind,), with_criteria((), unless or url)


def _planned(act: Act) -> tuple[Act, ...]:
    return act.result.entries if act.result is not None and act.call.name == "transaction" else ()


def is_unmet(act: Act) -> bool:
    """Tell whether a call has criteria that nothing met, as far as its outcome tells: it failed, or made what they look for."""
    if any(map(is_unmet, _planned(act))):
        return True
    made = act.call.name in ("create", "update") and act.result is not None and act.result.version == _MADE
    return act.call.criteria is not None and (act.error is not None or made)

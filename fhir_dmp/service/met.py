"""Whose items a call met beside what it found or changed: its answer tells of them, and so its event stands in their journals."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import structlog
from msgspec.structs import replace

from fhir_dmp.access.kinds import DIRECTORY
from fhir_dmp.audit.asked import conditions_of
from fhir_dmp.audit.concerned import asked_for
from fhir_dmp.call import Act, Call, Context, Entity, Env, Params
from fhir_dmp.errors import FhirError, Invalid, NotFound
from fhir_dmp.fhir.labels import HIDDEN_FROM_HOLDER
from fhir_dmp.fhir.reference import ID, Ref, parse_literal
from fhir_dmp.fhir.url import parted
from fhir_dmp.interactions.entities import disclosed
from fhir_dmp.search.parse import parse
from fhir_dmp.search.patients import Named, named_by, with_criteria
from fhir_dmp.store.change import Stored
from fhir_dmp.store.query import Query, either

_TELLING = frozenset({400, 404, 409, 410, 412, 422})
"""Statuses of errors that may have looked at what is there; a refusal (403) that did says itself whose it is."""

_REFUSING = _TELLING | {403}
"""Statuses of errors of a transaction that tell that the criteria of its entries were met which would have been another error else."""

_PLACE = re.compile(r"Bundle\.entry\[(\d+)\]")
_SEARCHES = ("search-type", "search-system")
_MADE = 1
"""The version that a create makes."""

_LEADING = ("_has:", "_filter", "_list")
_OF_ITS_PATIENT = re.compile(r"(?:patient|subject)(?::Patient)?\.[^.]*\Z")
"""A chain that asks something of the patient alone of whom what is found is."""

_NAMING = re.compile(r"(?:_id|identifier|patient|subject)(?![a-z-])")
"""How a parameter begins that names a resource or its patient."""

_NAMED_IN = re.compile(r"(?<![A-Za-z])[A-Z][A-Za-z]+/")
"""How a reference stands in a value, of whatever parameter: looked for from where a word begins, however long it is."""

_MOST = 20
"""Items that a search names and that its event tells of."""

_MOST_LOOKED_FOR = 500
"""Ids by which these are looked for: whoever asks for many that nobody has hides none among them."""

_MOST_TYPES = 5
"""Types of which resources are looked for by number."""

_NOBODYS = frozenset((*DIRECTORY, "AuditEvent"))

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
    error = act.error
    told = error is None or (not error.patients and error.status in _TELLING)
    if not (told or _has_asked(act)):
        return ()
    refs = _refs(act.call, error) if error is not None and told else _within(act)
    named = [each for kind, params in _unmet(act, context) if (each := _named_by(kind, params, context, env))]
    touched = {each.ref for each in act.result.entities} if act.result else set()
    found = tuple(each for row in _looked_up(refs, named, touched, env) for each in _disclosed(row, context))
    return (*found, *_named(named, found))


def _has_asked(act: Act) -> bool:
    """Tell whether a transaction failed after criteria of its entries were asked, by an error that tells that these were met."""
    error = act.error
    return act.call.name == "transaction" and error is not None and bool(error.asked) and error.status in _REFUSING


def _disclosed(row: Stored, context: Context) -> tuple[Entity, ...]:
    """Return what the event says of an item that was met: of what is hidden from the holder who asked no more than of what is absent.

    Its label would tell them that it is there; in the journals of others whose it is, too, it stays.
    """
    entity, person = disclosed(row), context.subject.person if context.subject else None
    unseen = entity.hidden and HIDDEN_FROM_HOLDER in (row.index.get("sec") or ())
    if not unseen or person is None or person.kind != "holder" or person.patient not in entity.patients:
        return (entity,)
    others = tuple(each for each in entity.patients if each != person.patient)
    own = replace(entity, patients=(person.patient,), hidden=False)
    return (own, replace(entity, patients=others)) if others else (own,)


def _named_by(resource_type: str, params: Params, context: Context, env: Env) -> Named | None:
    """Return whom and what parameters of the type name; None where they cannot be read."""
    try:
        request = parse(resource_type, params, env.definitions, env.limits, strict=False)
        return named_by(request.criteria, context.base_url)
    except (FhirError, KeyError):
        return None


def _named(named: Sequence[Named], found: Sequence[Entity]) -> Iterator[Entity]:
    """Yield those whom criteria name themselves, unless an item of theirs was found."""
    known = {patient for entity in found for patient in entity.patients}
    patients = dict.fromkeys(patient for each in named for patient in each.patients if patient not in known)
    return (Entity(ref, None, (str(ref),)) for ref in (Ref(*patient.split("/")) for patient in islice(patients, _MOST)))


def _beside(act: Act, met: tuple[Entity, ...]) -> tuple[Entity, ...]:
    """Return what was met of others than those whose items were touched: these know of the act."""
    known = {each for entity in (act.result.entities if act.result else ()) for each in entity.patients}
    return tuple(entity for entity in met if not known.issuperset(entity.patients)) if known else met


def _refs(call: Call, error: FhirError) -> list[Ref]:
    """Return what an error is about: what it says itself, and what the path names unless that is known to be absent."""
    found = [literal.ref for name in error.met if (literal := parse_literal(name))]
    absent = isinstance(error, NotFound) and "absent" in error.reasons and call.version is None
    if call.type is not None and call.id is not None and call.type not in ("AuditEvent", "Patient") and not absent:
        found.append(call.ref)
    return [ref for ref in dict.fromkeys(found) if ID.match(ref.id)]


def _within(act: Act) -> list[Ref]:
    """Return within what something was asked for that found nothing: the compartment, or the resource of an operation."""
    call = act.call
    if act.result is None or _told(act):
        return []
    refs = (call.compartment, call.ref if call.operation and call.type and call.id else None)
    return [ref for ref in refs if ref is not None and ref.type not in (*_NOBODYS, "Patient") and ID.match(ref.id)]


def _told(act: Act) -> bool:
    return act.result is not None and bool(act.result.entities or act.result.concerned)


def _looked_up(refs: Sequence[Ref], named: Sequence[Named], touched: Collection[Ref], env: Env) -> Iterator[Stored]:
    """Yield the rows of what an error is about, and those of what was named and asked something of, and not touched: by id, and by number."""
    asking = [each for each in named if each.asks]
    told_of = (ref for each in asking for ref in each.items)
    items = dict.fromkeys(ref for ref in told_of if ref.type not in _NOBODYS and ref not in touched)
    wanted = list(dict.fromkeys((*refs, *islice(items, _MOST_LOOKED_FOR))))
    if wanted:
        yield from islice(env.store.find_many(wanted, with_index=False).values(), len(refs) + _MOST)
    numbers = dict[str, dict[str, None]]()
    for kind, token in sorted((each for of in asking for each in of.numbers), key=lambda each: each.type != "Patient"):
        if kind not in _NOBODYS:
            numbers.setdefault(kind, {})[token] = None
    asked = [_by_number(kind, tokens, env) for kind, tokens in islice(numbers.items(), _MOST_TYPES)]
    if asked:
        yield from env.store.concerned(either(asked), _MOST)


def _by_number(kind: str, tokens: Iterable[str], env: Env) -> Query:
    return env.restrict(kind, (("identifier", ",".join(islice(tokens, _MOST))),))


def _unmet(act: Act, context: Context) -> Iterator[tuple[str, Params]]:
    """Yield what was asked of which the answer tells others than those that were found: who is named in vain, or led to, with their types.

    Not of who reads the log: by what is told of their own search they would learn that there is an item which they do not see.
    """
    call, result, person = act.call, act.result, context.subject.person if context.subject else None
    if person and person.kind != "professional":
        return
    if call.name in _SEARCHES or call.operation:
        params = asked_for(act)
        if result is not None and (not _told(act) or _reaching(params) or _finds_nobodys(act)):
            yield from ((kind, params) for kind in ([call.type] if call.type else _types(params)))
        return
    if call.name == "transaction" and act.error is not None:
        yield from _conditions(call, act.error)
    for each in (act, *_planned(act)):
        criteria = with_criteria((), each.call.criteria)
        if each.call.type and criteria and (is_unmet(each) or _reaching(criteria)):
            yield each.call.type, criteria
    for kind, criteria in ((parted(each)[0], with_criteria((), each)) for each in act.referred):
        if _reaching(criteria):
            yield kind, criteria


def _types(params: Params) -> list[str]:
    """Return the types that a search over several names; over all of them none asks for more than one thing."""
    return [kind for name, value in params if name == "_type" for kind in value.split(",") if kind]


def _conditions(call: Call, error: FhirError) -> Iterator[tuple[str, Params]]:
    """Yield the criteria that the error of a transaction tells of: of its entries, and by which it refers to something."""
    entries = call.body.get("entry") if isinstance(call.body, Mapping) else None
    told = _told_of(entries, error) if error.asked == "some" and isinstance(entries, list) else entries
    for url, unless in (*conditions_of(told), *((each, "") for each in error.referred)):
        kind = url.partition("?")[0].rpartition("/")[2]
        yield kind, with_criteria((), unless or url)


def _told_of(entries: Sequence[Any], error: FhirError) -> Sequence[Any]:
    """Return the entries whose criteria an error tells of which arose while these were asked: those that it names, or all if it names none.

    A patch that goes before one that it names met something, for it would have been named else. Of all others it tells nothing, whether
    they met something or not.
    """
    places = {int(found[1]) for issue in error.issues if (found := _PLACE.match(issue.expression or ""))}
    patched = [place for place in places if place < len(entries) and _is_patch(entries[place])]
    last = len(entries) if isinstance(error, Invalid) and patched else max(patched, default=0)
    before = {place for place in range(last) if _is_patch(entries[place])}
    return [each for place, each in enumerate(entries) if place in places | before] if places else entries


def _is_patch(entry: Any) -> bool:
    request = entry.get("request") if isinstance(entry, dict) else None
    return isinstance(request, dict) and request.get("method") == "PATCH"


def _planned(act: Act) -> tuple[Act, ...]:
    return act.result.entries if act.result is not None and act.call.name == "transaction" else ()


def has_met(act: Act) -> bool:
    """Tell whether an act had to do with others, as far as its outcome tells, than those whose items it touched."""
    return not (act.result and act.result.entities) or bool(act.met) or is_unmet(act) or _leads_on(act)


def _leads_on(act: Act) -> bool:
    call = act.call
    asks = call.params or call.criteria or call.parameters.items
    return any(map(_leads_on, _planned(act))) or bool(asks and (_reaching(asked_for(act)) or _finds_nobodys(act)))


def _finds_nobodys(act: Act) -> bool:
    """Tell whether what was found is in nobody's record and may name a patient all the same, as no entry of the directory does."""
    found = act.result is not None and act.call.type not in _NOBODYS and (act.result.entities or act.result.concerned)
    return bool(found) and not any(each.patients for each in found or ())


def _reaching(params: Params) -> bool:
    """Tell whether parameters ask something of others than of whom they find: by chains, ``_has`` and the like, or of several at once."""
    return any(
        name.startswith(_LEADING) or ("." in name and not _OF_ITS_PATIENT.match(name)) or _is_of_several(name, value)
        for name, value in params
    )


def _is_of_several(name: str, value: str) -> bool:
    """Tell whether a parameter names several of whom one may be found: of the others no is said."""
    if "," not in value:
        return False
    return bool(_NAMING.match(name)) or any("|" not in each and _NAMED_IN.search(each) for each in value.split(","))


def is_unmet(act: Act) -> bool:
    """Tell whether a call has criteria that nothing met, as far as its outcome tells: it failed, or made what they look for."""
    if any(map(is_unmet, _planned(act))):
        return True
    made = act.call.name in ("create", "update") and act.result is not None and act.result.version == _MADE
    return act.call.criteria is not None and (act.error is not None or made)

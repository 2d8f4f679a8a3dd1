"""Criteria instead of an id: what they match, and the lock that holds it. https://hl7.org/fhir/R4/http.html#ccreate.

Criteria are judged over what the caller may see; a Patient is found by its exact INS besides, so that a laboratory can write
into a record that it does not read: nothing of that Patient but its id is told, and by a token for one record no other is found. Who has
which number may have been written by several: who keeps the directory writes its own entries, whatever others wrote, and whoever finds more
than one by it means the own one, or else the keeper's.
The lock repeats the search within the commit, so that of two callers with the same criteria at the same time one creates and the
other finds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache

from msgspec import Struct
from msgspec.structs import replace

from fhir_dmp.access.kinds import NAMING
from fhir_dmp.access.narrow import narrow
from fhir_dmp.access.rules import may_find_by_ins, require_scope
from fhir_dmp.access.systems import keeps_directory
from fhir_dmp.call import Call, Context, Env, Grant, Params
from fhir_dmp.errors import FhirError, Invalid, MultipleMatches
from fhir_dmp.fhir.reference import Ref, below
from fhir_dmp.fhir.url import params_of, parted
from fhir_dmp.interactions.criteria import by_ins, setting_of
from fhir_dmp.interactions.entities import disclosed
from fhir_dmp.interactions.write import author
from fhir_dmp.search.compile import compile_criteria
from fhir_dmp.search.parse import parse
from fhir_dmp.store.change import Lock, Stored
from fhir_dmp.store.matching import assuming
from fhir_dmp.store.query import Eq, In, Query, both

_SEVERAL = 2
"""Matches that are told as several."""

_MOST_TOLD = 100
"""Matches that an error tells of to those whose they are."""

_OF_ANSWERS = frozenset({"_count", "_elements", "_include", "_revinclude", "_sort", "_summary", "_total"})
"""Parameters that say how an answer looks, and nothing of what is matched."""


class Criteria(Struct, frozen=True):
    """What is looked for: the canonical text of the criteria, and the query of what meets them and is visible.

    ``shown`` tells whether a row that is found may be shown as well. Where several are found, the first of the ``closer`` queries that finds
    anything tells which are meant.
    """

    key: str
    query: Query
    shown: Callable[[Stored], bool] = lambda _: True
    closer: tuple[Query, ...] = ()


class Matched(Struct, frozen=True):
    """What criteria match now (two rows stand for many), and the lock that makes a commit rely on it."""

    criteria: Criteria
    lock: Lock
    found: tuple[Stored, ...]


class Conditions:
    """What criteria match that all ask for the same end: what is to be written, or what is to be referred to."""

    def __init__(self, compiled: Callable[[str, str], Criteria], env: Env) -> None:
        self._compiled = compiled
        self._env = env
        self._known: dict[tuple[str, str], Matched] = {}

    def match(self, resource_type: str, criteria: str) -> Matched:
        """Return what the criteria (``identifier=system|value``) match; raise ``Invalid`` if they say nothing."""
        known = self._known.get((resource_type, criteria))
        return known or match_each((self._compiled(resource_type, criteria),), self._env)[0]

    def ask(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Ask at once what types and criteria match; what cannot be asked is refused when it is to be matched."""
        meant: dict[tuple[str, str], Criteria] = {}
        for question in wanted:
            with suppress(FhirError):
                meant[question] = self._compiled(*question)
        if meant:
            fresh = {criteria.key: criteria for criteria in meant.values()}
            found = dict(zip(fresh, match_each(tuple(fresh.values()), self._env), strict=True))
            self._known.update((question, found[criteria.key]) for question, criteria in meant.items())


def to_refer(context: Context, grant: Grant, env: Env) -> Conditions:
    """Return the conditions by which something is referred to."""
    return Conditions(_compiler(context, grant, env), env)


def to_write(context: Context, grant: Grant, env: Env) -> Conditions:
    """Return the conditions by which something is made, changed or deleted: of who is who, who keeps the directory writes its own entries."""
    compiled = _compiler(context, grant, env)
    if not keeps_directory(context.subject):
        return Conditions(compiled, env)

    def own(resource_type: str, criteria: str) -> Criteria:
        meant = compiled(resource_type, criteria)
        return Criteria(meant.key, meant.closer[0]) if meant.closer else meant

    return Conditions(own, env)


def match_each(wanted: Sequence[Criteria], env: Env) -> list[Matched]:
    """Return what each of the criteria matches, asked together."""
    return [
        Matched(
            each,
            Lock(each.key, query, tuple(row.ref for row in rows)),
            tuple(row if each.shown(row) else replace(row, body=None) for row in rows),
        )
        for each, (query, rows) in zip(wanted, _meant(wanted, env), strict=True)
    ]


def _meant(wanted: Sequence[Criteria], env: Env) -> list[tuple[Query, tuple[Stored, ...]]]:
    """Return for each of the criteria the query that tells what is meant, and what it finds."""
    queries = [each.query for each in wanted]
    found = list(zip(queries, env.store.find_each(queries), strict=True))
    several = [place for place, (_, rows) in enumerate(found) if len(rows) > 1 and wanted[place].closer]
    closer = [query for place in several for query in wanted[place].closer]
    rows_of = dict(zip(closer, env.store.find_each(closer) if closer else (), strict=True))
    for place in several:
        told = ((query, rows_of[query]) for query in wanted[place].closer if rows_of[query])
        found[place] = next(told, found[place])
    return found


def _compiler(context: Context, grant: Grant, env: Env) -> Callable[[str, str], Criteria]:
    """Return the function from a type and criteria to what is looked for; that raises ``Invalid`` if they say nothing."""
    setting = setting_of(context, grant, env)

    @cache
    def visible(resource_type: str) -> Query:
        rules = grant.rules("search", provenances_apart=resource_type != "Provenance")
        return assuming(narrow(rules), "ty", resource_type)

    def compiled(resource_type: str, criteria: str) -> Criteria:
        named = below(criteria, context.base_url)
        request = parse(resource_type, _params(resource_type, named), env.definitions, env.limits, strict=True)
        if not request.criteria:
            raise Invalid(f"The criteria {criteria[:100]!r} say nothing: they would match every {resource_type}.")
        require_scope(context.subject, resource_type, "search")
        wanted = compile_criteria(resource_type, request.criteria, setting)
        asks = sorted(each for each in request.used if each[0].partition(":")[0] not in _OF_ANSWERS)
        key = f"{resource_type}?" + "&".join(f"{name}={value}" for name, value in asks)
        if by_ins(request) and may_find_by_ins(context.subject):
            record = context.subject.record if context.subject else None
            wanted = both(wanted, Eq("_id", record)) if record else wanted
            return Criteria(key, wanted, lambda row: grant.decide("read", row.index).permit)
        seen = both(wanted, visible(resource_type))
        numbered = resource_type in NAMING and any(name == "identifier" for name, _ in asks)
        return _of_who_is_who(key, seen, context) if numbered else Criteria(key, seen)

    return compiled


def _of_who_is_who(key: str, seen: Query, context: Context) -> Criteria:
    """Return the criteria for who has a number, whom several may have written down: first the own entry, then that of the directory's keeper."""
    own = both(seen, In("au", tuple(author(context))))
    return Criteria(key, seen, closer=(own, both(seen, Eq("kept", value=True))))


def _params(resource_type: str, criteria: str) -> Params:
    """Return names and values of ``name=value&…``, which may have the type (``Patient?…``) or ``?`` before it."""
    named, query = parted(criteria)
    if named not in ("", resource_type):
        raise Invalid(f"The criteria {criteria[:100]!r} are not about {resource_type}.")
    return params_of(query)


def sought(call: Call, context: Context, grant: Grant, env: Env) -> tuple[Call, tuple[Lock, ...]]:
    """Return the call with the id of the one resource that its criteria match, if any does, and what holds them; one by id as it is."""
    if call.id is not None:
        return call, ()
    matched = to_write(context, grant, env).match(call.resource_type, call.criteria or "")
    found = only(matched, env)
    return (replace(call, id=found.ref.id) if found else call), (matched.lock,)


def only(matched: Matched, env: Env) -> Stored | None:
    """Return the one row that matches, or None; raise ``MultipleMatches`` for more."""
    if len(matched.found) > 1:
        raise several(
            f"Several resources match {matched.lock.key[:200]!r}; nothing was changed.", matched.lock.query, env
        )
    return matched.found[0] if matched.found else None


def several(text: str, query: Query, env: Env, *, met: Iterable[Ref] = ()) -> MultipleMatches:
    """Return the refusal of criteria that several match: representatives are told of it who see two, or none that is hidden from them."""
    entities = [disclosed(row) for row in env.store.concerned(query, _MOST_TOLD)]
    shown = Counter(patient for entity in entities if not entity.hidden for patient in entity.patients)
    hidden = {patient for entity in entities if entity.hidden for patient in entity.patients}
    return MultipleMatches(
        text,
        patients=tuple(dict.fromkeys(patient for entity in entities for patient in entity.patients)),
        secret=tuple(patient for patient in hidden if shown[patient] < _SEVERAL),
        met=tuple(map(str, met)),
    )

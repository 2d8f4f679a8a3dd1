"""AuditEvents looked for: page by page, and counted by day and actor. https://profiles.ihe.net/ITI/TF/Volume2/ITI-81.html."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any
from urllib.parse import urlencode

from msgspec import Struct
from msgspec.structs import replace

from fhir_dmp.access.narrow import narrow
from fhir_dmp.audit.parts import event_id
from fhir_dmp.audit.search import PARAMS, Words, bounded, compile_clause, policy_named, union, with_type
from fhir_dmp.call import Call, Context, Entity, Env, Grant, Params, Result
from fhir_dmp.errors import Damaged, Invalid, Issue, NotSupported, TooCostly
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.bundle import Entry
from fhir_dmp.fhir.outcome import outcome
from fhir_dmp.fhir.parameters import write
from fhir_dmp.fhir.reference import ID, Ref, local
from fhir_dmp.interactions.compartment import members_by
from fhir_dmp.interactions.listing import Listing
from fhir_dmp.interactions.subset import Subset, counts_alone, subset_of
from fhir_dmp.service.log_views import TYPE, damage, place, rendered, traced, view_of
from fhir_dmp.store.matching import assuming
from fhir_dmp.store.port import EventPart, Tally
from fhir_dmp.store.query import NOTHING, Query, both, either

MOST_FOR_PEOPLE = 100
"""AuditEvents of a page for a person: each item that they name is judged anew."""

MOST_NAMED = 10
"""Rows that are named of those that stand nowhere in time."""

MOST_TALLIES = 10_000
_EPOCH = date(1970, 1, 1).toordinal()


def search_type(call: Call, context: Context, grant: Grant, env: Env) -> Result:
    """Return a page of AuditEvents, newest first if not asked otherwise; ``total`` is exact when asked for or when all fit on the page.

    It counts what the pages tell, and what they name as damaged.
    """
    listing = Listing.of(call, context, env)
    asked = _Asked.parse(listing.params, call, context, grant, env)
    query = asked.query(grant)
    if asked.count == 0:
        asked, number = _counted(asked, grant, env)
        return _page([], asked, number, None, listing, _concerned([], number, query, context, env))
    parts, last = env.store.search_events(query, asked.count, listing.after, oldest_first=asked.oldest_first)
    total = len(parts) if listing.place is None and last is None else None
    if asked.total and total is None:
        asked, total = _counted(asked, grant, env)
    told = list(zip(parts, rendered(parts, context, grant, env), strict=True))
    damaged = dict.fromkeys(part.event.id for part, body in told if body is None)
    asked = replace(asked, issues=(*asked.issues, *(_warning(damage(each, env)) for each in damaged)))
    whole = [(part, body) for part, body in told if body is not None]
    concerned = _concerned([part for part, _ in whole], total, query, context, env)
    return _page(whole, asked, total, last, listing, concerned)


def _concerned(
    told: Sequence[EventPart], total: int | None, query: Query, context: Context, env: Env
) -> tuple[Entity, ...]:
    """Return what the event says of events that are told, and of those that are counted where they are few: in whose journals they stand.

    That they were looked at stands there too. Which they were is told by what was asked. A person's look is at their own journal.
    """
    if context.subject is None or context.subject.person is not None:
        return ()
    if total is not None and len(told) < total <= env.limits.page:
        told, _ = env.store.search_events(query, env.limits.page)
    return tuple(filter(None, map(traced, told)))


def _counted(asked: _Asked, grant: Grant, env: Env) -> tuple[_Asked, int]:
    """Return the search, with a warning of events that no page tells since their rows stand nowhere in time, and how many all pages tell."""
    query = asked.query(grant)
    counted = env.store.count_events(query, MOST_NAMED + 1)
    if not counted.lost:
        return asked, counted.told
    named = [place(each, env) for each in counted.rows[:MOST_NAMED]] + ["…"] * (len(counted.rows) > MOST_NAMED)
    told = (
        f"Neither told nor counted: {counted.lost} of the log's events that stand nowhere in time any more, for their rows are "
        f"damaged: {'; '.join(named)}. fhir-dmp audit verify names each."
    )
    return replace(asked, issues=(*asked.issues, _warning(told))), counted.told


class _Asked(Struct, frozen=True):
    """A search of the log, taken apart."""

    params: Params
    clauses: tuple[tuple[Query, Query], ...]
    count: int
    part: Subset
    total: bool
    oldest_first: bool
    issues: tuple[Issue, ...]

    @classmethod
    def parse(cls, params: Params, call: Call, context: Context, grant: Grant, env: Env) -> _Asked:
        controls = {name: value for name, value in params if name in _CONTROLS}
        unknown = [name for name, _ in params if name not in _CONTROLS and name.partition(":")[0] not in PARAMS]
        _require_known(unknown, strict=call.strict)
        used = tuple((name, value) for name, value in params if name not in unknown)
        named = (_clause(*each, context, grant, env) for each in used if each[0] not in _CONTROLS)
        clauses = (*named, *_within(call, context, env))
        if context.subject is not None and context.subject.role == "auditor" and not bounded(used):
            raise Invalid(
                "Say when: an auditor's search names date (or period-start, _lastUpdated, _id), such as date=ge2026-11-01.",
                expression="date",
            )
        text = controls.get("_count", str(env.limits.default_page))
        if not text.isdecimal() or not text.isascii():
            raise Invalid(f"_count {text[:20]!r} is no number.", expression="_count")
        person = context.subject.person if context.subject else None
        most = MOST_FOR_PEOPLE if person else env.limits.page
        count = 0 if counts_alone(used) else min(int(text[:9]), most)
        sort = controls.get("_sort", "-date")
        if sort.removeprefix("-") not in _SORTED:
            raise NotSupported(
                "AuditEvents are sorted by date: _sort=-date, newest first, or _sort=date.", expression="_sort"
            )
        ignored = tuple(
            Issue("not-supported", f"{name[:64]!r} was passed over.", severity="warning") for name in unknown
        )
        total = controls.get("_total") in ("accurate", "estimate")
        return cls(used, clauses, count, subset_of(used, env.definitions), total, not sort.startswith("-"), ignored)

    def query(self, grant: Grant) -> Query:
        """Return what is asked, of what the caller may see."""
        return union(list(self.clauses), assuming(narrow(grant.rules("search")), "ty", TYPE))


def _within(call: Call, context: Context, env: Env) -> tuple[Words, ...]:
    """Return what holds a search of the log to a compartment: any of the parameters by which an AuditEvent is in it."""
    if call.compartment is None:
        return ()
    codes, named = members_by(call, env), str(call.compartment)
    if not ID.match(call.compartment.id):
        raise Invalid(f"{named[:100]!r} names no resource here.")
    ours, theirs = zip(*(compile_clause(code, named, context.base_url) for code in codes), strict=True)
    return ((either(list(ours)), either(list(theirs))),)


def _clause(name: str, value: str, context: Context, grant: Grant, env: Env) -> Words:
    """Return what a parameter asks; of items that a person does not see, what they themselves have asked about them in vain.

    By a Consent that they do not see nothing is found, as by one that is absent: of what it decided, their own acts among it, it is not told.
    """
    person = context.subject.person if context.subject else None
    name, value = with_type(name, value)
    if name not in ("entity", "policy") or person is None:
        return compile_clause(name, value, context.base_url)
    named = value.split(",")
    refs = {each: ref for each in named if (ref := _ref(each, context.base_url))}
    view = view_of(map(str, refs.values()), context, grant, env)
    hidden = [each for each, ref in refs.items() if not view.sees(str(ref))]
    if not hidden:
        return compile_clause(name, value, context.base_url)
    seen = [each for each in named if each not in hidden]
    ours, theirs = compile_clause(name, ",".join(seen), context.base_url) if seen else (NOTHING, NOTHING)
    if name == "policy":
        return ours, theirs
    mine, _ = compile_clause("agent", ",".join(filter(None, (person.resource, person.identifier))), context.base_url)
    about, _ = compile_clause(name, ",".join(hidden), context.base_url)
    return either([ours, both(about, mine)]), theirs


def _ref(value: str, base_url: str) -> Ref | None:
    """Return what of this server a value names, with or without a version, as rows name it or as FHIR does."""
    return local("/".join(policy_named(value, base_url).split("/")[:2]), base_url)


_CONTROLS = ("_count", "_total", "_summary", "_elements", "_format", "_pretty", "_page", "_sort")
_SORTED = ("date", "_lastUpdated")
_NEVER = ("_include", "_revinclude", "_has", "_filter", "_query", "_content", "_text", "_list")
"""Would lead out of the log, or look into it: refused however lenient one is."""


def _require_known(unknown: Iterable[str], *, strict: bool) -> None:
    for name in unknown:
        if strict or name.partition(":")[0] in _NEVER or "." in name:
            raise NotSupported(
                f"AuditEvent is searched by {', '.join(sorted(PARAMS))}; not by {name[:64]!r}.", expression=name[:64]
            )


def _page(
    told: Iterable[tuple[EventPart, bytes]],
    asked: _Asked,
    total: int | None,
    last: tuple[Any, ...] | None,
    listing: Listing,
    concerned: tuple[Entity, ...],
) -> Result:
    base = listing.context.base_url
    entries = [
        Entry(f"{base}/{TYPE}/{event_id(part.event.id, part.number)}", asked.part(body), search_mode="match")
        for part, body in told
    ]
    if asked.issues:
        entries.append(Entry(body=codec.dumps(outcome(asked.issues)), search_mode="outcome"))
    links = listing.links(asked.params, last)
    return Result("ok", listing.bundle(entries, links, total), query=urlencode(asked.params), concerned=concerned)


def _warning(text: str) -> Issue:
    return Issue(Damaged.code, text, severity="warning")


def counts(call: Call, context: Context, grant: Grant, env: Env) -> Result:
    """Return how many AuditEvents each actor made on each day, counted by the database."""
    asked = tuple((each.name, str(each.value)) for each in call.parameters.items)
    clauses = [_clause(name, value, context, grant, env) for name, value in asked]
    found = env.store.tally_events(union(clauses, assuming(narrow(grant.rules("search")), "ty", TYPE)), MOST_TALLIES)
    if found is None:
        raise TooCostly(f"There are more than {MOST_TALLIES} days and actors: ask for fewer days.")
    parts = [write(_tally(each))["parameter"] for each in found]
    return Result("ok", codec.dumps(write([("count", "part", part) for part in parts])), query=urlencode(asked))


def _tally(tally: Tally) -> tuple[tuple[str, str, Any], ...]:
    day = date.fromordinal(_EPOCH + tally.day).isoformat()
    return ("day", "date", day), ("actor", "string", tally.actor or "unknown"), ("events", "integer", tally.count)

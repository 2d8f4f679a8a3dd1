"""AuditEvents for those who may read the log: rendered from its rows, never stored twice, never changed.

https://hl7.org/fhir/R4/auditevent.html; the search is that of ITI-81: https://profiles.ihe.net/ITI/TF/Volume2/ITI-81.html.
Auditors read all of it, without clinical values; holders and their representatives what was done to the record, without what the law
still hides from them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date
from functools import cache, partial
from typing import Any, TypeVar
from urllib.parse import urlencode

import structlog
from msgspec import Struct
from msgspec.structs import replace

from fhir_dmp.access.model import Action
from fhir_dmp.access.narrow import narrow
from fhir_dmp.access.rules import shut
from fhir_dmp.audit.event import submit
from fhir_dmp.audit.parts import event_id, row_of
from fhir_dmp.audit.render import Opened, render
from fhir_dmp.audit.scene import View
from fhir_dmp.audit.search import IN_TIME, NOWHEN, PARAMS, Words, bounded, compile_clause, union
from fhir_dmp.audit.submitted import named_here
from fhir_dmp.call import Call, Context, Entity, Env, Grant, Interaction, Params, Plan, Result
from fhir_dmp.errors import (
    Damaged,
    FhirError,
    Invalid,
    Issue,
    NotFound,
    NotSupported,
    Refused,
    TooCostly,
    TooLong,
    Unprocessable,
)
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.bundle import Entry
from fhir_dmp.fhir.outcome import outcome
from fhir_dmp.fhir.parameters import write
from fhir_dmp.fhir.reference import Ref, local, parse_literal
from fhir_dmp.interactions.listing import Listing
from fhir_dmp.interactions.shown import shown
from fhir_dmp.interactions.subset import Subset, counts_alone, subset_of
from fhir_dmp.interactions.write import require_valid, resource_of
from fhir_dmp.service.granting import shut_out
from fhir_dmp.store.change import Event, Stored
from fhir_dmp.store.log import indexes_of
from fhir_dmp.store.port import EventPart, Tally
from fhir_dmp.store.query import EVERYTHING, NOTHING, Query, assuming, both, either

__all__ = ["INTERACTIONS", "PARAMS", "find", "sees_all"]

MOST_BYTES = 64 * 1024
"""Of an AuditEvent that a client reports."""

MOST_FOR_PEOPLE = 100
"""AuditEvents of a page for a person: each item that they name is judged anew."""

MOST_TALLIES = 10_000
_TYPE = "AuditEvent"
_log = structlog.get_logger(__name__)
_EPOCH = date(1970, 1, 1).toordinal()


def read(call: Call, context: Context, grant: Grant, env: Env) -> Result:
    """Return one AuditEvent."""
    part, reasons, patients = find(call.id or "", grant, env)
    if part is None:
        raise NotFound(f"AuditEvent/{call.id} is not known here.", reasons=reasons, patients=patients)
    [body] = _rendered([part], context, grant, env)
    if body is None:
        raise Damaged(_damage(part.event.id, env), reasons=("damaged",), patients=tuple(_row(part)["pt"]))
    ref = Ref(_TYPE, event_id(part.event.id, part.number))
    made = shown(call, Stored(ref, 1, "", "", part.event.recorded, body), env)
    return replace(made, entities=(Entity(ref, 1, _row(part)["pt"]),))


def find(audit_event_id: str, grant: Grant, env: Env) -> tuple[EventPart | None, tuple[str, ...], tuple[str, ...]]:
    """Return the AuditEvent, or None with the reasons and the patients that the log is told of."""
    found = row_of(audit_event_id)
    event = env.store.find_event(found[0]) if found else None
    if found is None or event is None or found[1] > event.index.get("m", 1):
        return None, ("absent",), ()
    part = EventPart(event, found[1])
    decision = grant.decide("read", _row(part))
    if decision.permit:
        return part, (), ()
    return None, decision.reasons, ()


def _row(part: EventPart) -> dict[str, Any]:
    """Return what the rules judge an AuditEvent by."""
    index = indexes_of(part.event.index)[part.number - 1]
    ident = event_id(part.event.id, part.number)
    return {**index, "pt": tuple(index.get("pt", ())), "_id": f"{_TYPE}/{ident}", "ty": _TYPE}


def create(call: Call, context: Context, grant: Grant, env: Env) -> Plan:
    """Return the Plan that takes an AuditEvent of a client's own into the log, for good (ITI-20)."""
    tree = resource_of(call)
    require_valid(_TYPE, tree, env)
    _require_own(tree, context)
    event = submit(tree, context, env.ids.new(), env.clock.micros())
    if len(event.body) > MOST_BYTES:
        raise TooLong(f"An AuditEvent may have {MOST_BYTES} bytes.")
    _require_record(event.index["pt"], context, grant)
    _require_seen(tree, context, grant, env)
    ref = Ref(_TYPE, event.id)
    body = codec.dumps(render(event, 1, context.base_url, View(context.language)))
    return Plan(
        changes=(),
        finish=lambda *_: Result("created", body, ref, 1, event.recorded),
        entities=(Entity(ref, 1, tuple(event.index["pt"])),),
        events=(event,),
    )


def _require_own(tree: Mapping[str, Any], context: Context) -> None:
    """Refuse an event that says this server saw it, or that it happened later than now: it is a client's word."""
    observer = tree["source"]["observer"]
    named = (observer.get("reference"), observer.get("display"), (observer.get("identifier") or {}).get("value"))
    if any(isinstance(each, str) and _is_us(each, context.base_url) for each in named):
        raise Unprocessable(
            "source.observer names this server: report what your own system saw.",
            expression="AuditEvent.source.observer",
        )


def _require_seen(tree: Mapping[str, Any], context: Context, grant: Grant, env: Env) -> None:
    """Refuse a person's event about items that they do not see: whether it is masked later would tell if there is one."""
    if context.subject is None or context.subject.person is None:
        return
    named = [ref for name in named_here(tree, context.base_url) if (ref := _ref(name))]
    refs = [ref for ref in dict.fromkeys(named) if ref.type != "Patient"]
    rows = env.store.find_many(refs) if refs else {}
    if any(ref not in rows or not grant.decide("read", rows[ref].index).permit for ref in refs):
        raise Unprocessable("It names what you do not see here.", expression="AuditEvent.entity")


def _require_record(patients: Collection[str], context: Context, grant: Grant) -> None:
    """Refuse a person's event about another record than the token's, or one that takes nothing of them: it would stand among its traces."""
    subject = context.subject
    if subject is None or subject.person is None or not patients:
        return
    if any(each != subject.record for each in patients):
        raise Refused("This token reports events of its own record alone.", reasons=("of another record",))
    why = shut(grant.rules("create"))
    if why:
        raise shut_out(context, why)


def _is_us(name: str, base_url: str) -> bool:
    literal = parse_literal(name)
    if literal is not None:
        return literal.base == base_url
    return name.strip().lower() in ("fhir_dmp", "fhir-dmp") or base_url.partition("://")[2].partition("/")[0] in name


def search_type(call: Call, context: Context, grant: Grant, env: Env) -> Result:
    """Return a page of AuditEvents, newest first if not asked otherwise; ``total`` is exact when asked for or when all fit on the page.

    It counts what the pages tell, and what they name as damaged.
    """
    listing = Listing.of(call, _TYPE, context, env)
    asked = _Asked.parse(listing.params, call, context, grant, env)
    query = asked.query(grant)
    if asked.count == 0:
        return _page([], *_counted(asked, grant, env), None, listing)
    parts, last = env.store.search_events(query, asked.count, listing.after, oldest_first=asked.oldest_first)
    total = len(parts) if listing.place is None and last is None else None
    if asked.total and total is None:
        asked, total = _counted(asked, grant, env)
    told = list(zip(parts, _rendered(parts, context, grant, env), strict=True))
    damaged = dict.fromkeys(part.event.id for part, body in told if body is None)
    asked = replace(asked, issues=(*asked.issues, *(_warning(_damage(each, env)) for each in damaged)))
    return _page([(part, body) for part, body in told if body is not None], asked, total, last, listing)


def _counted(asked: _Asked, grant: Grant, env: Env) -> tuple[_Asked, int]:
    """Return the search, with a warning of events that no page tells since their rows stand nowhere in time, and how many all pages tell.

    They are looked for where alone they are, at the ends of the index.
    """
    total = env.store.count_events(asked.query(grant, IN_TIME))
    lost = env.store.count_events(asked.query(grant, NOWHEN))
    if not lost:
        return asked, total
    told = (
        f"Neither told nor counted: {lost} of the log's events that stand nowhere in time any more, for their rows are "
        "damaged. fhir-dmp audit verify names each."
    )
    return replace(asked, issues=(*asked.issues, _warning(told))), total


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
        clauses = tuple(_clause(*each, context, grant, env) for each in used if each[0] not in _CONTROLS)
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

    def query(self, grant: Grant, rows: Query = EVERYTHING) -> Query:
        """Return what is asked, of what the caller may see, and of these ``rows`` alone."""
        allowed = assuming(narrow(grant.rules("search")), "ty", _TYPE)
        return union(list(self.clauses), both(allowed, rows))


def _clause(name: str, value: str, context: Context, grant: Grant, env: Env) -> Words:
    """Return what a parameter asks; of items that a person does not see, what they themselves have asked about them in vain."""
    person = context.subject.person if context.subject else None
    if name != "entity" or person is None:
        return compile_clause(name, value, context.base_url)
    named = value.split(",")
    refs = {each: ref for each in named if (ref := local(each, context.base_url))}
    view = _view(map(str, refs.values()), context, grant, env)
    hidden = [each for each, ref in refs.items() if not view.sees(str(ref))]
    if not hidden:
        return compile_clause(name, value, context.base_url)
    mine, _ = compile_clause("agent", ",".join(filter(None, (person.resource, person.identifier))), context.base_url)
    about, _ = compile_clause(name, ",".join(hidden), context.base_url)
    seen = [each for each in named if each not in hidden]
    ours, theirs = compile_clause(name, ",".join(seen), context.base_url) if seen else (NOTHING, NOTHING)
    return either([ours, both(about, mine)]), theirs


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


def _rendered(parts: Sequence[EventPart], context: Context, grant: Grant, env: Env) -> list[bytes | None]:
    """Return the AuditEvents as this caller may see them; None for those of a row that is damaged."""
    rows = {part.event.id: _made(partial(Opened.of, part.event)) for part in parts}
    named = [_made(partial(_names, rows[part.event.id], part.number)) for part in parts]
    view = _view({name for names in named for name in names or ()}, context, grant, env)

    def told(part: EventPart, row: Opened) -> bytes:
        return codec.dumps(render(row, part.number, context.base_url, _own(view, part, context)))

    return [
        _made(partial(told, part, row)) if (row := rows[part.event.id]) is not None and names is not None else None
        for part, names in zip(parts, named, strict=True)
    ]


T = TypeVar("T")


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


def _damage(row_id: str, env: Env) -> str:
    """Return what is said of a damaged row: its place, as a verifier names it."""
    found = env.ledger.place_of(row_id)
    if found is None:
        return f"An event of the log, {row_id}, is damaged and cannot be told: see fhir-dmp audit verify."
    row, leaf = found
    place = f"{row.writer}/{row.epoch}/{row.number}, " + ("no leaf yet" if leaf is None else f"leaf {leaf}")
    return f"An event of the log, {row_id} ({place}), is damaged and cannot be told: see fhir-dmp audit verify."


def _warning(text: str) -> Issue:
    return Issue(Damaged.code, text, severity="warning")


def _view(names: Iterable[str], context: Context, grant: Grant, env: Env) -> View:
    """Return what a caller sees: a person the items they may read now, an auditor ids of all and clinical values of none.

    What others asked for and is not here is not told, as what is hidden is not: whoever asks for an id would have them tell which it is.
    """
    person = context.subject.person if context.subject else None
    if person is None:
        return View(context.language, sealed=False)
    refs = {ref for name in names if (ref := _ref(name)) and ref.type != _TYPE}
    rows = env.store.find_many(sorted(refs, key=str)) if refs else {}

    @cache
    def sees(name: str) -> bool:
        ref = _ref(name)
        row = rows.get(ref) if ref else None
        return row is not None and grant.decide("read", row.index).permit

    return View(context.language, sees, values=False, sealed=False)


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
    return all(grant.decide("read", _row(part)).permit for part in parts)


def _ref(name: str) -> Ref | None:
    parts = name.split("/")
    return Ref(parts[0], parts[1]) if len(parts) > 1 else None


def _page(
    told: Iterable[tuple[EventPart, bytes]],
    asked: _Asked,
    total: int | None,
    last: tuple[Any, ...] | None,
    listing: Listing,
) -> Result:
    base = f"{listing.context.base_url}/{_TYPE}"
    entries = [
        Entry(f"{base}/{event_id(part.event.id, part.number)}", asked.part(body), search_mode="match")
        for part, body in told
    ]
    if asked.issues:
        entries.append(Entry(body=codec.dumps(outcome(asked.issues)), search_mode="outcome"))
    links = listing.links(asked.params, last)
    return Result("ok", listing.bundle(entries, links, total), query=urlencode(asked.params))


def counts(call: Call, context: Context, grant: Grant, env: Env) -> Result:
    """Return how many AuditEvents each actor made on each day, counted by the database."""
    asked = tuple((each.name, str(each.value)) for each in call.parameters.items)
    clauses = [_clause(name, value, context, grant, env) for name, value in asked]
    found = env.store.tally_events(union(clauses, assuming(narrow(grant.rules("search")), "ty", _TYPE)))
    if len(found) > MOST_TALLIES:
        raise TooCostly(f"There are more than {MOST_TALLIES} days and actors: ask for fewer days.")
    parts = [write(_tally(each))["parameter"] for each in found]
    return Result("ok", codec.dumps(write([("count", "part", part) for part in parts])), query=urlencode(asked))


def _tally(tally: Tally) -> tuple[tuple[str, str, Any], ...]:
    day = date.fromordinal(_EPOCH + tally.day).isoformat()
    return ("day", "date", day), ("actor", "string", tally.actor or "unknown"), ("events", "integer", tally.count)


INTERACTIONS: Mapping[str, tuple[Action | None, Interaction]] = {
    "create": ("create", create),
    "read": ("read", read),
    "search-type": ("search", search_type),
}
"""What may be asked of AuditEvents: nothing that changes what is there."""

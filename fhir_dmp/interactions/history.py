"""FHIR history of one resource, a type or the system, newest first. https://hl7.org/fhir/R4/http.html#history.

Who polls with ``_since`` set to the bundle's own ``meta.lastUpdated`` misses no version (``interactions.listing``).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from fhir_dmp.call import Call, Context, Env, Grant, Params, Result
from fhir_dmp.clock import instant, moment
from fhir_dmp.errors import Invalid, NotSupported
from fhir_dmp.fhir.bundle import STATUS, Entry, bundle
from fhir_dmp.fhir.dates import LAST, Interval, interval
from fhir_dmp.interactions.entities import counted, disclosed
from fhir_dmp.interactions.known import visible
from fhir_dmp.interactions.listing import Listing
from fhir_dmp.interactions.sifting import Keys, Sieve, filled, sieve_of
from fhir_dmp.interactions.subset import ASKED, Subset, counts_alone, subset_of
from fhir_dmp.search.paging import written
from fhir_dmp.search.types import date
from fhir_dmp.settings import Limits
from fhir_dmp.store.change import Stored
from fhir_dmp.store.port import Found, HistoryPage, Scope
from fhir_dmp.store.query import Query

_ASKED = ("_count", "_since", "_at", *ASKED)
_RENDERING = ("_page", "_format", "_pretty")


class _Asked(Struct, frozen=True):
    """What the parameters say: how many versions, from when on, and present at which moments."""

    count: int
    since: int | None
    at: Interval | None
    used: Params


def history(call: Call, context: Context, grant: Grant, env: Env) -> Result:
    """Return a page of versions; deletions are entries without a resource."""
    listing = Listing.of(call, context, env)
    asked = _read(listing.params, env.limits, context.now, strict=call.strict)
    present = () if call.id is None else (disclosed(visible(call.ref, env.store.find_current(call.ref), grant)),)
    sieve = sieve_of(grant, "read") if call.id else _of_many(context, grant, env)
    scope, before = _scope(call, asked, sieve.allowed)
    part = subset_of(asked.used, env.definitions)
    found = _found(scope, asked.count, listing.after[0] if listing.after else before, sieve, grant, env)
    if asked.count == 0:
        sieve.require_exact()
    total = env.store.history_count(scope, before) if listing.place is None and sieve.is_exact else None
    whose = counted(total, len(found.rows), lambda most: env.store.history_concerned(scope, most, before), env)
    return Result(
        "ok",
        bundle(
            "history",
            [_entry(row, part, context) for row in found.rows],
            links=listing.links(asked.used, found.last if found.more else None),
            total=total,
            updated=listing.updated,
            bundle_id=env.ids.new(),
        ),
        entities=tuple(disclosed(row) for row in found.rows),
        query=written(asked.used),
        concerned=(*present, *whose),
    )


def _of_many(context: Context, grant: Grant, env: Env) -> Sieve:
    """Return the sieve of the histories of many resources.

    Who enters one record is never told how many versions there are: a total that is there or not, as a Consent withholds something by what rows
    hold or none does, would tell that it does.
    """
    subject = context.subject
    enters = (
        subject is not None and subject.record is not None and not (subject.person and subject.person.kind == "holder")
    )
    return sieve_of(grant, "search", histories=env.store, uncounted=enters)


def _found(scope: Scope, count: int, before: str | None, sieve: Sieve, grant: Grant, env: Env) -> Found:
    """Return a page of the versions that precede the moment (as ``lu``)."""

    def find(limit: int, after: Keys) -> Found:
        page = env.store.history(scope, HistoryPage(limit, after[0] if after else None))
        if sieve.fault is None:
            return page
        return replace(page, rows=tuple(row for row in page.rows if _as_it_was(row, grant, env)))

    return filled(sieve, count, (before,) if before else None, find) if count else Found((), more=False)


def _as_it_was(row: Stored, grant: Grant, env: Env) -> bool:
    """Tell whether a past Provenance is seen by what it was about then, where there are too many to be found by that."""
    if row.ref.type != "Provenance" or "un" not in row.index:
        return True
    whole = env.store.find_version(row.ref, row.version)
    return whole is not None and grant.decide("read", whole.index).permit


def _read(params: Params, limits: Limits, now: datetime, *, strict: bool) -> _Asked:
    used = tuple(each for each in params if each[0] in _ASKED)
    unknown = next((name for name, _ in params if name not in _ASKED + _RENDERING), None)
    if unknown is not None and (strict or unknown == "_list"):
        raise NotSupported(
            f"History takes _count, _since, _at, _summary and _elements, not {unknown[:64]!r}.", expression=unknown[:64]
        )
    once = [each for each in used if each[0] != "_at"]
    asked = dict(once)
    if len(asked) < len(once):
        raise Invalid("Each parameter of a history is given once, but for _at.")
    count = asked.get("_count", str(limits.default_page))
    if not count.isdecimal() or not count.isascii():
        raise Invalid(f"_count {count[:20]!r} is no number of versions.", expression="_count")
    if counts_alone(used):
        count = "0"
    at = _moments([value for name, value in used if name == "_at"], now)
    return _Asked(min(int(count[:9]), limits.page), _since(asked.get("_since")), at, used)


def _since(text: str | None) -> int | None:
    """Return when a moment begins; a ``+`` that came as a blank, since nobody encoded it, is one."""
    if text is None:
        return None
    try:
        return interval(text.replace(" ", "+"))[0]
    except ValueError as fault:
        raise Invalid(f"_since: {fault}.", expression="_since") from None


def _moments(values: Sequence[str], now: datetime) -> Interval | None:
    """Return the time that all values of ``_at`` have in common, each a date with a prefix or without one; None where there is none."""
    spans = [_span(value, now) for value in values]
    if not spans:
        return None
    low, high = max(low for low, _ in spans), min(high for _, high in spans)
    if low >= high:
        raise Invalid("_at: these dates have no moment in common.", expression="_at")
    return low, high


def _span(value: str, now: datetime) -> Interval:
    prefix, low, high = date.asked(value, "_at", now)
    spans: dict[str, Interval] = {
        "eq": (low, high),
        "ge": (low, LAST),
        "gt": (high, LAST),
        "sa": (high, LAST),
        "le": (0, high),
        "lt": (0, low),
        "eb": (0, low),
    }
    if prefix not in spans:
        raise NotSupported(f"_at is one stretch of time: {prefix} is none.", expression="_at")
    return spans[prefix]


def _scope(call: Call, asked: _Asked, allowed: Query) -> tuple[Scope, str | None]:
    """Return the scope, and the moment (as ``lu``) that its versions precede.

    ``_at`` asks for the versions present at some time of its interval: the last before it, and those made within.
    """
    if asked.at is None:
        return Scope(call.type, call.id, allowed, asked.since), None
    low, high = asked.at
    return Scope(call.type, call.id, allowed, asked.since, low), moment(high)


def _entry(row: Stored, part: Subset, context: Context) -> Entry:
    method = _method(row)
    made = "created" if method == "POST" or row.index.get("new") else "ok"
    status = STATUS["no-content" if row.deleted else made]
    return Entry(
        full_url=f"{context.base_url}/{row.ref}",
        body=part(row.body),
        request={"method": method, "url": row.ref.type if method == "POST" else str(row.ref)},
        response={"status": status, "etag": f'W/"{row.version}"', "lastModified": instant(row.updated)},
    )


def _method(row: Stored) -> str:
    """Return by which method the version was made, as far as it tells: the first may have come by PUT as well."""
    if row.deleted:
        return "DELETE"
    if row.version == 1:
        return "POST"
    return "PATCH" if row.index.get("patched") else "PUT"

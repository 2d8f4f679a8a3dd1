"""FHIR $everything: a record whole, page by page. https://hl7.org/fhir/R4/patient-operation-everything.html.

A page is one query over the compartment, joined as stored bytes, and one more for what its rows name outside of it (who treated,
where, what with). Its rows are in the order of creation, so that pages neither repeat nor lose one while others write.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from fhir_dmp.access.narrow import narrow
from fhir_dmp.call import Call, Context, Env, Grant, Params, Result
from fhir_dmp.clock import moment
from fhir_dmp.definitions.model import Definitions, SearchParam
from fhir_dmp.errors import Invalid
from fhir_dmp.fhir.dates import LAST, interval
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.interactions.entities import disclosed, gone
from fhir_dmp.interactions.known import visible
from fhir_dmp.interactions.listing import Listing
from fhir_dmp.interactions.sifting import sieve_of
from fhir_dmp.interactions.subset import ASKED, counts_alone, subset_of
from fhir_dmp.search.extract import main_date
from fhir_dmp.search.names import homes
from fhir_dmp.search.types import date
from fhir_dmp.store.change import Stored
from fhir_dmp.store.port import Found, Page
from fhir_dmp.store.query import Between, Eq, In, Not, Query, both, either

_REFERENCE = re.compile(rb'"reference":"([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?"')
"""A relative reference in a stored body: compact JSON, in which no text can hold a bare quotation mark."""

_ENDS = {"Condition": "abatement-date"}
"""Types whose main date is the beginning alone, and the parameter that tells the end; what tells none goes on."""
_CONTENT = re.compile(rb'"url":"([^"]{0,2000}?)Binary/([A-Za-z0-9\-.]{1,64})(?:/_history/[0-9]{1,18})?"')
_WAITING = "waiting"
"""In a page token: the ids of the Binaries that the page before had no room for."""


def everything(call: Call, context: Context, grant: Grant, env: Env) -> Result:
    """Return a page of the record: members of the compartment as matches, what they name outside of it as included.

    Without an id it is the record that the token is for.
    """
    call = call if call.id is not None else _of_token(call, context)
    listing = Listing.of(call, context, env)
    asked = dict(listing.params) if listing.place else _asked(call, env)
    waiting = asked.pop(_WAITING, "").split()
    count, record = int(asked.get("_count", env.limits.page)), _record(call.ref, asked, env.definitions)
    if counts_alone(tuple(asked.items())):
        return _counted(listing, call.ref, record, tuple(asked.items()), grant, env)
    query = both(record, narrow(grant.rules("search", provenances_apart=True)))
    page = Page(count, after=listing.after, bound=listing.bound)
    found, contents, waiting = _with_contents(query, page, waiting, call, asked, context, grant, env)
    found = _judged(found, grant)
    if not any(row.ref == call.ref for row in found.rows):
        _require_record(call.ref, grant, env)
    named = [*_named((*found.rows, *contents), call.ref, asked, grant, env), *contents]
    used = tuple(asked.items())
    part, kept = subset_of(used, env.definitions), ((_WAITING, " ".join(waiting)),) if waiting else ()
    return listing.searchset(used, found, part, included=named, total=listing.total(found), ref=call.ref, going_on=kept)


def _counted(listing: Listing, ref: Ref, record: Query, used: Params, grant: Grant, env: Env) -> Result:
    """Return how many members of the compartment there are: what they name outside of it is no match."""
    _require_record(ref, grant, env)
    sieve = sieve_of(grant, "search")
    sieve.require_exact()
    nothing, total = Found((), more=False), env.store.count(both(record, sieve.allowed))
    return listing.searchset(used, nothing, subset_of(used, env.definitions), total=total, ref=ref)


def _with_contents(
    query: Query,
    page: Page,
    waiting: Sequence[str],
    call: Call,
    asked: Mapping[str, str],
    context: Context,
    grant: Grant,
    env: Env,
) -> tuple[Found, list[Stored], list[str]]:
    """Return the page; in a copy of a closed record with the Binaries that its rows name, and those of them that wait for the next page.

    Of an open record they are read where the rows say. Contents are long: a page ends where they fill a body (``limits.body``).
    """
    found = env.store.search(query, page)
    if not _is_copy(call, asked, context, grant):
        return found, [], []
    taken: dict[Ref, Stored] = {}
    left = _filled(taken, waiting, grant, env)
    room = 0
    for row in found.rows:
        if left or _size(taken) >= env.limits.body:
            break
        left = _filled(taken, _binaries(row, context.base_url), grant, env)
        room += 1
    if room == len(found.rows):
        return replace(found, more=found.more or bool(left), last=found.last or page.after), list(taken.values()), left
    cut = env.store.search(query, replace(page, limit=room)) if room else Found((), more=True, last=page.after)
    return replace(cut, more=True), list(taken.values()), left


def _is_copy(call: Call, asked: Mapping[str, str], context: Context, grant: Grant) -> bool:
    """Tell whether it is a copy of a closed record, of which nothing but the copy can be read."""
    person = context.subject.person if context.subject else None
    if person is None or person.patient != str(call.ref) or "Binary" not in asked.get("_type", "Binary").split(","):
        return False
    return grant.policy(str(call.ref))[0].closing is not None


def _filled(taken: dict[Ref, Stored], ids: Sequence[str], grant: Grant, env: Env) -> list[str]:
    """Take the Binaries that the caller may read while there is room, and return those for which there was none."""
    for place, each in enumerate(ids):
        if _size(taken) >= env.limits.body:
            return list(ids[place:])
        row = env.store.find_current(Ref("Binary", each))
        if row is not None and not row.deleted and grant.decide("read", row.index).permit:
            taken[row.ref] = row
    return []


def _size(taken: Mapping[Ref, Stored]) -> int:
    return sum(len(row.body or b"") for row in taken.values())


def _binaries(row: Stored, base_url: str) -> list[str]:
    """Return the ids of the Binaries of this server whose URL stands in the row."""
    own = base_url.encode()
    found = ((base, each) for base, each in _CONTENT.findall(row.body or b"") if base in (b"", own + b"/"))
    return [each.decode() for each in dict.fromkeys(each for _, each in found)]


def _judged(found: Found, grant: Grant) -> Found:
    """Return what was found without the Provenances of what is hidden: a record has few, and most pages none."""
    rows = tuple(row for row in found.rows if row.ref.type != "Provenance" or grant.decide("read", row.index).permit)
    return replace(found, rows=rows)


def _of_token(call: Call, context: Context) -> Call:
    record = context.subject.record if context.subject else None
    if call.type != "Patient" or record is None:
        raise Invalid(f"This token is for no one record: call {call.type}/[id]/$everything.")
    return replace(call, id=record.partition("/")[2])


def _asked(call: Call, env: Env) -> dict[str, str]:
    """Return what narrows the record and its rows, by name."""
    given = call.parameters
    subset_of(call.params, env.definitions)
    asked = {name: value for name, value in call.params if name in ASKED}
    asked |= {name: str(given.value(name)) for name in ("_since", "start", "end") if given.value(name) is not None}
    types = [name for value in given.values("_type") for name in value.split(",") if name]
    unknown = next((name for name in types if name not in env.definitions.search_params), None)
    if unknown is not None:
        raise Invalid(f"_type names no resource type of R4: {unknown[:64]!r}.", expression="_type")
    if types:
        asked["_type"] = ",".join(dict.fromkeys(types))
    count = given.value("_count")
    if count is not None:
        if count < 1:
            raise Invalid("_count is 1 or more.", expression="_count")
        asked["_count"] = str(min(count, env.limits.page))
    return asked


def _record(ref: Ref, asked: Mapping[str, str], definitions: Definitions) -> Query:
    parts: list[Query] = [Eq("t", f"@{ref}")]
    if "_type" in asked:
        parts.append(In("ty", tuple(asked["_type"].split(","))))
    if "_since" in asked:
        parts.append(Between("lu", moment(interval(asked["_since"])[0]), None))
    start = interval(asked["start"])[0] if "start" in asked else None
    end = interval(asked["end"])[1] if "end" in asked else None
    if start is not None and end is not None and end <= start:
        raise Invalid("end lies before start.", expression="end")
    if start is not None or end is not None:
        parts.append(_cared_for(ref, start, end, definitions))
    return both(*parts)


def _cared_for(ref: Ref, start: int | None, end: int | None, definitions: Definitions) -> Query:
    """Return the query for rows of care that has some time in common with the dates, and for those that tell no date of care.

    A row's main date begins at ``ds``: what began before the dates is asked whether it went on until then.
    """
    members = {ref.type, *definitions.compartments[ref.type].members}
    mains = {name: param for name in sorted(members) if (param := main_date(definitions.search_params[name]))}
    born = tuple(name for name, param in mains.items() if param.code == "birthdate")
    outside: list[Query] = []
    if start is not None:
        until = LAST if end is None else end
        lasting = [
            both(Eq("ty", name), _lasts(name, param, start, until, definitions))
            for name, param in mains.items()
            if name not in born
        ]
        outside.append(both(Between("ds", None, start), Not(either(lasting))))
    if end is not None:
        outside.append(Between("ds", end, None))
    return either([In("ty", born), Not(either(outside))])


def _lasts(name: str, main: SearchParam, start: int, end: int, definitions: Definitions) -> Query:
    """Return the query for rows of a type, begun before ``start``, that went on then: what has an end of its own, until that."""
    params = definitions.search_params[name]
    if name not in _ENDS:
        return date.touching(homes(params, name, main)[0], start, end)
    return Not(date.over_by(homes(params, name, params[_ENDS[name]])[0], start))


def _require_record(ref: Ref, grant: Grant, env: Env) -> None:
    """Refuse a record that is not there, or not for this caller, as a read of it would be."""
    row = visible(ref, env.store.find_current(ref), grant)
    if row.deleted:
        raise gone(disclosed(row))


def _named(rows: Iterable[Stored], record: Ref, asked: Mapping[str, str], grant: Grant, env: Env) -> list[Stored]:
    """Return what the rows name outside the record, of the types that are asked for, as far as the caller may read it."""
    types = asked["_type"].split(",") if "_type" in asked else env.definitions.resource_types
    known = {row.ref for row in rows} | {record}
    members = env.definitions.compartments[record.type].members
    refs: dict[Ref, None] = {}
    for row in rows:
        for kind, own in set(_REFERENCE.findall(row.body or b"")):
            ref = Ref(kind.decode(), own.decode())
            if ref not in known and ref.type in types and ref.type not in members:
                refs[ref] = None
    if not refs:
        return []
    found = env.store.find_many(list(refs)[: env.limits.included], with_index=False)
    return [row for row in found.values() if not row.deleted and grant.decide("read", row.index).permit]

"""FHIR search of one type, of several, and within a compartment. https://hl7.org/fhir/R4/http.html#search.

The caller's rules are part of the query, so that totals, pages and order know nothing of what is hidden. A page joins stored bodies.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from msgspec.structs import replace

from fhir_dmp.call import Call, Context, Env, Grant, Params, Result
from fhir_dmp.errors import Invalid, TooCostly
from fhir_dmp.interactions.compartment import within
from fhir_dmp.interactions.criteria import setting_of
from fhir_dmp.interactions.entities import counted
from fhir_dmp.interactions.listing import Listing
from fhir_dmp.interactions.sifting import filled, sieve_of
from fhir_dmp.interactions.subset import subset_of
from fhir_dmp.search.compile import compile_criteria
from fhir_dmp.search.include import included
from fhir_dmp.search.model import Request
from fhir_dmp.search.order import beside, orders
from fhir_dmp.search.parse import parse
from fhir_dmp.store.matching import assuming
from fhir_dmp.store.port import Found, Page
from fhir_dmp.store.query import And, Eq, In, Query, Scalar, both, either

MOST_MIXED = 20
"""Types that a search may have whose criteria do not come to one question for all of them."""

_DEAR = ("_filter", "_list", "_text", "_content", "_has")
"""Parameters that are worked out for each type anew."""

_SHARED_ORDERS = ("_id", "_lastUpdated")


def search_type(call: Call, context: Context, grant: Grant, env: Env) -> Result:
    """Return one page of a searchset."""
    listing = Listing.of(call, context, env)
    request = parse(call.resource_type, listing.params, env.definitions, env.limits, strict=call.strict)
    return _page(listing, request, compile_query(request, context, grant, env), grant)


def search_system(call: Call, context: Context, grant: Grant, env: Env) -> Result:
    """Return one page of a searchset over several types (``_type``), or over all; criteria are those that all of them have."""
    listing = Listing.of(call, context, env)
    params = listing.params
    types = _types(params, call, env)
    named, own = (tuple(each for each in params if (each[0] == "_type") is of_type) for of_type in (True, False))
    if len(types) > MOST_MIXED and any(name.partition(":")[0] in _DEAR for name, _ in own):
        raise _too_many_types()
    requests = [parse(name, own, env.definitions, env.limits, strict=call.strict) for name in types]
    _require_shared(requests, types)
    query = _one_of([compile_query(request, context, grant, env) for request in requests])
    used = (*(each for each in named if each[1].strip(",")), *requests[0].used)
    return _page(listing, replace(requests[0], used=used), query, grant)


def _types(params: Params, call: Call, env: Env) -> tuple[str, ...]:
    """Return the types that are asked for; without ``_type`` all that there are, or all that the compartment has."""
    named = [name for key, value in params if key == "_type" for name in value.split(",") if name]
    known = env.definitions.search_params
    if call.compartment is not None:
        within(call, env)
        members = env.definitions.compartments[call.compartment.type].members
        return tuple(
            dict.fromkeys(name for name in named or sorted(members) if name in members and name != "AuditEvent")
        )
    unknown = next((name for name in named if name not in known), None)
    if unknown is not None:
        raise Invalid(f"_type names no resource type of R4: {unknown[:64]!r}.", expression="_type")
    return tuple(name for name in dict.fromkeys(named or sorted(known)) if name != "AuditEvent")


def _require_shared(requests: Sequence[Request], types: Sequence[str]) -> None:
    """Refuse what only some of the types understand: it would be no criterion for the others."""
    if not requests:
        raise Invalid("_type names no type that is searched here.", expression="_type")
    for request, name in zip(requests, types, strict=True):
        if request.used != requests[0].used:
            other = next(iter({*request.used} ^ {*requests[0].used}))[0]
            raise Invalid(f"{other[:64]} is a parameter of some types only, not of {name}.", expression=other[:64])
    wrong = next((sort.param.code for sort in requests[0].sort if sort.param.code not in _SHARED_ORDERS), None)
    if wrong is not None and len(requests) > 1:
        raise Invalid(f"Several types are sorted by _id or _lastUpdated, not by {wrong}.", expression="_sort")


def _one_of(queries: Sequence[Query]) -> Query:
    """Return the query for rows that meet one of the queries, as one question where they differ in one list of values."""
    apart = [each.parts if isinstance(each, And) else (each,) for each in queries]
    common = tuple(part for part in apart[0] if all(part in parts for parts in apart))
    rest = [tuple(part for part in parts if part not in common) for parts in apart]
    values = [_values(parts[0]) if len(parts) == 1 else None for parts in rest]
    fields = {found[0] for found in values if found}
    if len(fields) == 1 and all(values):
        return both(In(fields.pop(), tuple(value for found in values if found for value in found[1])), *common)
    if len(queries) > MOST_MIXED:
        raise _too_many_types()
    return either(list(queries))


def _too_many_types() -> TooCostly:
    return TooCostly(f"This search takes up to {MOST_MIXED} types: name them by _type.")


def _values(query: Query) -> tuple[str, tuple[Scalar, ...]] | None:
    match query:
        case Eq(name, value):
            return name, (value,)
        case In(name, values):
            return name, values
        case _:
            return None


def _page(listing: Listing, request: Request, criteria: Query, grant: Grant) -> Result:
    call, env = listing.call, listing.env
    sieve = sieve_of(grant, "search")
    allowed = assuming(sieve.allowed, "ty", call.type) if call.type else sieve.allowed
    query = both(criteria, *within(call, env), allowed)
    part = subset_of(request.used, env.definitions)
    if request.count_only or request.total == "accurate":
        sieve.require_exact()
    find = partial(env.store.concerned, query)
    if request.count_only:
        total: int | None = env.store.count(query)
        told, concerned = Found((), more=False), counted(total, 0, find, env)
        return listing.searchset(request.used, told, part, total=total, ignored=request.ignored, concerned=concerned)
    follows = bool(request.includes or request.revincludes)
    order = orders(request, env.definitions)
    page = Page(request.count, order, listing.after, listing.bound, follows)
    ordered = both(query, beside(call.type, order, criteria)) if call.type else query
    found = filled(
        sieve,
        page.limit,
        page.after,
        lambda limit, after: env.store.search(ordered, replace(page, limit=limit, after=after)),
    )
    total = None if request.total == "none" else listing.total(found)
    if request.total == "accurate" and total is None:
        total = env.store.count(query)
    concerned = counted(total, len(found.rows), find, env)
    extra = included(request, found.rows, sieve.readable, sieve.allowed, env.store, env.limits) if follows else ()
    return listing.searchset(
        request.used, found, part, included=extra, total=total, ignored=request.ignored, concerned=concerned
    )


def compile_query(request: Request, context: Context, grant: Grant, env: Env) -> Query:
    """Return the query of the request's criteria, without the caller's rules for the type itself."""
    setting = setting_of(context, grant, env)
    return compile_criteria(request.type, request.criteria, setting)

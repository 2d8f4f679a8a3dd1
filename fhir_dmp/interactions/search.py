"""FHIR search of one type. https://hl7.org/fhir/R4/http.html#search.

The caller's rules are part of the query, so that totals, pages and order know nothing of what is hidden. A page joins stored bodies.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlencode

from fhir_dmp.access.decide import decide
from fhir_dmp.access.narrow import narrow
from fhir_dmp.call import Call, Context, Env, Grant, Params, Result
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.bundle import Entry, bundle
from fhir_dmp.fhir.outcome import outcome
from fhir_dmp.interactions.criteria import setting_of
from fhir_dmp.interactions.write import disclosed
from fhir_dmp.search.compile import compile_criteria
from fhir_dmp.search.include import included
from fhir_dmp.search.model import Request
from fhir_dmp.search.order import orders
from fhir_dmp.search.paging import Place, open_place, owner, seal_place
from fhir_dmp.search.parse import parse
from fhir_dmp.store.change import Stored
from fhir_dmp.store.port import Found, Page
from fhir_dmp.store.query import Query, both


def search_type(call: Call, context: Context, grant: Grant, env: Env) -> Result:
    """Return one page of a searchset."""
    place = _resume(call, context, env)
    params = place.params if place else call.params
    request = parse(call.resource_type, params, env.definitions, env.limits, strict=call.strict)
    allowed = narrow(grant.rules("search"))
    query = both(compile_query(request, context, grant, env), allowed)
    if request.count_only:
        return _answer(request, Found((), more=False), (), env.store.count(query), None, context)
    bound = place.bound if place else env.store.newest()
    follows = bool(request.includes or request.revincludes)
    page = Page(request.count, orders(request, env.definitions), place.keys if place else None, bound, follows)
    found = env.store.search(query, page)
    total = None if place or found.more or request.total == "none" else len(found.rows)
    if request.total == "accurate" and total is None:
        total = env.store.count(query)
    extra = included(request, found.rows, _reader(grant), allowed, env.store, env.limits)
    token = _token(call, context, params, found, bound, env) if found.more else None
    return _answer(request, found, extra, total, token, context)


def compile_query(request: Request, context: Context, grant: Grant, env: Env) -> Query:
    """Return the query of the request's criteria, without the caller's rules for the type itself."""
    setting = setting_of(context, grant, env)
    return compile_criteria(request.type, request.criteria, setting)


def _reader(grant: Grant) -> Callable[[Stored], bool]:
    rules = grant.rules("read")
    return lambda row: decide(rules, row.index).permit


def _answer(
    request: Request,
    found: Found,
    extra: tuple[Stored, ...],
    total: int | None,
    token: str | None,
    context: Context,
) -> Result:
    base = f"{context.base_url}/{request.type}"
    links = {"self": f"{base}?{urlencode(request.used)}" if request.used else base}
    if token:
        links["next"] = f"{base}?{urlencode({'_page': token})}"
    entries = [_entry(row, "match", context) for row in found.rows]
    entries += [_entry(row, "include", context) for row in extra]
    if request.ignored:
        entries.append(Entry(body=codec.dumps(outcome(request.ignored)), search_mode="outcome"))
    return Result(
        "ok",
        bundle("searchset", entries, links=links, total=total),
        entities=tuple(disclosed(row) for row in (*found.rows, *extra)),
        query=urlencode(request.used),
    )


def _entry(row: Stored, mode: str, context: Context) -> Entry:
    return Entry(f"{context.base_url}/{row.ref}", row.body, search_mode=mode)


def _resume(call: Call, context: Context, env: Env) -> Place | None:
    token = dict(call.params).get("_page")
    if token is None:
        return None
    now = env.clock.micros() // 1_000_000
    return open_place(token, env.unseal, owner=owner(context.subject), path=call.resource_type, now=now)


def _token(call: Call, context: Context, params: Params, found: Found, bound: str, env: Env) -> str:
    ends = env.clock.micros() // 1_000_000 + env.limits.page_token_seconds
    place = Place(owner(context.subject), call.resource_type, params, found.last or (), bound, ends)
    return seal_place(place, env.seal)

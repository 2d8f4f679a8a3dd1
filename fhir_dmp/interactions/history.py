"""FHIR history of one resource, a type or the system, newest first. https://hl7.org/fhir/R4/http.html#history.

``meta.lastUpdated`` of the bundle is a horizon that no unfinished commit can precede, and the same on all pages: who polls
with ``_since`` set to it may see a version twice, and never misses one.
"""

from __future__ import annotations

from urllib.parse import urlencode

from fhir_dmp.access.narrow import narrow
from fhir_dmp.call import Call, Context, Env, Grant, Params, Result
from fhir_dmp.clock import instant
from fhir_dmp.errors import Invalid
from fhir_dmp.fhir.bundle import Entry, bundle
from fhir_dmp.fhir.dates import interval
from fhir_dmp.interactions.read import visible
from fhir_dmp.interactions.write import disclosed
from fhir_dmp.search.paging import Place, open_place, owner, seal_place
from fhir_dmp.store.change import Stored
from fhir_dmp.store.port import Found, HistoryPage, Scope

_KNOWN = frozenset({"_count", "_since", "_page", "_format", "_pretty"})


def history(call: Call, context: Context, grant: Grant, env: Env) -> Result:
    """Return a page of versions; deletions are entries without a resource."""
    place = _resume(call, context, env)
    params = place.params if place else call.params
    count, since = _asked(params, strict=call.strict, most=env.limits.page, default=env.limits.default_page)
    if call.id is not None:
        visible(call.ref, env.store.find_current(call.ref), grant)
    allowed = narrow(grant.rules("read" if call.id else "search"))
    scope = Scope(call.type, call.id, allowed, since)
    horizon = env.store.horizon()
    found = (
        env.store.history(scope, HistoryPage(count, place.keys[0] if place else None))
        if count
        else Found((), more=False)
    )
    total = env.store.history_count(scope) if place is None else None
    return Result(
        "ok",
        bundle(
            "history",
            [_entry(row, context) for row in found.rows],
            links=_links(call, context, params, found, env),
            total=total,
            updated=instant(horizon),
            bundle_id=env.ids.new(),
        ),
        entities=tuple(disclosed(row) for row in found.rows),
        query=urlencode(params),
    )


def _asked(params: Params, *, strict: bool, most: int, default: int) -> tuple[int, int | None]:
    asked = dict(params)
    unknown = next((name for name in asked if name not in _KNOWN), None)
    if unknown is not None and strict:
        raise Invalid(f"History takes _count and _since, not {unknown[:64]!r}.", expression=unknown[:64])
    count = asked.get("_count", str(default))
    if not count.isdecimal() or not count.isascii():
        raise Invalid(f"_count {count[:20]!r} is no number of versions.", expression="_count")
    try:
        since = interval(asked["_since"].replace(" ", "+"))[0] if "_since" in asked else None
    except ValueError as fault:
        raise Invalid(f"_since: {fault}.", expression="_since") from None
    return min(int(count[:9]), most), since


def _entry(row: Stored, context: Context) -> Entry:
    method = "DELETE" if row.deleted else "POST" if row.version == 1 else "PUT"
    status = {"DELETE": "204 No Content", "POST": "201 Created", "PUT": "200 OK"}[method]
    return Entry(
        full_url=f"{context.base_url}/{row.ref}",
        body=row.body,
        request={"method": method, "url": row.ref.type if method == "POST" else str(row.ref)},
        response={"status": status, "etag": f'W/"{row.version}"', "lastModified": instant(row.updated)},
    )


def _path(call: Call) -> str:
    return "/".join(part for part in (call.type, call.id, "_history") if part)


def _links(call: Call, context: Context, params: Params, found: Found, env: Env) -> dict[str, str]:
    base = f"{context.base_url}/{_path(call)}"
    asked = tuple(each for each in params if each[0] in ("_count", "_since"))
    links = {"self": f"{base}?{urlencode(asked)}" if asked else base}
    if found.more:
        ends = env.clock.micros() // 1_000_000 + env.limits.page_token_seconds
        place = Place(owner(context.subject), _path(call), asked, found.last or (), "", ends)
        links["next"] = f"{base}?{urlencode({'_page': seal_place(place, env.seal)})}"
    return links


def _resume(call: Call, context: Context, env: Env) -> Place | None:
    token = dict(call.params).get("_page")
    if token is None:
        return None
    now = env.clock.micros() // 1_000_000
    return open_place(token, env.unseal, owner=owner(context.subject), path=_path(call), now=now)

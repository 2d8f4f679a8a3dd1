"""AuditEvents for those who may read the log: rendered from its rows, never stored twice, never changed.

https://hl7.org/fhir/R4/auditevent.html; the search is that of ITI-81: https://profiles.ihe.net/ITI/TF/Volume2/ITI-81.html.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from fhir_dmp.access.decide import decide
from fhir_dmp.access.model import Action
from fhir_dmp.audit.event import submit
from fhir_dmp.audit.render import render
from fhir_dmp.call import Call, Context, Entity, Env, Grant, Interaction, Params, Plan, Result
from fhir_dmp.errors import Invalid, NotFound, NotSupported
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.bundle import Entry, bundle
from fhir_dmp.fhir.dates import interval
from fhir_dmp.fhir.reference import Ref, local
from fhir_dmp.interactions.write import require_valid, resource_of
from fhir_dmp.search.paging import Place, open_place, owner, seal_place
from fhir_dmp.store.change import Event
from fhir_dmp.store.port import Order, Page
from fhir_dmp.store.query import Between, In, Query, both

_NEWEST_FIRST = (Order("rec", descending=True),)


def read(call: Call, context: Context, grant: Grant, env: Env) -> Result:
    """Return one AuditEvent."""
    event = env.store.find_event(call.id or "")
    if event is None or not decide(grant.rules("read"), {"ty": "AuditEvent"}).permit:
        raise NotFound(f"AuditEvent/{call.id} is not known here.", reasons=("absent",))
    return Result("ok", codec.dumps(render(event, context.base_url)), Ref("AuditEvent", event.id), 1, event.recorded)


def create(call: Call, context: Context, grant: Grant, env: Env) -> Plan:
    """Return the Plan that takes an AuditEvent of a client's own into the log, for good (ITI-20)."""
    del grant
    tree = resource_of(call)
    require_valid("AuditEvent", tree, env)
    event = submit(tree, context, env.ids.new(), env.clock.micros())
    ref = Ref("AuditEvent", event.id)
    body = codec.dumps(render(event, context.base_url))
    return Plan(
        changes=(),
        finish=lambda *_: Result("created", body, ref, 1, event.recorded),
        entities=(Entity(ref, 1, tuple(event.index["pt"])),),
        events=(event,),
    )


def search_type(call: Call, context: Context, grant: Grant, env: Env) -> Result:
    """Return a page of AuditEvents, newest first; ``total`` is exact when asked for or when all fit on the page."""
    del grant
    place = _resume(call, context, env)
    params = place.params if place else call.params
    asked = _Asked.parse(params, context, env)
    query = both(*asked.clauses)
    if asked.count == 0:
        return _page((), asked, env.store.count_events(query), None, context)
    after = place.keys if place else None
    rows, last = env.store.search_events(query, Page(asked.count, _NEWEST_FIRST, after))
    total = len(rows) if place is None and last is None else None
    if asked.total and total is None:
        total = env.store.count_events(query)
    token = _token(last, params, context, env) if last else None
    return _page(rows, asked, total, token, context)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A search of the log, taken apart."""

    params: Params
    clauses: tuple[Query, ...]
    count: int
    total: bool

    @classmethod
    def parse(cls, params: Params, context: Context, env: Env) -> _Asked:
        controls = {name: value for name, value in params if name in _CONTROLS}
        clauses = tuple(_clause(name, value, context) for name, value in params if name not in _CONTROLS)
        text = controls.get("_count", str(env.limits.default_page))
        if not text.isdigit():
            raise Invalid(f"_count {text!r} is no number.", expression="_count")
        count = 0 if controls.get("_summary") == "count" else min(int(text), env.limits.page)
        return cls(params, clauses, count, controls.get("_total") == "accurate")


_CONTROLS = ("_count", "_total", "_summary", "_format", "_pretty", "_page")


def _clause(name: str, value: str, context: Context) -> Query:
    compile_value = PARAMS.get(name)
    if compile_value is None:
        raise NotSupported(
            f"AuditEvent is searched by {', '.join(sorted(PARAMS))}; not by {name!r}.", expression=name[:64]
        )
    return compile_value(value, context)


def _tokens(code: str) -> Callable[[str, Context], Query]:
    def compile_value(value: str, context: Context) -> Query:
        del context
        codes = [each.rpartition("|")[2] for each in value.split(",")]
        return In("t", tuple(f"AuditEvent.{code}={each}" for each in codes))

    return compile_value


def _references(field: str, prefix: str) -> Callable[[str, Context], Query]:
    def compile_value(value: str, context: Context) -> Query:
        refs = []
        for each in value.split(","):
            ref = local(each if "/" in each else f"Patient/{each}", context.base_url)
            if ref is None:
                raise Invalid(f"{each[:100]!r} is no reference to a resource here.")
            refs.append(f"{prefix}{ref}")
        return In(field, tuple(refs))

    return compile_value


def _date(value: str, context: Context) -> Query:
    del context
    prefix, text = (value[:2], value[2:]) if value[:2].isalpha() else ("eq", value)
    low, high = interval(text)
    bounds = {
        "eq": Between("rec", low, high),
        "ge": Between("rec", low, None),
        "gt": Between("rec", high, None),
        "sa": Between("rec", high, None),
        "lt": Between("rec", None, low),
        "eb": Between("rec", None, low),
        "le": Between("rec", None, high),
    }
    if prefix not in bounds:
        raise NotSupported(f"The prefix {prefix!r} is not supported for the date of AuditEvents.", expression="date")
    return bounds[prefix]


PARAMS: Mapping[str, Callable[[str, Context], Query]] = {
    "_id": lambda value, _: In("_id", tuple(value.split(","))),
    "_lastUpdated": _date,
    "date": _date,
    "patient": _references("pt", ""),
    "entity": _references("t", "AuditEvent.entity="),
    "agent": _tokens("agent"),
    "action": _tokens("action"),
    "outcome": _tokens("outcome"),
    "subtype": _tokens("subtype"),
}
"""What AuditEvents are searched by, and how a value becomes a query on the log's rows."""


def _resume(call: Call, context: Context, env: Env) -> Place | None:
    token = dict(call.params).get("_page")
    if token is None:
        return None
    now = env.clock.micros() // 1_000_000
    return open_place(token, env.unseal, owner=owner(context.subject), path="AuditEvent", now=now)


def _token(last: tuple[Any, ...], params: Params, context: Context, env: Env) -> str:
    ends = env.clock.micros() // 1_000_000 + env.limits.page_token_seconds
    return seal_place(Place(owner(context.subject), "AuditEvent", params, last, "", ends), env.seal)


def _page(rows: tuple[Event, ...], asked: _Asked, total: int | None, token: str | None, context: Context) -> Result:
    base = f"{context.base_url}/AuditEvent"
    links = {"self": f"{base}?{urlencode(asked.params)}" if asked.params else base}
    if token:
        links["next"] = f"{base}?{urlencode({'_page': token})}"
    entries = [
        Entry(f"{base}/{row.id}", codec.dumps(render(row, context.base_url)), search_mode="match") for row in rows
    ]
    return Result("ok", bundle("searchset", entries, links=links, total=total), query=urlencode(asked.params))


INTERACTIONS: Mapping[str, tuple[Action | None, Interaction]] = {
    "create": ("create", create),
    "read": ("read", read),
    "search-type": ("search", search_type),
}
"""What may be asked of AuditEvents: nothing that changes what is there."""

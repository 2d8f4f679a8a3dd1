"""FHIR batch and transaction: many calls in one body. https://hl7.org/fhir/R4/http.html#transaction.

A transaction is one Plan: deletions, creations, updates, then reads; all or nothing. A batch passes each entry through the door.
An answer's entry holds the resource only where it was asked for: a read, or ``Prefer: return=representation``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, unquote

from fhir_dmp.call import Act, Call, Context, Entity, Env, Grant, Plan, Result
from fhir_dmp.clock import instant
from fhir_dmp.errors import FhirError, Invalid, Issue, NotFound, NotSupported, TooLong
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.bundle import STATUS, Entry, bundle
from fhir_dmp.fhir.outcome import outcome
from fhir_dmp.fhir.reference import ID, Ref
from fhir_dmp.interactions.conditional import match, only
from fhir_dmp.interactions.links import Links, references
from fhir_dmp.interactions.read import visible
from fhir_dmp.interactions.write import disclosed, entity, next_version, prepare, removal
from fhir_dmp.search.parse import parse
from fhir_dmp.store.change import Change, Lock, Stored

_ORDER = {"DELETE": 0, "POST": 1, "PUT": 2, "GET": 3, "HEAD": 3}
_HISTORIES = ("history-system", "history-type", "history-instance")


@dataclass(slots=True)
class _Item:
    """One entry on its way: the call it is, and what it comes to (a change, a row that is there already, a read)."""

    place: int
    method: str
    call: Call
    tree: dict[str, Any]
    full_url: str | None
    ref: Ref | None = None
    change: Change | None = None
    existing: Stored | None = None


def named(call: Call) -> Call:
    """Return the call as what its body says it is, parsed: a ``batch`` or a ``transaction``."""
    tree = codec.loads_object(call.body) if isinstance(call.body, bytes) else dict(call.body or {})
    if tree.get("resourceType") != "Bundle":
        raise Invalid("The base URL takes a Bundle: a batch or a transaction.", expression="resourceType")
    if tree.get("type") not in ("batch", "transaction"):
        raise Invalid(f"A Bundle of the type {tree.get('type')!r} cannot be executed.", expression="Bundle.type")
    return replace(call, name=str(tree["type"]), body=tree)


def batch(
    call: Call, context: Context, env: Env, do: Callable[[Call], Act], refuse: Callable[[Call, FhirError], Act]
) -> Result:
    """Do each entry by itself in the order of the standard; the answers are in the order of the request.

    ``do`` passes one call through the door, ``refuse`` leaves the event of an entry that is no call.
    """
    items: list[_Item] = []
    acts: dict[int, Act] = {}
    for place, entry in enumerate(_entries(call, env)):
        try:
            items.append(_item(place, entry, context))
        except FhirError as error:
            acts[place] = refuse(Call("batch"), error)
    for item in sorted(items, key=lambda each: _ORDER[each.method]):
        acts[item.place] = do(replace(item.call, prefer=call.prefer, strict=call.strict))
    answers = [_answer(acts[place], context, call) for place in sorted(acts)]
    return Result("ok", bundle("batch-response", answers))


def transaction(call: Call, context: Context, grant: Grant, env: Env) -> Plan:
    """Return the one Plan of all entries; what is wrong with any of them refuses them all, with its place."""
    items = _items(call, context, env)
    links, locks = _identify(items, context, grant, env)
    relied_on = _resolve_conditional(items, links, context, grant, env)
    _change(items, links, context, env)
    _require_distinct(items)
    reads = [item for item in items if item.method in ("GET", "HEAD")]
    _check_reads(reads, items, grant, env)
    changed = [item for item in sorted(items, key=lambda each: _ORDER[each.method]) if item.change]

    def finish(stored: Sequence[Stored], acts: Sequence[Act]) -> Result:
        done = {item.place: _done(item, row) for item, row in zip(changed, stored, strict=True)}
        done.update((item.place, act) for item, act in zip(reads, acts, strict=True))
        done.update((item.place, _unchanged(item)) for item in items if item.place not in done)
        return Result(
            "ok", bundle("transaction-response", [_answer(done[item.place], context, call) for item in items])
        )

    return Plan(
        changes=tuple(item.change for item in changed if item.change),
        finish=finish,
        locks=tuple(locks),
        relied_on=relied_on,
        entities=tuple(_touched(items)),
        entries=tuple(_planned(item) for item in items),
        marks=(call.mark,) if call.mark else (),
        reads=tuple(replace(item.call, prefer=call.prefer, strict=call.strict) for item in reads),
    )


def _entries(call: Call, env: Env) -> Sequence[Any]:
    tree = call.body
    entries = tree.get("entry", []) if isinstance(tree, Mapping) else []
    if not isinstance(entries, list):
        raise Invalid("Bundle.entry must be a list.", expression="Bundle.entry")
    if len(entries) > env.limits.bundle_entries:
        raise TooLong(f"A bundle may have {env.limits.bundle_entries} entries; this one has {len(entries)}.")
    return entries


def _items(call: Call, context: Context, env: Env) -> list[_Item]:
    items = []
    for place, entry in enumerate(_entries(call, env)):
        with _at(place):
            items.append(_item(place, entry, context))
    urls = [item.full_url for item in items if item.full_url]
    twice = (
        next((url for url in dict.fromkeys(urls) if urls.count(url) > 1), None) if len(set(urls)) < len(urls) else None
    )
    if twice is not None:
        raise Invalid(f"Two entries have the fullUrl {twice[:200]!r}.", expression="Bundle.entry.fullUrl")
    return items


class _at:  # noqa: N801 - reads as a word: with _at(place)
    """Says in which entry an error arose."""

    def __init__(self, place: int) -> None:
        self._expression = f"Bundle.entry[{place}]"

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, FhirError):
            error.issues = tuple(self._placed(issue) for issue in error.issues)

    def _placed(self, issue: Issue) -> Issue:
        below = issue.expression.partition(".")[2] if issue.expression else ""
        where = f"{self._expression}.resource.{below}" if below else self._expression
        return replace(issue, expression=where)


def _item(place: int, entry: Any, context: Context) -> _Item:
    """Return the call that an entry is. https://hl7.org/fhir/R4/bundle-definitions.html#Bundle.entry.request."""
    request = entry.get("request") if isinstance(entry, Mapping) else None
    if not isinstance(request, Mapping):
        raise Invalid("The entry has no request.", expression="Bundle.request")
    method, url = request.get("method"), request.get("url")
    if method == "PATCH":
        raise NotSupported("PATCH is not supported.", expression="Bundle.request.method")
    if method not in _ORDER or not isinstance(url, str):
        raise Invalid("request needs a method (GET, HEAD, POST, PUT, DELETE) and a url.", expression="Bundle.request")
    tree = entry.get("resource")
    if method in ("POST", "PUT") and not isinstance(tree, Mapping):
        raise Invalid(f"{method} needs a resource.", expression="Bundle.resource")
    full_url = entry.get("fullUrl")
    call = _call(str(method), url.removeprefix(context.base_url + "/").lstrip("/"), request)
    if isinstance(tree, Mapping) and tree.get("resourceType") != call.type:
        raise Invalid(
            f"The resource is a {tree.get('resourceType')!r}, the url says {call.type}.",
            expression="Bundle.request.url",
        )
    body = dict(tree) if isinstance(tree, Mapping) else None
    return _Item(
        place, str(method), replace(call, body=body), body or {}, full_url if isinstance(full_url, str) else None
    )


def _call(method: str, url: str, request: Mapping[str, Any]) -> Call:
    path, _, query = url.partition("?")
    parts = [unquote(part) for part in path.split("/") if part]
    conditions = {
        "if_match": _text(request, "ifMatch"),
        "if_none_match": _text(request, "ifNoneMatch"),
        "if_modified_since": None,
    }
    if method in ("GET", "HEAD"):
        return _read(parts, query, conditions)
    if method == "POST" and len(parts) == 1 and not query:
        return Call("create", parts[0], criteria=_text(request, "ifNoneExist"))
    name = {"PUT": "update", "DELETE": "delete"}.get(method)
    if name and len(parts) == 2 and not query:
        return Call(name, parts[0], parts[1], **conditions)
    if name and len(parts) == 1 and query:
        return Call(name, parts[0], criteria=query, **conditions)
    raise Invalid(f"{method} {url[:100]} is no FHIR interaction.", expression="Bundle.request.url")


def _read(parts: list[str], query: str, conditions: Mapping[str, str | None]) -> Call:
    params = tuple(parse_qsl(query, keep_blank_values=True))
    if parts and parts[-1] == "_history" and len(parts) <= len(_HISTORIES):
        return Call(_HISTORIES[len(parts) - 1], *parts[:-1], params=params)
    match parts:
        case [resource_type]:
            return Call("search-type", resource_type, params=params)
        case [resource_type, resource_id]:
            return Call("read", resource_type, resource_id, params=params, if_none_match=conditions["if_none_match"])
        case [resource_type, resource_id, "_history", version]:
            return Call("vread", resource_type, resource_id, version, params=params)
    raise Invalid(f"GET {'/'.join(parts)[:100]} is no FHIR interaction.", expression="Bundle.request.url")


def _text(request: Mapping[str, Any], name: str) -> str | None:
    value = request.get(name)
    if value is not None and not isinstance(value, str):
        raise Invalid(f"request.{name} must be a string.", expression=f"Bundle.request.{name}")
    return value


def _identify(items: list[_Item], context: Context, grant: Grant, env: Env) -> tuple[Links, list[Lock]]:
    """Give every entry that writes its id, by the criteria it names if there are any."""
    links, locks = Links(), []
    by_criteria: dict[str, _Item] = {}
    for item in items:
        call = item.call
        with _at(item.place):
            if call.type is not None and call.type not in env.definitions.search_params:
                raise Invalid(f"{call.type[:64]!r} is no resource type of FHIR R4.", expression="Bundle.request.url")
            if call.type == "AuditEvent" and item.method not in ("GET", "HEAD"):
                raise NotSupported(
                    "An AuditEvent is sent by itself, not in a transaction.", expression="Bundle.request.url"
                )
            if call.criteria is not None:
                matched = match(call.resource_type, call.criteria, context, grant, env)
                item.existing = only(matched)
                locks.append(matched.lock)
                twin = by_criteria.setdefault(f"{item.method} {matched.lock.key}", item)
                item.ref = twin.ref if twin is not item else None
            item.ref = item.ref or _ref_of(item, env)
        if item.full_url and item.ref and item.method in ("POST", "PUT"):
            links.alias(item.full_url, str(item.ref))
    return links, locks


def _ref_of(item: _Item, env: Env) -> Ref | None:
    call = item.call
    if item.method in ("GET", "HEAD"):
        return None
    if item.existing is not None:
        return item.existing.ref
    if item.method == "DELETE" and call.id is None:
        return None
    if item.method == "PUT" and call.id is None:
        wanted = item.tree.get("id")
        return Ref(call.resource_type, wanted if isinstance(wanted, str) else env.ids.new())
    return Ref(call.resource_type, call.id or env.ids.new())


def _resolve_conditional(items: list[_Item], links: Links, context: Context, grant: Grant, env: Env) -> dict[Ref, int]:
    """Find what each conditional reference means: exactly one resource, also of those that this bundle makes by the same criteria."""
    created = {
        f"{item.call.type}?{item.call.criteria.partition('?')[2] or item.call.criteria}": item.ref
        for item in items
        if item.call.criteria and item.ref and item.method == "POST"
    }
    relied_on: dict[Ref, int] = {}
    for item in items:
        for reference in dict.fromkeys(references(item.tree)):
            if reference in created:
                links.add(reference, str(created[reference]))
                continue
            with _at(item.place):
                resource_type = reference.partition("?")[0]
                if resource_type not in env.definitions.search_params:
                    raise Invalid(f"The reference {reference[:100]!r} names no resource type.")
                found = only(match(resource_type, reference, context, grant, env))
                if found is None:
                    raise Invalid(f"Nothing matches the conditional reference {reference[:200]!r}.")
            links.add(reference, str(found.ref))
            relied_on[found.ref] = found.version
            created[reference] = found.ref
    return relied_on


def _change(items: list[_Item], links: Links, context: Context, env: Env) -> None:
    """Make the change of every entry that writes, with all references between entries resolved."""
    named_refs = [item.ref for item in items if item.ref and item.method in ("PUT", "DELETE")]
    before = env.store.find_many(list(dict.fromkeys(named_refs))) if named_refs else {}
    made: set[Ref] = set()
    for item in items:
        if item.ref is None:
            continue
        call = replace(item.call, id=item.ref.id)
        with _at(item.place):
            if item.method == "DELETE":
                item.change = removal(call, before.get(item.ref))
            elif item.method == "PUT":
                tree = links.rewrite(item.tree) if links else item.tree
                tree = {**tree, "id": item.ref.id} if item.call.id is None and "id" not in tree else tree
                if not ID.match(item.ref.id):
                    raise Invalid(f"{item.ref.id[:80]!r} is no FHIR id.", expression="Bundle.request.url")
                item.change = next_version(call, tree, before.get(item.ref), context, env)
            elif item.method == "POST" and item.existing is None and item.ref not in made:
                tree = links.rewrite(item.tree) if links else item.tree
                item.change = prepare(item.ref, None, tree, context, env)
                made.add(item.ref)


def _require_distinct(items: list[_Item]) -> None:
    seen: set[Ref] = set()
    for item in items:
        if item.change is None:
            continue
        if item.change.ref in seen:
            raise Invalid(
                f"Two entries change {item.change.ref}.", expression=f"Bundle.entry[{item.place}].request.url"
            )
        seen.add(item.change.ref)


def _check_reads(reads: list[_Item], items: list[_Item], grant: Grant, env: Env) -> None:
    """See that every read will have an answer: it happens after the commit, when nothing can be taken back."""
    changed = {item.change.ref: item.change for item in items if item.change}
    for item in reads:
        call = item.call
        with _at(item.place):
            if call.name == "search-type":
                parse(call.resource_type, call.params, env.definitions, env.limits, strict=call.strict)
            elif call.name == "read" and call.ref in changed:
                if changed[call.ref].body is None:
                    raise NotFound(f"{call.ref} is deleted by this transaction.")
            elif call.name == "read":
                visible(call.ref, env.store.find_current(call.ref), grant)


def _touched(items: list[_Item]) -> list[Entity]:
    changed = [entity(item.change) for item in items if item.change]
    return changed + [disclosed(item.existing) for item in items if item.existing and not item.change]


def _planned(item: _Item) -> Act:
    """Return the entry's act for the event, without its body."""
    call = replace(item.call, body=None)
    ref = item.ref
    version = item.change.version if item.change else item.existing.version if item.existing else None
    return Act(call, Result("ok", ref=ref, version=version))


def _done(item: _Item, row: Stored) -> Act:
    kind = item.change.kind if item.change else "update"
    outcomes: dict[str, Any] = {"create": "created", "update": "ok", "delete": "no-content"}
    return Act(item.call, Result(outcomes[kind], row.body, row.ref, row.version, row.updated))


def _unchanged(item: _Item) -> Act:
    """Return the act of an entry that found what it would have made, or nothing to delete."""
    row = item.existing
    if item.method == "POST" and row is not None:
        return Act(item.call, Result("ok", row.body, row.ref, row.version, row.updated))
    if item.method == "POST":
        return Act(item.call, Result("ok", ref=item.ref, version=1))
    return Act(item.call, Result("no-content", ref=item.ref))


def _answer(act: Act, context: Context, call: Call) -> Entry:
    """Return the response entry of one act."""
    if act.result is None:
        error = act.error or FhirError("The entry failed.")
        return Entry(response={"status": str(error.status), "outcome": outcome(error.issues)})
    result = act.result
    response: dict[str, Any] = {"status": STATUS[result.outcome]}
    writes = act.call.name in ("create", "update", "delete")
    if result.ref is not None and result.version is not None and writes:
        response["location"] = f"{context.base_url}/{result.ref}/_history/{result.version}"
    if result.version is not None:
        response["etag"] = f'W/"{result.version}"'
    if result.updated is not None:
        response["lastModified"] = instant(result.updated)
    wanted = not writes or call.prefer == "representation"
    url = f"{context.base_url}/{result.ref}" if result.ref is not None else None
    return Entry(full_url=url, body=result.body if wanted else None, response=response)

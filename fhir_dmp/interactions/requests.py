"""From method and URL of a bundle's entry to the call that they name. https://hl7.org/fhir/R4/bundle-definitions.html#Bundle.entry.request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from msgspec.structs import replace

from fhir_dmp.call import MOST_ASKED, Call, Params
from fhir_dmp.errors import Invalid, TooLong
from fhir_dmp.fhir.dates import http_date, interval
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.fhir.url import params_of

_CONDITIONS = {
    "ifMatch": ("PUT", "PATCH", "DELETE"),
    "ifNoneMatch": ("PUT", "GET", "HEAD"),
    "ifModifiedSince": ("GET", "HEAD"),
    "ifNoneExist": ("POST",),
}


def conditions_of(request: Mapping[str, Any], method: str) -> Mapping[str, str]:
    """Return the preconditions by their names; raise ``Invalid`` for one that says nothing, or contradicts another."""
    if _CONDITIONS.keys().isdisjoint(request):
        return {}
    found = {name: value for name in _CONDITIONS if (value := text_of(request, name)) is not None}
    for name in found:
        if method not in _CONDITIONS[name]:
            raise Invalid(f"{name} means nothing for {method}.", expression=f"Bundle.request.{name}")
    if "ifMatch" in found and "ifNoneMatch" in found:
        raise Invalid("ifMatch and ifNoneMatch contradict each other.", expression="Bundle.request.ifNoneMatch")
    return found


def text_of(request: Mapping[str, Any], name: str) -> str | None:
    """Return what a request has under the name; raise ``Invalid`` for what is no text, ``TooLong`` for what is more than one may ask."""
    value = request.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise Invalid(f"request.{name} must be a string.", expression=f"Bundle.request.{name}")
    if len(value) > MOST_ASKED:
        raise TooLong(f"request.{name} may have {MOST_ASKED} characters.", expression=f"Bundle.request.{name}")
    return value


def call_of(method: str, url: str, conditions: Mapping[str, str], tree: Any) -> Call:
    """Return the call; raise ``Invalid`` for what is no interaction. ``tree`` is the resource that comes with it."""
    path, _, query = url.partition("?")
    parts = [unquote(part) for part in path.split("/") if part]
    if parts and parts[-1].startswith("$"):
        found = _operation(method, parts, params_of(query), tree)
    elif method in ("GET", "HEAD") or (method == "POST" and parts and parts[-1] == "_search"):
        found = _read(parts, params_of(query), conditions)
    else:
        found = _write(method, parts, query, conditions, tree)
    if found is None:
        raise Invalid(f"{method} {url[:100]} is no FHIR interaction.", expression="Bundle.request.url")
    return found


def _operation(method: str, parts: list[str], params: Params, tree: Any) -> Call | None:
    """Return the call of an operation; one by POST has a body, though it may be empty."""
    version = parts[3] if parts[2:3] == ["_history"] and len(parts) == 5 else None
    if method not in ("GET", "POST") or (len(parts) > 3 and version is None):
        return None
    if tree is not None and not isinstance(tree, dict):
        raise Invalid("The resource must be an object.", expression="Bundle.resource")
    resource_type, resource_id = [*parts[:-1], None, None][:2]
    name, body = parts[-1].removeprefix("$"), None if method == "GET" else tree or {}
    return Call("operation", resource_type, resource_id, version, params=params, body=body, operation=name)


def _write(method: str, parts: list[str], query: str, conditions: Mapping[str, str], tree: Any) -> Call | None:
    match method, parts:
        case "POST", [resource_type] if not query:
            return Call("create", resource_type, body=tree, criteria=conditions.get("ifNoneExist"))
        case (("PUT" | "PATCH" | "DELETE"), [resource_type, *rest]) if len(rest) <= 1 and bool(rest) != bool(query):
            return Call(
                {"PUT": "update", "PATCH": "patch", "DELETE": "delete"}[method],
                resource_type,
                rest[0] if rest else None,
                body=tree,
                criteria=query or None,
                if_match=conditions.get("ifMatch"),
                if_none_match=conditions.get("ifNoneMatch"),
            )
    return None


def _read(parts: list[str], params: Params, conditions: Mapping[str, str]) -> Call | None:
    found = _reading(parts)
    if found is None or found.name not in ("read", "vread"):
        return replace(found, params=params) if found else None
    since = _http_date(conditions.get("ifModifiedSince"))
    return replace(found, params=params, if_none_match=conditions.get("ifNoneMatch"), if_modified_since=since)


def _reading(parts: list[str]) -> Call | None:
    """Return the call that a path alone names."""
    found = None
    match parts:
        case [] | ["_search"]:
            found = Call("search-system")
        case [record_type, record_id, member] | [record_type, record_id, member, "_search"] if member != "_history":
            whole = member in ("*", "_search")
            name, kind = ("search-system", None) if whole else ("search-type", member)
            found = Call(name, kind, compartment=Ref(record_type, record_id))
        case ["metadata"]:
            found = Call("capabilities")
        case ["_history"]:
            found = Call("history-system")
        case [resource_type, "_history"]:
            found = Call("history-type", resource_type)
        case [resource_type, resource_id, "_history"]:
            found = Call("history-instance", resource_type, resource_id)
        case [resource_type, resource_id, "_history", version]:
            found = Call("vread", resource_type, resource_id, version)
        case [resource_type] | [resource_type, "_search"]:
            found = Call("search-type", resource_type)
        case [resource_type, resource_id]:
            found = Call("read", resource_type, resource_id)
    return found


def _http_date(text: str | None) -> str | None:
    """Return a FHIR instant as the date of an HTTP header, which is what the same condition is outside of bundles."""
    if text is None:
        return None
    try:
        return http_date(interval(text)[0])
    except ValueError as fault:
        raise Invalid(f"ifModifiedSince: {fault}.", expression="Bundle.request.ifModifiedSince") from None

"""What OpenAPI says of the FHIR routes beside their paths: types, ids, queries, bodies. https://spec.openapis.org/oas/v3.0.3."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from apispec import APISpec, BasePlugin

_JSON = "application/fhir+json"
_XML = "application/fhir+xml"
_RESOURCE = {
    "type": "object",
    "required": ["resourceType"],
    "properties": {"resourceType": {"type": "string"}, "id": {"type": "string"}},
}
_JSON_PATCH = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["op", "path"],
        "properties": {
            "op": {"type": "string", "enum": ["add", "remove", "replace", "move", "copy", "test"]},
            "path": {"type": "string"},
            "from": {"type": "string"},
            "value": {},
        },
    },
}
_FORM = {"type": "object", "additionalProperties": {"type": "string"}}
_QUERY: Mapping[str, Mapping[str, Any]] = {
    "_format": {"type": "string", "enum": ["json", "xml"]},
    "_pretty": {"type": "boolean"},
    "_summary": {"type": "string", "enum": ["true", "text", "data", "count", "false"]},
    "_elements": {"type": "string"},
    "_count": {"type": "integer", "minimum": 0},
    "_since": {"type": "string", "format": "date-time"},
    "_lastUpdated": {"type": "string"},
    "_id": {"type": "string"},
}
_READING = ("_format", "_pretty", "_summary", "_elements")
_HISTORY = (*_READING, "_count", "_since")
_SEARCH = (*_READING, "_count", "_id", "_lastUpdated")
_NAMES: Mapping[str, Mapping[str, Any]] = {
    "resource_id": {"type": "string", "pattern": r"^[A-Za-z0-9\-.]{1,64}$"},
    "record_id": {"type": "string", "pattern": r"^[A-Za-z0-9\-.]{1,64}$"},
    "version": {"type": "string", "pattern": "^[0-9]{1,9}$"},
}
_TYPES = ("resource_type", "record_type")


class FhirRoutes(BasePlugin):
    """Describes the routes below ``base``; ``types`` are those of R4, ``operations`` the codes that may be called."""

    def __init__(self, base: str, types: Collection[str], operations: Collection[str]) -> None:
        self._base = base
        self._types = types
        self._operations = operations

    def init_spec(self, spec: APISpec) -> None:
        """Name what the routes share."""
        spec.components.schema("ResourceType", {"type": "string", "enum": sorted(self._types)})
        spec.components.schema("Operation", {"type": "string", "enum": sorted(self._operations)})
        spec.components.schema("Resource", _RESOURCE)
        spec.components.response("FHIR", {"description": "A resource; OperationOutcome for errors", "content": _both()})

    def path_helper(
        self,
        path: str | None = None,
        operations: dict[str, Any] | None = None,
        parameters: list[dict[str, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        """Say what the parts of a path may be."""
        del operations, kwargs
        for parameter in parameters or ():
            if not (path or "").startswith(self._base):
                continue
            name = parameter["name"]
            if name in _TYPES:
                parameter["schema"] = {"$ref": "#/components/schemas/ResourceType"}
            elif name == "name":
                parameter["schema"] = {"$ref": "#/components/schemas/Operation"}
            else:
                parameter["schema"] = dict(_NAMES.get(name, parameter.get("schema", {})))

    def operation_helper(
        self, path: str | None = None, operations: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Say what a method takes and gives."""
        del kwargs
        path = path or ""
        if not path.startswith(self._base) or "smart-configuration" in path:
            return
        for method, operation in (operations or {}).items():
            operation["responses"] = {"default": {"$ref": "#/components/responses/FHIR"}}
            body = _body(method, path)
            if body:
                operation["requestBody"] = {"content": body, "required": "$" not in path}
            query = _query(method, path)
            if query:
                operation["parameters"] = [
                    {"in": "query", "name": name, "required": False, "schema": dict(_QUERY[name])} for name in query
                ]


def _both() -> dict[str, Any]:
    return {_JSON: {"schema": {"$ref": "#/components/schemas/Resource"}}, _XML: {"schema": {"type": "string"}}}


def _body(method: str, path: str) -> dict[str, Any]:
    if path.endswith("/_search"):
        return {"application/x-www-form-urlencoded": {"schema": _FORM}}
    if method == "patch":
        return {"application/json-patch+json": {"schema": _JSON_PATCH}, **_both()}
    return _both() if method in ("post", "put") else {}


def _query(method: str, path: str) -> tuple[str, ...]:
    if method != "get" or "$" in path:
        return ()
    if path.endswith("_history"):
        return _HISTORY
    return _READING if path.endswith(("{resource_id}", "{version}", "metadata")) else _SEARCH

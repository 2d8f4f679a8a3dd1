"""The routes of the FHIR endpoint, as a table: method, path, and what makes the Call of it. https://hl7.org/fhir/R4/http.html.

What the first line of a function says is told by the OpenAPI page as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Request, Response, request
from flask_smorest import Blueprint
from msgspec import Struct
from msgspec.structs import replace

from fhir_dmp.call import Call, Env, Params
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.http.fhir.endpoint import Endpoint
from fhir_dmp.http.fhir.negotiate import form_params, is_form, patch_body, resource_body


class Asked(Struct, frozen=True):
    """A request, read for what a Call holds; its body is read when it is asked for, and by what its reader is told to be."""

    request: Request
    env: Env

    @property
    def params(self) -> Params:
        """The parameters of the URL."""
        return tuple(self.request.args.items(multi=True))

    @property
    def form(self) -> Params:
        """The parameters of the URL, and of a body that is a form."""
        return form_params(self.request)

    @property
    def criteria(self) -> str:
        """What stands behind the question mark, as it was written."""
        return self.request.query_string.decode(errors="replace")

    @property
    def resource(self) -> bytes | Mapping[str, Any]:
        """The body, as JSON."""
        return resource_body(self.request, self.env)

    @property
    def patch(self) -> bytes | Mapping[str, Any]:
        """The body of a patch."""
        return patch_body(self.request, self.env)

    def header(self, name: str) -> str | None:
        """Return the header, if it was sent."""
        return self.request.headers.get(name)


Parse = Callable[..., Call]
"""Makes the Call, from what is asked and the parts of its path by their names; raises what the caller is told."""


def fhir_blueprint(endpoint: Endpoint) -> Blueprint:
    """Return the routes of the FHIR endpoint, to be mounted at the base URL's path."""
    routes = Blueprint("fhir", __name__, description="FHIR R4 RESTful API")
    routes.add_url_rule("/metadata", "capabilities", endpoint.capabilities)
    routes.add_url_rule("/.well-known/smart-configuration", "smart_configuration", endpoint.smart_configuration)
    for method, path, parse in ROUTES:
        routes.add_url_rule(path, f"{method}-{parse.__name__}", _view(endpoint, parse), methods=[method])
    return routes


def _view(endpoint: Endpoint, parse: Parse) -> Callable[..., Response]:
    def view(**parts: str) -> Response:
        return endpoint.enter(lambda: parse(Asked(request, endpoint.env), **parts))

    view.__doc__ = parse.__doc__
    return view


def bundle(asked: Asked) -> Call:
    """FHIR batch or transaction. https://hl7.org/fhir/R4/http.html#transaction."""
    return Call("bundle", body=asked.resource)


def search_system(asked: Asked) -> Call:
    """FHIR search over all types. https://hl7.org/fhir/R4/http.html#search."""
    return Call("search-system", params=asked.params)


def search_system_by_post(asked: Asked) -> Call:
    """FHIR search over all types by POST: what is asked stays out of URLs. https://hl7.org/fhir/R4/http.html#search."""
    return Call("search-system", params=asked.form)


def history_system(asked: Asked) -> Call:
    """FHIR history of the whole system. https://hl7.org/fhir/R4/http.html#history."""
    return Call("history-system", params=asked.params)


def search_type(asked: Asked, resource_type: str) -> Call:
    """FHIR search of one type. https://hl7.org/fhir/R4/http.html#search."""
    return Call("search-type", resource_type, params=asked.params)


def search_type_by_post(asked: Asked, resource_type: str) -> Call:
    """FHIR search of one type by POST: what is asked stays out of URLs. https://hl7.org/fhir/R4/http.html#search."""
    return Call("search-type", resource_type, params=asked.form)


def create(asked: Asked, resource_type: str) -> Call:
    """FHIR create. https://hl7.org/fhir/R4/http.html#create."""
    return Call("create", resource_type, body=asked.resource, criteria=asked.header("If-None-Exist"))


def update_conditional(asked: Asked, resource_type: str) -> Call:
    """FHIR conditional update. https://hl7.org/fhir/R4/http.html#cond-update."""
    return Call(
        "update",
        resource_type,
        body=asked.resource,
        criteria=asked.criteria,
        if_match=asked.header("If-Match"),
        if_none_match=asked.header("If-None-Match"),
    )


def patch_conditional(asked: Asked, resource_type: str) -> Call:
    """FHIR conditional patch. https://hl7.org/fhir/R4/http.html#patch."""
    return Call("patch", resource_type, body=asked.patch, criteria=asked.criteria, if_match=asked.header("If-Match"))


def delete_conditional(asked: Asked, resource_type: str) -> Call:
    """FHIR conditional delete of one resource. https://hl7.org/fhir/R4/http.html#3.1.0.7.1."""
    return Call("delete", resource_type, criteria=asked.criteria, if_match=asked.header("If-Match"))


def history_type(asked: Asked, resource_type: str) -> Call:
    """FHIR history of one type. https://hl7.org/fhir/R4/http.html#history."""
    return Call("history-type", resource_type, params=asked.params)


def read(asked: Asked, resource_type: str, resource_id: str) -> Call:
    """FHIR read. https://hl7.org/fhir/R4/http.html#read."""
    return _had(asked, Call("read", resource_type, resource_id, params=asked.params))


def update(asked: Asked, resource_type: str, resource_id: str) -> Call:
    """FHIR update, and update as create. https://hl7.org/fhir/R4/http.html#update."""
    return Call(
        "update",
        resource_type,
        resource_id,
        body=asked.resource,
        if_match=asked.header("If-Match"),
        if_none_match=asked.header("If-None-Match"),
    )


def patch(asked: Asked, resource_type: str, resource_id: str) -> Call:
    """FHIR patch, by JSON Patch or FHIRPath Patch. https://hl7.org/fhir/R4/http.html#patch."""
    return Call("patch", resource_type, resource_id, body=asked.patch, if_match=asked.header("If-Match"))


def delete(asked: Asked, resource_type: str, resource_id: str) -> Call:
    """FHIR delete. https://hl7.org/fhir/R4/http.html#delete."""
    return Call("delete", resource_type, resource_id, if_match=asked.header("If-Match"))


def history_instance(asked: Asked, resource_type: str, resource_id: str) -> Call:
    """FHIR history of one resource. https://hl7.org/fhir/R4/http.html#history."""
    return Call("history-instance", resource_type, resource_id, params=asked.params)


def vread(asked: Asked, resource_type: str, resource_id: str, version: str) -> Call:
    """FHIR vread. https://hl7.org/fhir/R4/http.html#vread."""
    return _had(asked, Call("vread", resource_type, resource_id, version, params=asked.params))


def _had(asked: Asked, call: Call) -> Call:
    """Return the call with what its caller says to have already."""
    known, since = asked.header("If-None-Match"), asked.header("If-Modified-Since")
    return replace(call, if_none_match=known, if_modified_since=since)


def operation(
    asked: Asked,
    name: str,
    resource_type: str | None = None,
    resource_id: str | None = None,
    version: str | None = None,
) -> Call:
    """FHIR operation of the server, of a type, of one resource or of a version of it. https://hl7.org/fhir/R4/operations.html."""
    return Call("operation", resource_type, resource_id, version, params=asked.params, operation=name)


def operation_by_post(asked: Asked, name: str, **parts: str) -> Call:
    """FHIR operation of the server, of a type, of one resource or of a version of it, by POST. https://hl7.org/fhir/R4/operations.html."""
    called = operation(asked, name, **parts)
    if is_form(asked.request):
        return replace(called, params=asked.form, body=b"")
    return replace(called, body=asked.resource)


def search_compartment(asked: Asked, record_type: str, record_id: str, member: str = "*") -> Call:
    """FHIR search within a compartment, of one type or of all (``*``). https://hl7.org/fhir/R4/http.html#search."""
    return _within(Ref(record_type, record_id), member, asked.params)


def search_compartment_by_post(asked: Asked, record_type: str, record_id: str, member: str = "*") -> Call:
    """FHIR search within a compartment by POST, of one type or of all. https://hl7.org/fhir/R4/http.html#search."""
    return _within(Ref(record_type, record_id), member, asked.form)


def _within(record: Ref, member: str, params: Params) -> Call:
    if member == "*":
        return Call("search-system", params=params, compartment=record)
    return Call("search-type", member, params=params, compartment=record)


_TYPE = "/<resource_type>"
_INSTANCE = f"{_TYPE}/<resource_id>"
_RECORD = "/<record_type>/<record_id>"

ROUTES: tuple[tuple[str, str, Parse], ...] = (
    ("POST", "", bundle),
    ("GET", "", search_system),
    ("GET", "/_search", search_system),
    ("POST", "/_search", search_system_by_post),
    ("GET", "/_history", history_system),
    ("GET", _TYPE, search_type),
    ("GET", f"{_TYPE}/_search", search_type),
    ("POST", f"{_TYPE}/_search", search_type_by_post),
    ("POST", _TYPE, create),
    ("PUT", _TYPE, update_conditional),
    ("PATCH", _TYPE, patch_conditional),
    ("DELETE", _TYPE, delete_conditional),
    ("GET", f"{_TYPE}/_history", history_type),
    ("GET", _INSTANCE, read),
    ("PUT", _INSTANCE, update),
    ("PATCH", _INSTANCE, patch),
    ("DELETE", _INSTANCE, delete),
    ("GET", f"{_INSTANCE}/_history", history_instance),
    ("GET", f"{_INSTANCE}/_history/<version>", vread),
    ("GET", "/$<name>", operation),
    ("POST", "/$<name>", operation_by_post),
    ("GET", f"{_TYPE}/$<name>", operation),
    ("POST", f"{_TYPE}/$<name>", operation_by_post),
    ("GET", f"{_INSTANCE}/$<name>", operation),
    ("POST", f"{_INSTANCE}/$<name>", operation_by_post),
    ("GET", f"{_INSTANCE}/_history/<version>/$<name>", operation),
    ("POST", f"{_INSTANCE}/_history/<version>/$<name>", operation_by_post),
    ("GET", f"{_RECORD}/<member>", search_compartment),
    ("GET", f"{_RECORD}/<member>/_search", search_compartment),
    ("GET", f"{_RECORD}/_search", search_compartment),
    ("POST", f"{_RECORD}/<member>/_search", search_compartment_by_post),
    ("POST", f"{_RECORD}/_search", search_compartment_by_post),
)
"""Method, path below the base URL, and the interaction. GET of ``_search`` is no word of FHIR's, and some write it."""

"""The FHIR endpoint: each route parses, calls the door, renders. https://hl7.org/fhir/R4/http.html."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus

import structlog
from flask import Response, current_app, request
from flask_smorest import Blueprint
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter

from fhir_dmp.call import Call, Context, Env, Params, Result
from fhir_dmp.errors import FhirError, UnknownType, failed
from fhir_dmp.fhir.reference import ID, Ref
from fhir_dmp.http.errors import JSON, from_werkzeug, render_error
from fhir_dmp.http.fhir.negotiate import (
    AS_STORED,
    Form,
    as_sent,
    form_params,
    is_form,
    patch_body,
    preferences,
    resource_body,
    wanted,
)
from fhir_dmp.http.fhir.render import render
from fhir_dmp.http.fhir.represent import represent
from fhir_dmp.http.middleware import Reception, raw_bearer
from fhir_dmp.service.perform import perform
from fhir_dmp.service.refusals import Refusals
from fhir_dmp.service.tokens import Tokens

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What the routes work with; made once by the composition root.

    ``documents`` are the anonymous answers by name; answers of ``gzip_from`` bytes or more are packed where that is asked for.
    """

    env: Env
    tokens: Tokens
    reception: Reception
    refusals: Refusals
    documents: dict[str, Callable[[], bytes]]
    gzip_from: int

    def enter(self, parse: Callable[[], Call]) -> Response:
        """Know the caller, parse, pass the door, render; whatever is refused on the way leaves its event."""
        context = self.reception.stranger(request.environ)
        call, form = Call(request.method.lower()), AS_STORED
        try:
            context = self.tokens.verify_bearer(raw_bearer(request.environ)).enters(context)
            form = wanted(request)
            call = self._known(parse())
            form = as_sent(form, call.params) if is_form(request) else form
        except HTTPException as fault:
            return self.represent(self.refuse(call, from_werkzeug(fault), context), form)
        except FhirError as error:
            return self.represent(self.refuse(call, error, context), form)
        except Exception:  # noqa: BLE001 - what was not foreseen says nothing outside, and has its event like any fault
            _log.exception("fault", request_id=context.request_id, method=request.method)
            return self.represent(self.refuse(call, failed(context.request_id), context), form)
        return self.represent(self._answer(call, context), form)

    def represent(self, response: Response, form: Form) -> Response:
        """Return the response in the form that was asked for."""
        return represent(response, form, self.env.definitions.types, self.gzip_from)

    def turn_away(self, error: FhirError) -> Response:
        """Answer a request that no route takes: nobody learns even that without a token."""

        def refuse() -> Call:
            raise error

        return self.enter(refuse)

    def options(self) -> Response:
        """Tell a known caller which methods the path takes."""
        answer = self.enter(lambda: Call("options"))
        adapter = current_app.create_url_adapter(request)
        if adapter is not None and answer.status_code == HTTPStatus.NO_CONTENT:
            methods = {each for each in adapter.allowed_methods() if self._takes(adapter, each)}
            answer.headers["Allow"] = ", ".join(sorted({*methods, "OPTIONS"}))
        return answer

    def _takes(self, adapter: MapAdapter, method: str) -> bool:
        """Tell whether the route that takes the method here can be meant: ``metadata`` is no type, ``_history`` no id."""
        _, parts = adapter.match(method=method)
        types = [parts[name] for name in ("resource_type", "record_type") if name in parts]
        ids = [parts[name] for name in ("resource_id", "record_id") if name in parts]
        return all(each in self.env.definitions.search_params for each in types) and all(map(ID.match, ids))

    def failed(self) -> Response:
        """Answer a fault behind the door, whose event is told already."""
        request_id = self.reception.stranger(request.environ).request_id
        return render_error(failed(request_id), request_id)

    def _known(self, call: Call) -> Call:
        if call.type is not None and call.type not in self.env.definitions.search_params:
            raise UnknownType(f"{call.type[:64]!r} is no resource type of FHIR R4.")
        strict, prefer = preferences(request)
        return replace(call, strict=strict, prefer=prefer, provenance=request.headers.get("X-Provenance"))

    def _answer(self, call: Call, context: Context) -> Response:
        try:
            result: Result = perform(call, context, self.env)
        except FhirError as error:
            return render_error(error, context.request_id)
        return render(call, context, result)

    def refuse(self, call: Call, error: FhirError, context: Context) -> Response:
        """Answer a call that never reached the door, once its event is durable."""
        try:
            error = self.refusals.turn_away(call, error, context)
        except FhirError as unavailable:
            error = unavailable
        return render_error(error, context.request_id)


def fhir_blueprint(endpoint: Endpoint) -> Blueprint:
    """Return the routes of the FHIR endpoint, to be mounted at the base URL's path."""
    routes = Blueprint("fhir", __name__, description="FHIR R4 RESTful API")
    _system(routes, endpoint)
    _type(routes, endpoint)
    _instance(routes, endpoint)
    _operations(routes, endpoint)
    _compartments(routes, endpoint)
    return routes


def _params() -> tuple[tuple[str, str], ...]:
    return tuple(request.args.items(multi=True))


def _query() -> str:
    return request.query_string.decode(errors="replace")


def _had(call: Call) -> Call:
    """Return the call with what its caller says to have already."""
    headers = request.headers
    return replace(call, if_none_match=headers.get("If-None-Match"), if_modified_since=headers.get("If-Modified-Since"))


def _system(routes: Blueprint, endpoint: Endpoint) -> None:
    @routes.get("/metadata")
    def capabilities() -> Response:
        """FHIR capabilities: what this server does. https://hl7.org/fhir/R4/http.html#capabilities."""
        try:
            form = wanted(request)
        except FhirError as error:
            return render_error(error, endpoint.reception.stranger(request.environ).request_id)
        return endpoint.represent(Response(endpoint.documents["capabilities"](), content_type=JSON), form)

    @routes.get("/.well-known/smart-configuration")
    def smart_configuration() -> Response:
        """SMART configuration: where tokens come from. https://hl7.org/fhir/smart-app-launch/STU2.2/conformance.html."""
        return Response(endpoint.documents["smart-configuration"](), content_type="application/json")

    @routes.post("", strict_slashes=False)
    @routes.post("/", strict_slashes=False)
    def system_post() -> Response:
        """FHIR batch or transaction. https://hl7.org/fhir/R4/http.html#transaction."""
        return endpoint.enter(lambda: Call("bundle", body=resource_body(request, endpoint.env)))

    @routes.get("", strict_slashes=False)
    @routes.get("/", strict_slashes=False)
    def search_system() -> Response:
        """FHIR search over all types. https://hl7.org/fhir/R4/http.html#search."""
        return endpoint.enter(lambda: Call("search-system", params=_params()))

    @routes.get("/_search")
    def search_system_get() -> Response:
        """FHIR search over all types, as some write it. https://hl7.org/fhir/R4/http.html#search."""
        return endpoint.enter(lambda: Call("search-system", params=_params()))

    @routes.post("/_search")
    def search_system_post() -> Response:
        """FHIR search over all types by POST. https://hl7.org/fhir/R4/http.html#search."""
        return endpoint.enter(lambda: Call("search-system", params=form_params(request)))

    @routes.get("/_history")
    def history_system() -> Response:
        """FHIR history of the whole system. https://hl7.org/fhir/R4/http.html#history."""
        return endpoint.enter(lambda: Call("history-system", params=_params()))


def _type(routes: Blueprint, endpoint: Endpoint) -> None:
    @routes.get("/<resource_type>")
    def search_type(resource_type: str) -> Response:
        """FHIR search of one type. https://hl7.org/fhir/R4/http.html#search."""
        return endpoint.enter(lambda: Call("search-type", resource_type, params=_params()))

    @routes.get("/<resource_type>/_search")
    def search_type_get(resource_type: str) -> Response:
        """FHIR search of one type, as some write it. https://hl7.org/fhir/R4/http.html#search."""
        return endpoint.enter(lambda: Call("search-type", resource_type, params=_params()))

    @routes.post("/<resource_type>/_search")
    def search_type_post(resource_type: str) -> Response:
        """FHIR search of one type by POST: what is asked stays out of URLs. https://hl7.org/fhir/R4/http.html#search."""
        return endpoint.enter(lambda: Call("search-type", resource_type, params=form_params(request)))

    @routes.post("/<resource_type>")
    def create(resource_type: str) -> Response:
        """FHIR create. https://hl7.org/fhir/R4/http.html#create."""
        return endpoint.enter(
            lambda: Call(
                "create",
                resource_type,
                body=resource_body(request, endpoint.env),
                criteria=request.headers.get("If-None-Exist"),
            )
        )

    @routes.put("/<resource_type>")
    def update_conditional(resource_type: str) -> Response:
        """FHIR conditional update. https://hl7.org/fhir/R4/http.html#cond-update."""
        return endpoint.enter(
            lambda: Call(
                "update",
                resource_type,
                body=resource_body(request, endpoint.env),
                criteria=_query(),
                if_match=request.headers.get("If-Match"),
                if_none_match=request.headers.get("If-None-Match"),
            )
        )

    @routes.patch("/<resource_type>")
    def patch_conditional(resource_type: str) -> Response:
        """FHIR conditional patch. https://hl7.org/fhir/R4/http.html#patch."""
        return endpoint.enter(
            lambda: Call(
                "patch",
                resource_type,
                body=patch_body(request, endpoint.env),
                criteria=_query(),
                if_match=request.headers.get("If-Match"),
            )
        )

    @routes.delete("/<resource_type>")
    def delete_conditional(resource_type: str) -> Response:
        """FHIR conditional delete of one resource. https://hl7.org/fhir/R4/http.html#3.1.0.7.1."""
        return endpoint.enter(
            lambda: Call("delete", resource_type, criteria=_query(), if_match=request.headers.get("If-Match"))
        )

    @routes.get("/<resource_type>/_history")
    def history_type(resource_type: str) -> Response:
        """FHIR history of one type. https://hl7.org/fhir/R4/http.html#history."""
        return endpoint.enter(lambda: Call("history-type", resource_type, params=_params()))


def _instance(routes: Blueprint, endpoint: Endpoint) -> None:
    @routes.get("/<resource_type>/<resource_id>")
    def read(resource_type: str, resource_id: str) -> Response:
        """FHIR read. https://hl7.org/fhir/R4/http.html#read."""
        return endpoint.enter(lambda: _had(Call("read", resource_type, resource_id, params=_params())))

    @routes.put("/<resource_type>/<resource_id>")
    def update(resource_type: str, resource_id: str) -> Response:
        """FHIR update, and update as create. https://hl7.org/fhir/R4/http.html#update."""
        return endpoint.enter(
            lambda: Call(
                "update",
                resource_type,
                resource_id,
                body=resource_body(request, endpoint.env),
                if_match=request.headers.get("If-Match"),
                if_none_match=request.headers.get("If-None-Match"),
            )
        )

    @routes.patch("/<resource_type>/<resource_id>")
    def patch(resource_type: str, resource_id: str) -> Response:
        """FHIR patch, by JSON Patch or FHIRPath Patch. https://hl7.org/fhir/R4/http.html#patch."""
        return endpoint.enter(
            lambda: Call(
                "patch",
                resource_type,
                resource_id,
                body=patch_body(request, endpoint.env),
                if_match=request.headers.get("If-Match"),
            )
        )

    @routes.delete("/<resource_type>/<resource_id>")
    def delete(resource_type: str, resource_id: str) -> Response:
        """FHIR delete. https://hl7.org/fhir/R4/http.html#delete."""
        return endpoint.enter(
            lambda: Call("delete", resource_type, resource_id, if_match=request.headers.get("If-Match"))
        )

    @routes.get("/<resource_type>/<resource_id>/_history")
    def history_instance(resource_type: str, resource_id: str) -> Response:
        """FHIR history of one resource. https://hl7.org/fhir/R4/http.html#history."""
        return endpoint.enter(lambda: Call("history-instance", resource_type, resource_id, params=_params()))

    @routes.get("/<resource_type>/<resource_id>/_history/<version>")
    def vread(resource_type: str, resource_id: str, version: str) -> Response:
        """FHIR vread. https://hl7.org/fhir/R4/http.html#vread."""
        return endpoint.enter(lambda: _had(Call("vread", resource_type, resource_id, version, params=_params())))


def _operations(routes: Blueprint, endpoint: Endpoint) -> None:
    def operation(name: str, resource_type: str | None = None, resource_id: str | None = None) -> Response:
        def parse() -> Call:
            call = Call("operation", resource_type, resource_id, params=_params(), operation=name)
            if request.method == "GET":
                return call
            if is_form(request):
                return replace(call, params=form_params(request), body=b"")
            return replace(call, body=resource_body(request, endpoint.env))

        return endpoint.enter(parse)

    @routes.route("/$<name>", methods=["GET", "POST"])
    def operation_system(name: str) -> Response:
        """FHIR operation of the server. https://hl7.org/fhir/R4/operations.html."""
        return operation(name)

    @routes.route("/<resource_type>/$<name>", methods=["GET", "POST"])
    def operation_type(resource_type: str, name: str) -> Response:
        """FHIR operation of a type. https://hl7.org/fhir/R4/operations.html."""
        return operation(name, resource_type)

    @routes.route("/<resource_type>/<resource_id>/$<name>", methods=["GET", "POST"])
    def operation_instance(resource_type: str, resource_id: str, name: str) -> Response:
        """FHIR operation of one resource. https://hl7.org/fhir/R4/operations.html."""
        return operation(name, resource_type, resource_id)


def _compartments(routes: Blueprint, endpoint: Endpoint) -> None:
    def search(record: Ref, member: str | None, params: Callable[[], Params]) -> Response:
        name = "search-type" if member else "search-system"
        return endpoint.enter(lambda: Call(name, member, params=params(), compartment=record))

    @routes.get("/<record_type>/<record_id>/<member>")
    def search_compartment(record_type: str, record_id: str, member: str) -> Response:
        """FHIR search within a compartment, of one type or of all (``*``). https://hl7.org/fhir/R4/http.html#search."""
        return search(Ref(record_type, record_id), None if member == "*" else member, _params)

    @routes.post("/<record_type>/<record_id>/<member>/_search")
    def search_compartment_post(record_type: str, record_id: str, member: str) -> Response:
        """FHIR search within a compartment by POST. https://hl7.org/fhir/R4/http.html#search."""
        return search(Ref(record_type, record_id), None if member == "*" else member, lambda: form_params(request))

    @routes.post("/<record_type>/<record_id>/_search")
    def search_whole_compartment_post(record_type: str, record_id: str) -> Response:
        """FHIR search of all types within a compartment by POST. https://hl7.org/fhir/R4/http.html#search."""
        return search(Ref(record_type, record_id), None, lambda: form_params(request))

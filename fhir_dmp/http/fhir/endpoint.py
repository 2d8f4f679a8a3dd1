"""The FHIR endpoint: how a request comes to the door and its answer leaves, whatever its route. https://hl7.org/fhir/R4/http.html."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus

import structlog
from flask import Response, current_app, request
from msgspec import Struct
from msgspec.structs import replace
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter

from fhir_dmp.call import Call, Context, Env, Result
from fhir_dmp.errors import FhirError, MethodNotAllowed, UnknownType, failed
from fhir_dmp.fhir.reference import ID
from fhir_dmp.http.errors import JSON, from_werkzeug, render_error
from fhir_dmp.http.fhir.negotiate import AS_STORED, Form, as_sent, is_form, preferences, wanted, wanted_of_refusals
from fhir_dmp.http.fhir.render import render
from fhir_dmp.http.fhir.represent import represent
from fhir_dmp.http.middleware import Environ, Reception, raw_bearer
from fhir_dmp.service.perform import perform
from fhir_dmp.service.refusals import Refusals
from fhir_dmp.service.tokens import Tokens

_log = structlog.get_logger(__name__)


class Endpoint(Struct, frozen=True):
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
            form = wanted_of_refusals(request)
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

    def capabilities(self) -> Response:
        """FHIR capabilities: what this server does. https://hl7.org/fhir/R4/http.html#capabilities."""
        form = AS_STORED
        try:
            form = wanted(request)
            answer = Response(self.documents["capabilities"](), content_type=JSON)
        except FhirError as error:
            answer = render_error(error, self.reception.stranger(request.environ).request_id)
        return self.represent(answer, form)

    def smart_configuration(self) -> Response:
        """SMART configuration: where tokens come from. https://hl7.org/fhir/smart-app-launch/STU2.2/conformance.html."""
        return Response(self.documents["smart-configuration"](), content_type="application/json")

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
        if answer.status_code == HTTPStatus.NO_CONTENT:
            answer.headers["Allow"] = _listed(self._methods())
        return answer

    def _methods(self) -> list[str]:
        """Return the methods that the path takes."""
        adapter = current_app.create_url_adapter(request)
        return [each for each in adapter.allowed_methods() if self._takes(adapter, each)] if adapter else []

    def _takes(self, adapter: MapAdapter, method: str) -> bool:
        """Tell whether the route that takes the method here can be meant: ``metadata`` is no type, ``_history`` no id."""
        _, parts = adapter.match(method=method)
        types = [parts[name] for name in ("resource_type", "record_type") if name in parts]
        ids = [parts[name] for name in ("resource_id", "record_id") if name in parts]
        return all(each in self.env.definitions.search_params for each in types) and all(map(ID.match, ids))

    def failed(self, environ: Environ) -> Response:
        """Answer a fault that nobody foresaw and no door has caught, once it has its event, and its line that says where it was.

        Where a door has told of the call already, this event says that no answer came of it.
        """
        context = self.reception.stranger(environ)
        _log.exception("fault", request_id=context.request_id, method=environ["REQUEST_METHOD"])
        return self.refuse(Call(environ["REQUEST_METHOD"].lower()), failed(context.request_id), context)

    def _known(self, call: Call) -> Call:
        for named in (call.type, call.compartment.type if call.compartment else None):
            if named is not None and named not in self.env.definitions.search_params:
                raise self._unknown(named)
        strict, prefer = preferences(request)
        return replace(call, strict=strict, prefer=prefer, provenance=request.headers.get("X-Provenance"))

    def _unknown(self, named: str) -> FhirError:
        """Return the refusal of a path that names no type; one that other methods are taken at (``metadata``) names none by right."""
        methods = self._methods()
        if methods and request.method not in methods:
            return MethodNotAllowed("This URL does not take the method.", headers=(("Allow", _listed(methods)),))
        return UnknownType(f"{named[:64]!r} is no resource type of FHIR R4.")

    def _answer(self, call: Call, context: Context) -> Response:
        try:
            result: Result = perform(call, context, self.env)
        except FhirError as error:
            self.refusals.note(error, context)
            return render_error(error, context.request_id)
        return render(call, context, result)

    def count_busy(self, environ: Environ) -> None:
        """Count a request that there was no room for: the log is told how many there were."""
        self.refusals.count_busy(self.reception.stranger(environ))

    def refuse(self, call: Call, error: FhirError, context: Context) -> Response:
        """Answer a call that never reached the door, once its event is durable."""
        return render_error(self._told(call, error, context), context.request_id)

    def told(self, error: FhirError) -> FhirError:
        """Return what to answer to a stranger's request that is none of this endpoint's, once the event of its refusal is durable."""
        return self._told(Call(request.method.lower()), error, self.reception.stranger(request.environ))

    def _told(self, call: Call, error: FhirError, context: Context) -> FhirError:
        try:
            return self.refusals.turn_away(call, error, context)
        except FhirError as unavailable:
            return unavailable


def _listed(methods: Iterable[str]) -> str:
    """Return the methods as an Allow header names them, with the one that asks for them."""
    return ", ".join(sorted({*methods, "OPTIONS"}))

"""The short way for plain reads: from the WSGI environment to the door, and the stored bytes back.

A read, vread or search that asks for nothing but the resource as it is needs no routing, no negotiation and no request
object, and those took two thirds of the time that a read spends outside the database. It is the same reception, token check and door
as on the long way (``http.fhir.routes``), which takes every other request, and every refusal of a caller.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from fhir_dmp.call import Call
from fhir_dmp.errors import FhirError
from fhir_dmp.http.errors import render_error
from fhir_dmp.http.fhir.render import headers_of
from fhir_dmp.http.fhir.routes import Endpoint
from fhir_dmp.http.middleware import Environ, raw_bearer
from fhir_dmp.service.perform import perform

StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

ASKS_FOR_MORE = (
    "HTTP_PREFER",
    "HTTP_IF_NONE_MATCH",
    "HTTP_IF_MODIFIED_SINCE",
    "HTTP_ORIGIN",
    "HTTP_TRANSFER_ENCODING",
)
"""Headers that the long way answers to."""

_ANYTHING = ("*/*", "application/fhir+json", "application/json")
_AS_IT_IS = ("", "identity")
_RENDERING = ("_format", "_pretty", "_summary", "_elements", "_page")


@dataclass(frozen=True, slots=True)
class PlainReads:
    """The WSGI application in front of the framework; ``path`` is where the FHIR endpoint is mounted."""

    framework: Application
    endpoint: Endpoint
    path: str

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a plain read; hand everything else on."""
        call = self._call(environ)
        if call is None:
            return self.framework(environ, start_response)
        endpoint = self.endpoint
        try:
            caller = endpoint.tokens.verify_bearer(raw_bearer(environ))
        except FhirError:
            return self.framework(environ, start_response)
        context = caller.enters(endpoint.reception.stranger(environ))
        try:
            result = perform(call, context, endpoint.env)
        except FhirError as error:
            return render_error(error, context.request_id)(environ, start_response)
        body = result.body or b""
        start_response("200 OK", [*headers_of(context, result), ("Content-Length", str(len(body)))])
        return (body,)

    def _call(self, environ: Environ) -> Call | None:
        """Return the call of a plain read, or None for what needs the long way."""
        if environ["REQUEST_METHOD"] != "GET" or not _asks_for_no_more(environ):
            return None
        return plain_call(
            environ["PATH_INFO"].removeprefix(self.path),
            environ.get("QUERY_STRING", ""),
            self.endpoint.env.definitions.search_params,
        )


def _asks_for_no_more(environ: Environ) -> bool:
    return (
        environ.get("HTTP_ACCEPT", "*/*") in _ANYTHING
        and environ.get("HTTP_ACCEPT_ENCODING", "") in _AS_IT_IS
        and not any(name in environ for name in ASKS_FOR_MORE)
    )


def plain_call(path: str, query: str, types: Container[str]) -> Call | None:
    """Return the read, vread or search of a type that path and query name, if they name one and nothing besides."""
    match path.split("/"):
        case ["", kind] if kind in types and query:
            params = tuple(parse_qsl(query, keep_blank_values=True, errors="werkzeug.url_quote"))
            return None if any(name in _RENDERING for name, _ in params) else Call("search-type", kind, params=params)
        case ["", kind, own] if kind in types and not query and own[:1] not in ("_", "$"):
            return Call("read", kind, own)
        case ["", kind, own, "_history", version] if kind in types and not query:
            return Call("vread", kind, own, version)
    return None

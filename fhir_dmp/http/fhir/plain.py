"""The short way for plain calls: from the WSGI environment to the door, and the answer's bytes back.

A read, search, create, update, deletion or bundle that asks for nothing but itself needs no routing, no negotiation and no request
object, and those took most of the time that a call spends outside the database. It is the same reception, token check and door
as on the long way (``http.fhir.routes``), which takes every other request, and the refusal of every caller.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from http import HTTPStatus
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl

from msgspec import Struct
from werkzeug.exceptions import HTTPException

from fhir_dmp.call import Call, Context
from fhir_dmp.errors import FhirError, Invalid
from fhir_dmp.http.bodies import Readers
from fhir_dmp.http.errors import from_werkzeug, render_error
from fhir_dmp.http.fhir.endpoint import Endpoint
from fhir_dmp.http.fhir.render import REASONS, status_and_headers
from fhir_dmp.http.fhir.represent import packed
from fhir_dmp.http.middleware import LOST, Environ, path_of, raw_bearer
from fhir_dmp.service.perform import perform

StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

ASKS_FOR_MORE = (
    "HTTP_PREFER",
    "HTTP_IF_NONE_MATCH",
    "HTTP_IF_MODIFIED_SINCE",
    "HTTP_ORIGIN",
    "HTTP_CONTENT_ENCODING",
    "HTTP_TRANSFER_ENCODING",
    "HTTP_X_PROVENANCE",
)
"""Headers that the long way answers to."""

_CALL = "fhir_dmp.call"
"""Where the environment keeps the call that was found in it."""

_CLAIMS = "fhir_dmp.claims"
"""Where it keeps what its token says, if the signature was checked before."""

_ANYTHING = ("*/*", "application/fhir+json", "application/json")
_JSON = (*_ANYTHING[1:], "application/fhir+json; charset=utf-8", "application/fhir+json;charset=utf-8")
_CODINGS = frozenset({"", "identity", "gzip", "deflate", "br", "zstd"})
"""Codings that may be asked for without weights, as most clients do: gzip is served, the others are passed over."""

_BODILESS = ("GET", "DELETE")
_RENDERING = ("_format", "_pretty", "_summary", "_elements")


class PlainCalls(Struct, frozen=True):
    """The WSGI application in front of the framework.

    ``types`` are the resource types of R4, ``path`` is where the FHIR endpoint is mounted; ``readers`` give turns to read a body.
    """

    framework: Application
    endpoint: Endpoint
    path: str
    readers: Readers
    types: Container[str]

    def in_a_fibre(self, environ: Environ) -> bool:
        """Tell whether the call, whose body has been read, waits for nothing but what a fibre can wait for."""
        call = environ[_CALL] = self._call(environ)
        if call is None:
            return False
        try:
            known = environ[_CLAIMS] = self.endpoint.tokens.known_claims(raw_bearer(environ))
        except FhirError:
            return False
        return known is not None

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a plain call; hand everything else on."""
        try:
            return self._called(environ, start_response)
        except Exception:  # noqa: BLE001 - what was not foreseen says nothing outside, and has its event like any fault
            return self.endpoint.failed(environ)(environ, start_response)

    def _called(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        endpoint = self.endpoint
        call = environ[_CALL] if _CALL in environ else self._call(environ)
        if call is None:
            return self.framework(environ, start_response)
        known, tokens = environ.get(_CLAIMS), endpoint.tokens
        try:
            caller = tokens.caller_by(known) if known else tokens.verify_bearer(raw_bearer(environ))
        except Exception:  # noqa: BLE001 - the long way meets it again, and knows what to say of it
            return self.framework(environ, start_response)
        context = caller.enters(endpoint.reception.stranger(environ))
        if environ["REQUEST_METHOD"] in _BODILESS:
            return self._answer(call, context, environ, start_response)
        length = int(environ["CONTENT_LENGTH"])
        try:
            body = self._read(environ["wsgi.input"], length)
        except HTTPException as busy:
            return endpoint.refuse(call, from_werkzeug(busy), context)(environ, start_response)
        if len(body) != length:
            fault = Invalid("The body is shorter than its Content-Length says.")
            return endpoint.refuse(call, fault, context)(environ, start_response)
        return self._answer(_with_body(call, body), context, environ, start_response)

    def _read(self, sent: Any, length: int) -> bytes:
        """Return the body; whoever has to wait for its sender takes a turn."""
        if isinstance(sent, BytesIO):
            return sent.read(length)
        with self.readers.turn(self.path):
            return bytes(sent.read(length))

    def _answer(self, call: Call, context: Context, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            result = perform(call, context, self.endpoint.env)
        except FhirError as error:
            self.endpoint.refusals.note(error, context)
            return render_error(error, context.request_id)(environ, start_response)
        status, headers = status_and_headers(call, context, result)
        body = result.body or b""
        if "gzip" in environ.get("HTTP_ACCEPT_ENCODING", ""):
            body, told = packed(body, self.endpoint.gzip_from)
            headers += told
        if status != HTTPStatus.NO_CONTENT:
            headers.append(("Content-Length", str(len(body))))
        start_response(REASONS[status], headers)
        return [body]

    def _call(self, environ: Environ) -> Call | None:
        """Return the call (without its body), or None for what needs the long way."""
        if not _asks_for_no_more(environ):
            return None
        path = path_of(environ)
        if not path.startswith(self.path):
            return None
        path = path[len(self.path) :]
        query = environ.get("QUERY_STRING", "")
        types = self.types
        if environ["REQUEST_METHOD"] == "GET":
            return plain_read(path, query, types)
        length = environ.get("CONTENT_LENGTH", "")
        if environ["REQUEST_METHOD"] == "DELETE":
            return None if query or length not in ("", "0") else plain_delete(path, types, environ)
        sent = not query and environ.get("CONTENT_TYPE") in _JSON and length.isdecimal()
        if not sent or not 0 < int(length) <= self.endpoint.env.limits.body:
            return None
        return plain_write(environ["REQUEST_METHOD"], path, types, environ)


def _asks_for_no_more(environ: Environ) -> bool:
    return (
        not environ.get(LOST)
        and environ.get("HTTP_ACCEPT", "*/*") in _ANYTHING
        and _CODINGS.issuperset(environ.get("HTTP_ACCEPT_ENCODING", "").replace(" ", "").split(","))
        and not any(name in environ for name in ASKS_FOR_MORE)
    )


def _with_body(call: Call, body: bytes) -> Call:
    return Call(call.name, call.type, call.id, body=body, criteria=call.criteria, if_match=call.if_match)


def plain_read(path: str, query: str, types: Container[str]) -> Call | None:
    """Return the read, vread, search of a type or whole record that path and query name, if they name one and nothing besides."""
    match path.split("/"):
        case ["", kind] if kind in types and query:
            return _plain(Call("search-type", kind, params=_params(query)))
        case ["", kind, own] if own and kind in types and not query and own[0] not in ("_", "$"):
            return Call("read", kind, own)
        case ["", kind, own, "_history", version] if kind in types and not query:
            return Call("vread", kind, own, version)
        case ["", kind, own, "$everything"] if kind in types:
            return _plain(Call("operation", kind, own, params=_params(query), operation="everything"))
    return None


def _params(query: str) -> tuple[tuple[str, str], ...]:
    return tuple(parse_qsl(query, keep_blank_values=True, errors="werkzeug.url_quote"))


def _plain(call: Call) -> Call | None:
    """Return the call, unless its parameters ask for another form."""
    return None if any(name in _RENDERING for name, _ in call.params) else call


def plain_delete(path: str, types: Container[str], environ: Environ) -> Call | None:
    """Return the deletion that the path names, if it names one."""
    match path.split("/"):
        case ["", kind, own] if own and kind in types and own[0] not in ("_", "$"):
            return Call("delete", kind, own, if_match=environ.get("HTTP_IF_MATCH"))
    return None


def plain_write(method: str, path: str, types: Container[str], environ: Environ) -> Call | None:
    """Return the create, update or bundle (each without its body) that method and path name, if they name one."""
    match method, path.split("/"):
        case "POST", [""]:
            return Call("bundle")
        case "POST", ["", kind] if kind in types:
            return Call("create", kind, criteria=environ.get("HTTP_IF_NONE_EXIST"))
        case "PUT", ["", kind, own] if own and kind in types:
            return Call("update", kind, own, if_match=environ.get("HTTP_IF_MATCH"))
    return None

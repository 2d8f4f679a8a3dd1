"""Cross-origin requests: what pages of other origins may ask a browser to fetch. https://fetch.spec.whatwg.org/#http-cors-protocol.

Discovery is for any origin; tokens and records are for the origins of registered apps. No cookie goes with such a request, so that
an origin gets nothing by this that it could not get without a browser. https://hl7.org/fhir/smart-app-launch/STU2.2/app-launch.html#considerations-for-cross-origin-resource-sharing-cors-support.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct

from fhir_dmp.errors import FhirError
from fhir_dmp.http.middleware import Environ

StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

DISCOVERY = ("/fhir/metadata", "/fhir/.well-known/", "/.well-known/", "/oauth/jwks")
APPS = ("/fhir", "/oauth/token", "/oauth/revoke", "/oauth/introspect", "/oauth/userinfo")
METHODS = "GET, POST, PUT, PATCH, DELETE, OPTIONS"
HEADERS = (
    "Authorization, Content-Type, Accept, Prefer, If-Match, If-None-Match, If-None-Exist, If-Modified-Since, "
    "X-Request-Id, X-Correlation-Id, X-Provenance"
)
EXPOSED = (
    "Location, Content-Location, ETag, Last-Modified, X-Request-Id, X-Correlation-Id, WWW-Authenticate, Retry-After"
)
FRESH_SECONDS = "600"
ORIGIN_LENGTH = 300


class Cors(Struct, frozen=True):
    """The application, with the headers that let pages of permitted origins read its answers."""

    framework: Application
    is_registered: Callable[[str], bool]

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer the request."""
        origin = environ.get("HTTP_ORIGIN")
        if origin is None:
            return self.framework(environ, start_response)
        allowed = self._allowed(str(origin), str(environ.get("PATH_INFO", "")))
        if environ["REQUEST_METHOD"] == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ:
            start_response("204 No Content", _preflight(allowed))
            return ()

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            return start_response(status, [*headers, *_readable(allowed)], *rest)

        return self.framework(environ, start)

    def _allowed(self, origin: str, path: str) -> str | None:
        """Return the origin that may read the answer: any (``*``), this one, or none."""
        if path.startswith(DISCOVERY):
            return "*"
        if len(origin) <= ORIGIN_LENGTH and path.startswith(APPS) and self._knows(origin):
            return origin
        return None

    def _knows(self, origin: str) -> bool:
        try:
            return self.is_registered(origin)
        except FhirError:
            return False


def _readable(allowed: str | None) -> list[tuple[str, str]]:
    if allowed is None:
        return [("Vary", "Origin")]
    return [("Access-Control-Allow-Origin", allowed), ("Access-Control-Expose-Headers", EXPOSED), ("Vary", "Origin")]


def _preflight(allowed: str | None) -> list[tuple[str, str]]:
    if allowed is None:
        return [("Vary", "Origin"), ("Content-Length", "0")]
    return [
        *_readable(allowed),
        ("Access-Control-Allow-Methods", METHODS),
        ("Access-Control-Allow-Headers", HEADERS),
        ("Access-Control-Max-Age", FRESH_SECONDS),
        ("Content-Length", "0"),
    ]

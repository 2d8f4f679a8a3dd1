"""From an HTTP request to a Context: request id, network address, bearer token. https://www.rfc-editor.org/rfc/rfc6750.

They are read from the WSGI environment, which a request has before any framework looks at it.
"""

from __future__ import annotations

import re
from typing import Any, Literal
from urllib.parse import quote

from msgspec import Struct

from fhir_dmp.call import Context
from fhir_dmp.clock import Clock, Ids
from fhir_dmp.errors import Unauthenticated

_REQUEST_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}\Z")
_CHALLENGE = (("WWW-Authenticate", "Bearer"),)
_INVALID = (("WWW-Authenticate", 'Bearer error="invalid_token"'),)
Environ = dict[str, Any]
"""The WSGI environment of one request."""

LOST = "fhir_dmp.lost"
"""Where the environment says that a header was sent which could not be read: it is not passed over in silence."""

REQUEST_ID = "fhir_dmp.request_id"
"""Where the environment has the request's id, once somebody asked for it."""

_WEIGHT = re.compile(r"[01](\.\d{0,3})?\Z")
Language = Literal["fr", "en"]
LANGUAGES: tuple[Language, ...] = ("fr", "en")
"""What people are spoken to in."""

_PATH = "/$*"
_QUOTED = re.compile(r"[^A-Za-z0-9\-._~$*/]")
"""What no path of this server is made of; it is written percent-encoded."""

_TOKEN = re.compile(r"[!-~]+\Z")


class Reception(Struct, frozen=True):
    """What it takes to know a caller; ``trusted_proxies`` counts the hops whose X-Forwarded-For is believed."""

    base_url: str
    clock: Clock
    ids: Ids
    trusted_proxies: int = 0

    def stranger(self, environ: Environ) -> Context:
        """Return the Context of a caller that nobody knows yet."""
        query = environ.get("QUERY_STRING", "")
        return Context(
            subject=None,
            now=self.clock.now(),
            request_id=self._request_id(environ),
            base_url=self.base_url,
            address=self._address(environ),
            url=f"{environ['REQUEST_METHOD']} {written_path(path_of(environ))}{'?' if query else ''}{query}",
            language=language_of(environ.get("HTTP_ACCEPT_LANGUAGE", "")),
        )

    def _request_id(self, environ: Environ) -> str:
        """Return the id that the caller gave the request, or one of ours: the same, however often it is asked for."""
        known: str | None = environ.get(REQUEST_ID)
        if known is None:
            sent = environ.get("HTTP_X_REQUEST_ID", "")
            known = environ[REQUEST_ID] = sent if _REQUEST_ID.match(sent) else self.ids.new()
        return known

    def _address(self, environ: Environ) -> str:
        peer: str = environ.get("REMOTE_ADDR") or ""
        if not self.trusted_proxies:
            return peer
        hops: list[str] = [hop.strip() for hop in environ.get("HTTP_X_FORWARDED_FOR", "").split(",") if hop.strip()]
        hops.append(peer)
        return hops[max(len(hops) - 1 - self.trusted_proxies, 0)][:64]


def language_of(accepted: str) -> Language:
    """Return the language that the header prefers of those that are spoken here; French for who says nothing.

    https://www.rfc-editor.org/rfc/rfc9110#section-12.5.4.
    """
    if not accepted:
        return "fr"
    weights: dict[str, float] = {}
    for each in accepted[:200].lower().split(","):
        tag, _, weight = each.strip().partition(";q=")
        weights.setdefault(tag.partition("-")[0], float(weight) if _WEIGHT.match(weight) else 1.0)
    return max(LANGUAGES, key=lambda spoken: weights.get(spoken, weights.get("*", 0.0)))


def path_of(environ: Environ) -> str:
    """Return the path as text: WSGI hands its bytes on as Latin-1. https://peps.python.org/pep-3333/#unicode-issues."""
    raw: str = environ["PATH_INFO"]
    return raw if raw.isascii() else raw.encode("latin-1").decode(errors="replace")


def written_path(path: str) -> str:
    """Return a path as a URL writes it: a question mark or a line's end within one of its parts can pose as nothing else."""
    return quote(path, _PATH) if _QUOTED.search(path) else path


def raw_bearer(environ: Environ) -> str:
    """Return the token of the Authorization header; raise ``Unauthenticated`` if there is none."""
    scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if not scheme:
        raise Unauthenticated("This server answers nobody unknown: send a bearer token.", headers=_CHALLENGE)
    if scheme.lower() != "bearer" or not _TOKEN.match(token):
        raise Unauthenticated("The Authorization header must be: Bearer, a space, a token.", headers=_INVALID)
    return str(token)

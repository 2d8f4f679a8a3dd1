"""From an HTTP request to a Context: request id, network address, bearer token. https://www.rfc-editor.org/rfc/rfc6750."""

from __future__ import annotations

import re
from dataclasses import dataclass

from flask import Request

from fhir_dmp.call import Context
from fhir_dmp.clock import Clock, Ids
from fhir_dmp.errors import Unauthenticated

_REQUEST_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}\Z")
_CHALLENGE = (("WWW-Authenticate", "Bearer"),)
_INVALID = (("WWW-Authenticate", 'Bearer error="invalid_token"'),)
_TOKEN = re.compile(r"[!-~]+\Z")


@dataclass(frozen=True, slots=True)
class Reception:
    """What it takes to know a caller; ``trusted_proxies`` counts the hops whose X-Forwarded-For is believed."""

    base_url: str
    clock: Clock
    ids: Ids
    trusted_proxies: int = 0

    def stranger(self, request: Request) -> Context:
        """Return the Context of a caller that nobody knows yet."""
        return Context(
            subject=None,
            now=self.clock.now(),
            request_id=self._request_id(request),
            base_url=self.base_url,
            address=self._address(request),
            url=f"{request.method} {request.full_path.removesuffix('?')}",
        )

    def _request_id(self, request: Request) -> str:
        sent = request.headers.get("X-Request-Id", "")
        return sent if _REQUEST_ID.match(sent) else self.ids.new()

    def _address(self, request: Request) -> str:
        hops = [hop.strip() for hop in request.headers.get("X-Forwarded-For", "").split(",") if hop.strip()]
        hops.append(request.remote_addr or "")
        place = len(hops) - 1 - self.trusted_proxies
        return hops[max(place, 0)][:64] if self.trusted_proxies else hops[-1]


def raw_bearer(request: Request) -> str:
    """Return the token of the Authorization header; raise ``Unauthenticated`` if there is none."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if not scheme:
        raise Unauthenticated("This server answers nobody unknown: send a bearer token.", headers=_CHALLENGE)
    if scheme.lower() != "bearer" or not _TOKEN.match(token):
        raise Unauthenticated("The Authorization header must be: Bearer, a space, a token.", headers=_INVALID)
    return token

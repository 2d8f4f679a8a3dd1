"""What a browser holds of ours: cookies that no script reads, and a token in each form.

https://datatracker.ietf.org/doc/html/rfc6265;
https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable

from flask import Response, g, request
from msgspec import Struct

from fhir_dmp.errors import FhirError, Invalid
from fhir_dmp.seal import BrokenSealError, Seal

SESSION, DEVICE, BROWSER, LANGUAGE, FLOW = "session", "device", "browser", "lang", "flow"
"""The cookies: who is signed in; a known device; the browser itself; its language; a sign-in under way at a provider."""

CSRF_FIELD = "csrf"
COOKIE_LENGTH = 3072
_BROWSER_LENGTH = 43


class Browser(Struct, frozen=True):
    """Reads and sets the cookies of the request's browser.

    ``secure`` is whether clients reach us by https: then cookies are bound to this host alone (``__Host-``). ``told`` makes the event of
    what no door was asked durable, and returns what to answer.
    """

    seal: Seal
    secure: bool
    told: Callable[[FhirError], FhirError]

    def held(self, what: str) -> str | None:
        """Return what the browser holds under one of the names above."""
        value = request.cookies.get(self._name(what))
        return value if value and len(value) <= COOKIE_LENGTH else None

    def hold(self, response: Response, what: str, value: str, seconds: int | None = None) -> None:
        """Let the browser hold the value, for as long as it runs or for some seconds."""
        response.set_cookie(
            self._name(what), value, max_age=seconds, path="/", secure=self.secure, httponly=True, samesite="Lax"
        )

    def drop(self, response: Response, what: str) -> None:
        """Let the browser forget the value."""
        response.delete_cookie(self._name(what), path="/", secure=self.secure, httponly=True, samesite="Lax")

    def mark(self) -> str:
        """Return the random mark of this browser: the one that it holds, or one that this answer gives it."""
        held = self.held(BROWSER)
        if held and len(held) == _BROWSER_LENGTH:
            return held
        if "browser_mark" not in g:
            g.browser_mark = secrets.token_urlsafe(32)
        return str(g.browser_mark)

    def keep_mark(self, response: Response) -> None:
        """Give the browser its mark with the answer, if it is new."""
        if "browser_mark" in g:
            self.hold(response, BROWSER, g.browser_mark)

    def csrf(self) -> str:
        """Return the token of a form for this browser alone."""
        return self.seal.seal(_digest(self.mark()))

    def require_csrf(self) -> None:
        """Raise ``Invalid`` unless the form that was sent is one that this browser was given."""
        try:
            opened = self.seal.open(request.form.get(CSRF_FIELD, ""))
        except BrokenSealError:
            opened = b""
        if not hmac.compare_digest(opened, _digest(self.mark())):
            raise self.told(Invalid("This form was not given to this browser, or its cookies are off: begin again."))

    def _name(self, what: str) -> str:
        return f"__Host-dmp-{what}" if self.secure else f"dmp-{what}"


def _digest(mark: str) -> bytes:
    return hashlib.sha256(mark.encode()).digest()

"""Names that clients give to their requests, for their own logs. https://hl7.org/fhir/R4/http.html#custom.

``X-Correlation-Id`` comes back as it was sent. ``X-Request-Id`` is the name that the answer and the log have; where the one that was sent is
none that a log takes, the server gives its own, and the client's comes back as ``X-Correlation-Id``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct

from fhir_dmp.http.middleware import Environ

StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

CORRELATION = "X-Correlation-Id"
_REQUEST = "X-Request-Id"
_NAME = re.compile(r"[ -~]{1,200}\Z")
"""What is sent back: a line that no header and no page is broken by."""


class Correlated(Struct, frozen=True):
    """The application, with the name in its answers that the client knows the request by."""

    application: Application

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer the request."""
        correlation, request = environ.get("HTTP_X_CORRELATION_ID", ""), environ.get("HTTP_X_REQUEST_ID", "")
        if not correlation and not request:
            return self.application(environ, start_response)

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            name = correlation if correlation or (_REQUEST, request) in headers else request
            told = [(CORRELATION, name)] if _NAME.match(name) else []
            return start_response(status, [*headers, *told], *rest)

        return self.application(environ, start)

"""Where an error gets its status: OperationOutcome at the FHIR endpoint. https://hl7.org/fhir/R4/http.html#Status-Codes."""

from __future__ import annotations

from flask import Response
from werkzeug.exceptions import ClientDisconnected, HTTPException

from fhir_dmp import errors
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.outcome import outcome

JSON = "application/fhir+json; charset=utf-8"
ALWAYS = (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"))
"""Headers of every answer: nobody on the way keeps a record."""

_EVERYWHERE = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Content-Security-Policy", "frame-ancestors 'none'"),
)
"""A page says for itself what more it needs. https://cheatsheetseries.owasp.org/cheatsheets/REST_Security_Cheat_Sheet.html."""

_WERKZEUG = {
    404: (errors.UnknownType, "No FHIR interaction has this URL."),
    405: (errors.MethodNotAllowed, "This URL does not take the method."),
    413: (errors.TooLong, "The body is longer than a request may be."),
    415: (errors.UnsupportedMedia, "The body's Content-Type is not read."),
    429: (errors.TooMany, "The server is busy; try again in a moment."),
}
_UNLIKE_ALL = (errors.Invalid, "The request cannot be understood.")


def render_error(error: errors.FhirError, request_id: str) -> Response:
    """Return the OperationOutcome of the error, with its status and headers."""
    headers = [("Content-Type", JSON), ("X-Request-Id", request_id), *ALWAYS, *error.headers]
    return Response(codec.dumps(outcome(error.issues)), error.status, headers)


def from_werkzeug(fault: HTTPException) -> errors.FhirError:
    """Return the fact behind an error of the framework (no such route, body too long)."""
    kind, text = _WERKZEUG.get(fault.code or 0, _UNLIKE_ALL)
    if isinstance(fault, ClientDisconnected):
        kind, text = errors.Invalid, "The body is cut: it is shorter than was told, or its end never came."
    own = ("Allow", "Retry-After")
    return kind(text, headers=tuple(each for each in fault.get_headers() if each[0] in own))


def protected(response: Response) -> Response:
    """Give an answer that says nothing of it the headers that browsers heed: no guessed type, no frame, no trace of the URL."""
    if "X-Content-Type-Options" not in response.headers:
        for name, value in _EVERYWHERE:
            response.headers.setdefault(name, value)
    return response

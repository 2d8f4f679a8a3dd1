"""Where an error gets its status: OperationOutcome at the FHIR endpoint. https://hl7.org/fhir/R4/http.html#Status-Codes."""

from __future__ import annotations

from flask import Response
from werkzeug.exceptions import HTTPException

from fhir_dmp import errors
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.outcome import outcome

JSON = "application/fhir+json; charset=utf-8"
ALWAYS = (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"))
"""Headers of every answer: nobody on the way keeps a record."""

_WERKZEUG = {
    404: errors.UnknownType,
    405: errors.MethodNotAllowed,
    413: errors.TooLong,
    415: errors.UnsupportedMedia,
}


def render_error(error: errors.FhirError, request_id: str) -> Response:
    """Return the OperationOutcome of the error, with its status and headers."""
    headers = [("Content-Type", JSON), ("X-Request-Id", request_id), *ALWAYS, *error.headers]
    return Response(codec.dumps(outcome(error.issues)), error.status, headers)


def from_werkzeug(fault: HTTPException) -> errors.FhirError:
    """Return the fact behind an error of the framework (no such route, body too long)."""
    kind = _WERKZEUG.get(fault.code or 0, errors.Invalid)
    return kind(fault.description or "The request cannot be understood.")

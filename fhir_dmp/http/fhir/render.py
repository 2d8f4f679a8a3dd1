"""From a Result to an HTTP response: the bytes leave as they are stored. https://hl7.org/fhir/R4/http.html#3.1.0.1.5."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response

from fhir_dmp.call import Call, Context, Result
from fhir_dmp.errors import Issue
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.dates import http_date
from fhir_dmp.fhir.outcome import outcome
from fhir_dmp.http.errors import ALWAYS, JSON

_STATUS = {"ok": 200, "created": 201, "accepted": 202, "no-content": 204, "not-modified": 304}
REASONS = {status: f"{status} {HTTPStatus(status).phrase}" for status in _STATUS.values()}
"""Status lines, as WSGI wants them."""

_WRITES = ("create", "update", "patch", "delete")
_LOCATED = ("create", "update", "patch")
_DONE = {
    "created": "The resource was created.",
    "ok": "The resource is as it was asked for.",
    "no-content": "The resource is deleted.",
}


def render(call: Call, context: Context, result: Result) -> Response:
    """Return the response: status, ETag, Last-Modified, Location, and the body that was preferred."""
    status, headers = status_and_headers(call, context, result)
    body = _body(call, result)
    if body is not None and status == _STATUS["no-content"]:
        status = _STATUS["ok"]
    return Response(body, status, headers)


def status_and_headers(call: Call, context: Context, result: Result) -> tuple[int, list[tuple[str, str]]]:
    """Return the status of a result, and the headers that tell of it.

    A create that found what it would create says where that is, and an update or a patch what it changed: who named it by criteria
    and asked for no body would not know.
    """
    headers = [("Content-Type", result.content_type or JSON), ("X-Request-Id", context.request_id), *ALWAYS]
    if result.version is not None:
        headers.append(("ETag", f'W/"{result.version}"'))
    if result.updated is not None:
        headers.append(("Last-Modified", http_date(result.updated)))
    if call.name in _LOCATED and result.ref is not None:
        version = f"/_history/{result.version}" if result.version is not None else ""
        headers.append(("Location", f"{context.base_url}/{result.ref}{version}"))
    return _STATUS[result.outcome], headers


def _body(call: Call, result: Result) -> bytes | None:
    if result.outcome == "not-modified":
        return None
    if call.name in _WRITES and call.prefer == "minimal":
        return None
    if call.name in _WRITES and call.prefer == "OperationOutcome":
        return codec.dumps(outcome([Issue("informational", _DONE[result.outcome], severity="information")]))
    return result.body

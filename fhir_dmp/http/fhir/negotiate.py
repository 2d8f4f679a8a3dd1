"""Which representation is sent and wanted. https://hl7.org/fhir/R4/http.html#mime-type."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import parse_qsl

from flask import Request
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from fhir_dmp.errors import Invalid, NotAcceptable, TooLong, UnsupportedMedia

_JSON = ("application/fhir+json", "application/json", "text/json", "json", "application/json+fhir")
_COMMON = ("*/*", "application/fhir+json", "application/json")
JSON_PATCH = "application/json-patch+json"
_FORM = "application/x-www-form-urlencoded"
_VERSIONS = ("4.0", "4.0.1")
_FHIR_VERSION = re.compile(r"\s*;\s*fhirVersion\s*=\s*\"?4\.0(?:\.1)?\"?(?=\s*(?:[;,]|$))", re.IGNORECASE)
"""The one release that is served, where Accept names it. https://hl7.org/fhir/R4/http.html#version-parameter."""

MOST_FORM_BYTES = 1024 * 1024
"""Bytes of a search by POST."""

_RETURNS: dict[str, Literal["minimal", "representation", "OperationOutcome"]] = {
    "minimal": "minimal",
    "representation": "representation",
    "OperationOutcome": "OperationOutcome",
}


def require_acceptable(request: Request) -> None:
    """Refuse (406) a caller that takes nothing this server can send; ``_format`` wins over Accept."""
    wanted = request.args.get("_format") if request.query_string else None
    if wanted is not None:
        if wanted.replace(" ", "+").partition(";")[0] not in _JSON:
            raise NotAcceptable(f"_format {wanted!r} is not served: ask for json.")
        return
    sent = request.environ.get("HTTP_ACCEPT", "*/*")
    if sent in _COMMON:
        return
    accepted = parse_accept_header(_FHIR_VERSION.sub("", sent), MIMEAccept)
    if accepted and not any(accepted.quality(kind) > 0 for kind in _JSON if "/" in kind):
        raise NotAcceptable(f"Nothing in Accept is served ({sent}): ask for application/fhir+json.")


def json_body(request: Request) -> bytes:
    """Return the body, which must be JSON by its Content-Type (415 otherwise), unpacked and within the limit (413)."""
    kind = request.mimetype
    if kind and kind not in _JSON:
        raise UnsupportedMedia(f"Content-Type {kind!r} is not read: send application/fhir+json.")
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if charset not in ("utf-8", "utf8"):
        raise UnsupportedMedia(f"The charset {charset!r} is not read: JSON is UTF-8.")
    version = request.mimetype_params.get("fhirversion", "4.0")
    if version not in _VERSIONS:
        raise UnsupportedMedia(f"FHIR {version} is not read: send R4, fhirVersion=4.0.")
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise UnsupportedMedia("A compressed body is not read: send it as it is.")
    return _whole(request)


def _whole(request: Request) -> bytes:
    """Return the body; one that does not say how long it is would be cut at the limit, so it may not reach it."""
    raw = request.get_data(cache=False)
    if request.content_length is None and len(raw) >= (request.max_content_length or len(raw) + 1):
        raise TooLong(f"A request may have {request.max_content_length} bytes.")
    return raw


def patch_body(request: Request) -> bytes:
    """Return the body of a patch: JSON Patch, or the Parameters of a FHIRPath Patch (415 for any other)."""
    if request.mimetype == JSON_PATCH:
        return request.get_data(cache=False)
    return json_body(request)


def is_form(request: Request) -> bool:
    """Tell whether the body is a form."""
    return request.mimetype == _FORM


def form_params(request: Request) -> tuple[tuple[str, str], ...]:
    """Return the parameters of a search by POST, those of the URL first."""
    if request.mimetype and request.mimetype != _FORM:
        raise UnsupportedMedia(f"A search by POST sends {_FORM}.")
    request.max_content_length = MOST_FORM_BYTES
    sent = parse_qsl(_whole(request).decode(errors="replace"), keep_blank_values=True)
    return (*request.args.items(multi=True), *sent)


def preferences(request: Request) -> tuple[bool, Literal["minimal", "representation", "OperationOutcome"] | None]:
    """Return whether handling is strict, and what a write shall return (None: not said). https://hl7.org/fhir/R4/http.html#ops."""
    if "HTTP_PREFER" not in request.environ:
        return False, None
    strict = False
    returns: Literal["minimal", "representation", "OperationOutcome"] | None = None
    for preference in ",".join(request.headers.getlist("Prefer")).replace(";", ",").split(","):
        name, _, value = preference.strip().partition("=")
        value = value.strip('" ')
        if name == "handling":
            if value not in ("strict", "lenient"):
                raise Invalid(f"Prefer: handling={value!r} must be strict or lenient.")
            strict = value == "strict"
        elif name == "return":
            returns = _RETURNS.get(value)
    return strict, returns

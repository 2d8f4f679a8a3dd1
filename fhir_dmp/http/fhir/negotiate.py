"""Which representation is sent and wanted. https://hl7.org/fhir/R4/http.html#mime-type."""

from __future__ import annotations

import zlib
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from flask import Request
from msgspec import Struct
from msgspec.structs import replace

from fhir_dmp.call import MOST_ASKED, Env
from fhir_dmp.errors import Invalid, NotAcceptable, TooLong, UnsupportedMedia
from fhir_dmp.fhir import xml
from fhir_dmp.fhir.url import Params, params_of

JSON_PATCH = "application/json-patch+json"
_NDJSON = ("application/x-ndjson", "application/ndjson", "application/fhir+ndjson", "ndjson")
_IN_LINES = ("entries",)
"""Operations that answer with lines of JSON, whatever else is asked for."""

_JSON = ("application/fhir+json", "application/json", "text/json", "json", "application/json+fhir")
_XML = ("application/fhir+xml", "application/xml", "text/xml", "xml", "application/xml+fhir")
_COMMON = ("*/*", "application/fhir+json", "application/json")
_FORM = "application/x-www-form-urlencoded"
_VERSIONS = ("4.0", "4.0.1")
MOST_FORM_BYTES = MOST_ASKED
"""Bytes of a search by POST."""

_ZIPPED = ("gzip", "x-gzip")
_RETURNS: dict[str, Literal["minimal", "representation", "OperationOutcome"]] = {
    "minimal": "minimal",
    "representation": "representation",
    "OperationOutcome": "OperationOutcome",
}


class Form(Struct, frozen=True):
    """How an answer is wanted: in which format, indented for people, packed; ``native`` are media ranges of a Binary's own content."""

    xml: bool = False
    pretty: bool = False
    zipped: bool = False
    native: frozenset[str] = frozenset()


AS_STORED = Form()


def wanted(request: Request) -> Form:
    """Return the form that the caller asks for; ``_format`` wins over Accept. Raises ``NotAcceptable`` (406) for others."""
    environ = request.environ
    zipped = "HTTP_ACCEPT_ENCODING" in environ and request.accept_encodings.quality("gzip") > 0
    if request.query_string:
        asked = request.args.get("_format") or None
        pretty = request.args.get("_pretty") == "true"
        as_xml = _accepts_xml(request) if asked is None else _names_xml(asked, lines=_sends_lines(request))
        return Form(as_xml, pretty, zipped, _native(request) if asked is None else frozenset())
    native = _native(request)
    if not native and environ.get("HTTP_ACCEPT", "*/*") in _COMMON:
        return Form(zipped=True) if zipped else AS_STORED
    return Form(_accepts_xml(request), zipped=zipped, native=native)


def wanted_of_refusals(request: Request) -> Form:
    """Return the form of what is said to somebody unknown: the one that is asked for, if it is served; that it is not is said to others."""
    try:
        return wanted(request)
    except NotAcceptable:
        return AS_STORED


def _native(request: Request) -> frozenset[str]:
    """Return the media ranges that the content of a Binary may come in, where one is read and none of FHIR's types is named.

    https://hl7.org/fhir/R4/binary.html#rest.
    """
    if request.method not in ("GET", "HEAD") or not _of_binary(request, "resource_id"):
        return frozenset()
    kinds = {_kind(value)[0] for value, weight in request.accept_mimetypes if weight > 0} or {"*/*"}
    return frozenset(kinds) if kinds.isdisjoint((*_JSON, *_XML)) else frozenset()


def _of_binary(request: Request, *needed: str) -> bool:
    parts = request.view_args or {}
    return parts.get("resource_type") == "Binary" and all(name in parts for name in needed) and "name" not in parts


def _names_xml(asked: str, *, lines: bool = False) -> bool:
    kind, served = _kind(asked.replace(" ", "+"))
    if not served or kind not in (*_JSON, *_XML, *(_NDJSON if lines else ())):
        raise NotAcceptable(f"_format {asked[:64]!r} is not served: ask for json or xml.")
    return kind in _XML


def _accepts_xml(request: Request) -> bool:
    """Tell whether XML is preferred to JSON, by the weights of Accept (RFC 9110, 12.5.1)."""
    if not request.accept_mimetypes:
        return False
    accepted = [(*_kind(value), weight) for value, weight in request.accept_mimetypes]
    as_json, as_xml = (_weight(accepted, kinds) for kinds in (_JSON, _XML))
    if not as_json and not as_xml and not _native(request) and not _takes_lines(request, accepted):
        raise NotAcceptable(
            f"Nothing in Accept is served ({str(request.accept_mimetypes)[:200]}): ask for application/fhir+json."
        )
    return as_xml > as_json


def _takes_lines(request: Request, accepted: Iterable[tuple[str, bool, float]]) -> bool:
    """Tell whether lines are asked for where lines are sent; what is said of a refusal is JSON."""
    return _sends_lines(request) and any(kind in _NDJSON and weight > 0 for kind, _, weight in accepted)


def _sends_lines(request: Request) -> bool:
    return (request.view_args or {}).get("name") in _IN_LINES


def _kind(value: str) -> tuple[str, bool]:
    """Return the media type without its parameters, and whether it is of a version of FHIR that is served."""
    kind, *params = (part.strip().lower() for part in value.split(";"))
    versions = [param.partition("=")[2].strip('"') for param in params if param.startswith("fhirversion=")]
    return kind, all(version in _VERSIONS for version in versions)


def _weight(accepted: Iterable[tuple[str, bool, float]], kinds: Iterable[str]) -> float:
    """Return the weight of the most specific ranges that take one of the kinds."""
    of_version = [(kind, weight) for kind, served, weight in accepted if served]
    for names in (tuple(kinds), ("application/*",), ("*/*", "*")):
        found = [weight for kind, weight in of_version if kind in names]
        if found:
            return max(found)
    return 0.0


def resource_body(request: Request, env: Env) -> bytes | Mapping[str, Any]:
    """Return the body: JSON as bytes, XML as the resource that it is. Raises ``UnsupportedMedia`` (415) for anything else.

    It is unpacked, and not longer than the limit (413), packed or not.
    """
    kind = request.mimetype
    if kind and kind not in _JSON and kind not in _XML and _of_binary(request):
        return _binary(request, env)
    if kind and kind not in _JSON and kind not in _XML:
        raise UnsupportedMedia(
            f"Content-Type {kind[:64]!r} is not read: send application/fhir+json or application/fhir+xml."
        )
    if not _kind(request.headers.get("Content-Type", ""))[1]:
        raise UnsupportedMedia("This server reads FHIR 4.0.")
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if charset not in ("utf-8", "utf8"):
        raise UnsupportedMedia(f"The charset {charset[:64]!r} is not read: send UTF-8.")
    raw = _unpacked(request, env.limits.body)
    return xml.read(raw, env.definitions.types) if kind in _XML and raw else raw


def _binary(request: Request, env: Env) -> Mapping[str, Any]:
    """Return the Binary whose own content was sent; ``X-Security-Context`` names the resource that it belongs to."""
    parts = request.view_args or {}
    made: dict[str, Any] = {"resourceType": "Binary", "contentType": request.headers.get("Content-Type", "")}
    if "resource_id" in parts:
        made["id"] = parts["resource_id"]
    if "X-Security-Context" in request.headers:
        made["securityContext"] = {"reference": request.headers["X-Security-Context"]}
    content = _unpacked(request, env.limits.body)
    return {**made, "data": b64encode(content).decode()} if content else made


def _unpacked(request: Request, limit: int) -> bytes:
    raw = _whole(request)
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return raw
    if encoding not in _ZIPPED:
        raise UnsupportedMedia(f"Content-Encoding {encoding[:64]!r} is not read: send gzip, or the body as it is.")
    unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        body = unpacking.decompress(raw, limit + 1)
    except zlib.error:
        raise Invalid("The body is not what Content-Encoding says: gzip.") from None
    if len(body) > limit:
        raise TooLong(f"A body may have {limit} bytes; this one has more, unpacked.")
    if not unpacking.eof or unpacking.unused_data:
        raise Invalid("The packed body is cut short, or goes on after its end.")
    return body


def _whole(request: Request) -> bytes:
    """Return the body; one that does not say how long it is would be cut at the limit, so it may not reach it."""
    raw = request.get_data(cache=False)
    if request.content_length is None and len(raw) >= (request.max_content_length or len(raw) + 1):
        raise TooLong(f"A request may have {request.max_content_length} bytes.")
    return raw


def patch_body(request: Request, env: Env) -> bytes | Mapping[str, Any]:
    """Return the body of a patch: JSON Patch, or the Parameters of a FHIRPath Patch (415 for any other)."""
    if request.mimetype == JSON_PATCH:
        return _unpacked(request, env.limits.body)
    return resource_body(request, env)


def is_form(request: Request) -> bool:
    """Tell whether the body is a form."""
    return request.mimetype == _FORM


def form_params(request: Request) -> Params:
    """Return the parameters of a search by POST, those of the URL first."""
    if request.mimetype and request.mimetype != _FORM:
        raise UnsupportedMedia(f"A search by POST sends {_FORM}.")
    request.max_content_length = MOST_FORM_BYTES
    return (*request.args.items(multi=True), *params_of(_whole(request).decode(errors="replace")))


def as_sent(form: Form, params: Sequence[tuple[str, str]]) -> Form:
    """Return the form with what the parameters of a body ask of it, where a search or an operation comes as one."""
    asked = next((value for name, value in params if name == "_format" and value), None)
    pretty = form.pretty or ("_pretty", "true") in params
    return replace(form, xml=form.xml if asked is None else _names_xml(asked), pretty=pretty)


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

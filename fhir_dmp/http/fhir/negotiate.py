"""Which representation is sent and wanted. https://hl7.org/fhir/R4/http.html#mime-type."""

from __future__ import annotations

from typing import Literal

from flask import Request

from fhir_dmp.errors import Invalid, NotAcceptable, UnsupportedMedia

_JSON = ("application/fhir+json", "application/json", "text/json", "json", "application/json+fhir")
_COMMON = ("*/*", "application/fhir+json", "application/json")
JSON_PATCH = "application/json-patch+json"
_FORM = "application/x-www-form-urlencoded"
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
    if request.environ.get("HTTP_ACCEPT", "*/*") in _COMMON:
        return
    accepted = request.accept_mimetypes
    if accepted and not any(accepted.quality(kind) > 0 for kind in _JSON if "/" in kind):
        raise NotAcceptable(f"Nothing in Accept is served ({accepted}): ask for application/fhir+json.")


def json_body(request: Request) -> bytes:
    """Return the body, which must be JSON by its Content-Type (415 otherwise), unpacked and within the limit (413)."""
    kind = request.mimetype
    if kind and kind not in _JSON:
        raise UnsupportedMedia(f"Content-Type {kind!r} is not read: send application/fhir+json.")
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if charset not in ("utf-8", "utf8"):
        raise UnsupportedMedia(f"The charset {charset!r} is not read: JSON is UTF-8.")
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise UnsupportedMedia("A compressed body is not read: send it as it is.")
    return request.get_data(cache=False)


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
    return (*request.args.items(multi=True), *request.form.items(multi=True))


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

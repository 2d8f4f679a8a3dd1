"""Parameters of OAuth requests: a form in the body, or the query of a URL. https://www.rfc-editor.org/rfc/rfc6749#section-3."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from fhir_dmp.oauth.errors import InvalidRequest
from fhir_dmp.redaction import CUT, plain

FORM_TYPE = "application/x-www-form-urlencoded"
FORM_LENGTH = 32 * 1024
MOST_FIELDS = 30
_NAME = re.compile(r"[a-z_]{1,40}\Z")
_OPEN = frozenset(
    (
        *("grant_type", "client_id", "client_assertion_type", "redirect_uri", "token_type_hint"),
        *("scope", "app", "patient", "encounter", "need_patient_banner"),
    )
)
"""Parameters whose values prove and open nothing."""


def read_form(content_type: str, body: bytes) -> dict[str, str]:
    """Return the parameters of a form; those without a value count as left out.

    Raises ``InvalidRequest`` for another media type, a form over its bounds, or a parameter that comes twice.
    """
    if content_type.partition(";")[0].strip().lower() != FORM_TYPE:
        raise InvalidRequest(f"Send the parameters in the body, as {FORM_TYPE}.")
    return read_parameters(body)


def read_parameters(text: bytes) -> dict[str, str]:
    """Return the parameters of a form or a query; raise ``InvalidRequest`` as ``read_form`` does."""
    if len(text) > FORM_LENGTH:
        raise InvalidRequest(f"The request is longer than {FORM_LENGTH} bytes.")
    try:
        pairs = parse_qsl(text.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
    except ValueError:
        raise InvalidRequest(f"The request is no form of at most {MOST_FIELDS} parameters.") from None
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise InvalidRequest("A parameter is sent twice.")
    return {name: value for name, value in pairs if value}


def shown(body: bytes) -> str:
    """Return a form as a log may hold it: its names, and the values of those parameters alone that prove nothing.

    Scopes are told whole: the log cuts their restrictions. What is no form is told as one of nothing.
    """
    try:
        pairs = parse_qsl(body.decode("ascii", "replace"), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        return ""
    return "&".join(
        f"{name if _NAME.match(name) else CUT}={plain(value) if name in _OPEN else CUT}" for name, value in pairs
    )

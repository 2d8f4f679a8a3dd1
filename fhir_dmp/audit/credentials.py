"""What proves who asks has no place in a log: of a credential in a URL or a form the name alone is kept. https://www.rfc-editor.org/rfc/rfc6750#section-5.3.

A client that puts one where this server reads none gets nothing by it, and may hold it for long: neither the row nor what lies beside it
hands it on. ``code`` is no such name here: FHIR's parameter asks for diseases. (Of OAuth's own forms the log tells what is known to prove
nothing, ``oauth.form.shown``.)
"""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

from fhir_dmp.redaction import CUT

NAMES = frozenset(
    (
        *("access_token", "id_token", "refresh_token", "token", "client_secret", "client_assertion", "code_verifier"),
        *("password", "authorization"),
    )
)
"""Parameters of OAuth whose values prove who asks, and none of FHIR."""

_ENCODED = re.compile(r"%[^%&?=\n]*=")
"""A name that is percent-encoded: hardly any is."""

_PAIR = re.compile(r"(?<![^?&\s])([^?&=\s]+)=[^&\n]*")


def without_credentials(text: str) -> str:
    """Return a request, or lines of one, with the values of credentials cut out; nearly all hold none, and stay as they are."""
    return _PAIR.sub(_named, text) if _may_hold_one(text.lower()) else text


def _may_hold_one(text: str) -> bool:
    """Tell whether a name might occur: each request is asked, so this is by text alone."""
    return (
        "token" in text
        or "secret" in text
        or "assertion" in text
        or "verifier" in text
        or "password" in text
        or "authorization" in text
        or ("%" in text and _ENCODED.search(text) is not None)
    )


def _named(found: re.Match[str]) -> str:
    name = unquote_plus(found[1]).partition(":")[0].strip().lower()
    return f"{found[1]}={CUT}" if name in NAMES else found[0]

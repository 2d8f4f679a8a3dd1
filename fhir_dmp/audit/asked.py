"""What was asked, as a log may hold it: in the open without clinical values, and sealed as it was sent.

A query names diseases, and the reason for breaking the glass describes a person. The row holds the request with such values cut out
and the digest of what was sent; what was sent lies beside the row. So a row can be proven to somebody who may not read it all, and
to somebody who may, both parts at once.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from fhir_dmp.call import Call, Context, Params
from fhir_dmp.fhir import codec

LENGTH = 2000
"""Characters of a request that are kept."""

REASON_LENGTH = 500
CUT = "…"
_SALT = 16
_PLAIN = "/:|,"
_VALUE = re.compile(r"(?<==)[^&\n]*")
_OPEN = frozenset(
    (
        *(
            "_count",
            "_elements",
            "_format",
            "_id",
            "_include",
            "_lastUpdated",
            "_pretty",
            "_revinclude",
            "_since",
            "_at",
        ),
        *("_sort", "_summary", "_total", "_type", "date", "patient", "period-start", "subject", "encounter"),
    )
)
"""Parameters whose values tell nothing of a disease: ids, moments, and how the answer shall look."""


def cleaned(text: str, *, of_log: bool = False) -> str:
    """Return a request line with the values of clinical parameters cut out."""
    head, mark, query = text.partition("?")
    if not mark:
        return text[:LENGTH]
    return f"{head}?{clean_query(parse_qsl(query, keep_blank_values=True), of_log=of_log)}"[:LENGTH]


def clean_query(params: Params | list[tuple[str, str]], *, of_log: bool = False) -> str:
    """Return the parameters as a query, the values of clinical ones cut out; those of the log are about acts."""
    return "&".join(
        f"{quote(name, _PLAIN)}={quote(value, _PLAIN) if _is_open(name, of_log=of_log) else CUT}"
        for name, value in params
    )


def bare(shown: str) -> str:
    """Return a request as a row shows it, without any value that it asked for."""
    return _VALUE.sub(CUT, shown)


def _is_open(name: str, *, of_log: bool) -> bool:
    """Tell whether the value of a parameter may be shown: no number of a person, and nothing that a chain asks (``subject:Patient.name``)."""
    if name == "_page" or of_log:
        return name != "_page"
    return name.partition(":")[0] in _OPEN and "." not in name and not name.endswith(":identifier")


def asked(call: Call, context: Context, understood: str | None) -> tuple[str, str]:
    """Return what was asked, in the open and as it was sent.

    What a body or a header carried is put after the request line; of a further page, what it goes on with.
    """
    sent = context.url
    of_log = call.type == "AuditEvent"
    if not call.params and not call.criteria and understood is None:
        return cleaned(sent, of_log=of_log), sent[:LENGTH]
    parts, shown = [sent], [cleaned(sent, of_log=of_log)]
    paged = any(name == "_page" for name, _ in call.params)
    if call.params and not paged and "?" not in sent:
        name = "/".join(part for part in (call.type, call.id, call.act if call.operation else None) if part)
        head = "" if sent.endswith("/_search") else f"{name}?"
        parts.append(head + urlencode(call.params))
        shown.append(head + clean_query(call.params, of_log=of_log))
    elif paged and understood:
        parts.append(understood)
        shown.append(clean_query(parse_qsl(understood, keep_blank_values=True), of_log=of_log))
    if call.criteria and "?" not in sent:
        parts.append(f"If-None-Exist: {call.criteria}")
        shown.append(cleaned(f"If-None-Exist: ?{call.criteria.partition('?')[2] or call.criteria}", of_log=of_log))
    return "\n".join(shown)[:LENGTH], "\n".join(parts)[:LENGTH]


def seal(sent: str | None, reason: str | None, salt: str) -> bytes:
    """Return what is kept beside a row: 16 bytes of salt, then JSON with the ``request`` and the ``reason``."""
    return enclose({name: value for name, value in (("request", sent), ("reason", reason)) if value}, salt)


def enclose(said: Mapping[str, Any], salt: str) -> bytes:
    """Return what is kept beside a row: salt, so that nobody finds it by trying, and JSON."""
    return hashlib.sha256(salt.encode()).digest()[:_SALT] + codec.dumps(said)


def digest(secret: bytes) -> str:
    """Return how a row names what is kept beside it: SHA-256, base64url without padding."""
    return base64.urlsafe_b64encode(hashlib.sha256(secret).digest()).rstrip(b"=").decode()


def unseal(secret: bytes | None, named: str | None) -> dict[str, Any]:
    """Return what lies beside a row, or nothing if it is not what the row names."""
    if secret is None or named is None or digest(secret) != named:
        return {}
    return codec.loads_object(secret[_SALT:])

"""What was asked, as a log may hold it: in the open without clinical values, and sealed as it was sent.

A query names diseases, and the reason for breaking the glass describes a person. The row holds the request with such values cut out
and the digest of what was sent; what was sent lies beside the row. So a row can be proven to somebody who may not read it all, and
to somebody who may, both parts at once.

What was asked stands in the URL, and all of it where the method is not POST. A form, ``Parameters``, ``If-None-Exist`` and the entries of a
bundle come by POST, whatever the URL asks itself: each is told on a line of its own, after the request line.
"""

from __future__ import annotations

import base64
import hashlib
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from msgspec import Struct

from fhir_dmp.audit.credentials import without_credentials
from fhir_dmp.call import MOST_ASKED, MOST_CONDITIONS, Call, Context, Params
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.url import params_of, parted
from fhir_dmp.redaction import CUT, plain

LENGTH = 2000
"""Characters of a request that are kept in the open, and of what a stranger sent: nobody unknown can fill the log."""

SEALED = MOST_CONDITIONS + 4 * MOST_ASKED
"""Characters of a request that are sealed: more than this server takes of any (a URL of 64 kB and a form, percent-encoded, or the conditions
of a transaction), so that nothing that is asked can push something else out. Of what another front lets through, or what was refused, the
digest of the whole is sealed too.
"""

REASON_LENGTH = 500
_SALT = 16
_VALUE = re.compile(r"(?<==)[^&\n]*")
_LATER = re.compile(r"(\?|(?<=\n))(?:[^\n]*&)?_page=[^\n]*(?:\n|\Z)")
"""Of a later page what its URL, or its form, asks for: the line after it tells what it goes on with."""

_ODD = re.compile(r"(?<![^/ \n])[^/ \n%]*%[^/ \n]*")
"""A part of a path that is no id, no type and no operation: looked for from its beginning alone, however long it is."""

_CONDITIONAL = ("PUT", "PATCH", "DELETE")
_IN_ITS_URL = ("GET ", "HEAD ", "PUT ", "PATCH ", "DELETE ")
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
    """Return a request line with the values of clinical parameters cut out, and what of a path is nothing that a path may name."""
    head, mark, query = text.partition("?")
    if "%" in head:
        head = _ODD.sub(CUT, head)
    return shortened(f"{head}?{clean_query(params_of(query), of_log=of_log)}" if mark else head)


def clean_query(params: Params | list[tuple[str, str]], *, of_log: bool = False) -> str:
    """Return the parameters as a query, the values of clinical ones cut out, and all that are JSON; those of the log are about acts."""
    return "&".join(
        f"{plain(name)}={plain(value) if _is_open(name, of_log=of_log) and value[:1] != '{' else CUT}"
        for name, value in params
    )


def bare(shown: str) -> str:
    """Return a request as a row shows it, without any value that it asked for."""
    return _VALUE.sub(CUT, shown)


def without_page(shown: str) -> str:
    """Return the request of a later page as that of the first: that there was one before may tell what it held."""
    return _LATER.sub(r"\1", shown, count=1)


def _is_open(name: str, *, of_log: bool) -> bool:
    """Tell whether the value of a parameter may be shown: no number of a person, and nothing that a chain asks (``subject:Patient.name``)."""
    if name == "_page" or of_log:
        return name != "_page"
    return name.partition(":")[0] in _OPEN and "." not in name and not name.endswith(":identifier")


class _Line(Struct, frozen=True):
    """What was asked beside the URL: what stands before it, and parameters, or a ``query`` and all of it as it was ``sent``."""

    head: str
    params: Params = ()
    query: str = ""
    sent: str = ""

    def shown(self, *, of_log: bool) -> str:
        """Return the line without clinical values."""
        return _ODD.sub(CUT, self.head) + clean_query(self.params or params_of(self.query), of_log=of_log)

    def told(self) -> str:
        """Return the line as it was sent, on one line: it cannot pose as another one that was not."""
        sent = self.sent or self.head + urlencode(self.params)
        return sent if sent.isprintable() else quote(sent, f" {string.punctuation}")


def asked(call: Call, context: Context, understood: str | None, referred: Sequence[str] = ()) -> tuple[str, str]:
    """Return what was asked, in the open and as it was sent; ``referred`` are the criteria of a transaction's references.

    What a body, a header or an entry carried is put after the request line; of a further page, what it goes on with. Credentials are in
    neither (``audit.credentials``).
    """
    sent, of_log = context.url, call.type == "AuditEvent"
    shown = cleaned(sent, of_log=of_log)
    if call.params or call.criteria or call.parameters.items or call.name == "transaction":
        parts = [sent]
        for line in _beside(call, sent, understood, referred):
            parts.append(line.told())
            if len(shown) <= LENGTH:
                shown += f"\n{line.shown(of_log=of_log)}"
        sent = "\n".join(parts)
    kept = without_credentials(sent)
    if kept != sent:
        shown, sent = without_credentials(shown), kept
    return shortened(shown), kept_whole(sent, context)


def kept_whole(sent: str, context: Context) -> str:
    """Return what is sealed of a request: all of it, but of a stranger's what is kept in the open of any."""
    return sent if len(sent) <= LENGTH else _bounded(sent, SEALED if context.subject else LENGTH)


def _beside(call: Call, sent: str, understood: str | None, referred: Sequence[str]) -> Iterator[_Line]:
    """Yield what was asked elsewhere than in the URL."""
    if not sent.startswith(_IN_ITS_URL):
        path = call.path
        yield from _by_parameters(call, sent, f"{path}?")
        criteria = call.criteria
        if criteria and call.name in ("update", "patch", "delete"):
            yield _Line(f"{path}?", query=criteria, sent=f"{path}?{criteria}")
        elif criteria:
            yield _unless(criteria)
        if call.name == "transaction" and isinstance(call.body, Mapping):
            yield from _conditions(call.body.get("entry"))
            yield from map(_referring, referred)
    if understood and any(name == "_page" for name, _ in call.params):
        yield _Line("", query=understood, sent=understood)


def _unless(criteria: str) -> _Line:
    return _Line("If-None-Exist: ?", query=parted(criteria)[1], sent=f"If-None-Exist: {criteria}")


def _referring(criteria: str) -> _Line:
    kind, query = parted(criteria)
    return _Line(f"reference: {kind}?", query=query, sent=f"reference: {criteria}")


def _conditions(entries: Any) -> Iterator[_Line]:
    """Yield the criteria of a transaction's entries."""
    for url, unless in conditions_of(entries):
        if unless:
            yield _unless(unless)
        else:
            head, _, query = url.partition("?")
            yield _Line(f"{quote(head, '/:$')}?", query=query, sent=url)


def conditions_of(entries: Any) -> Iterator[tuple[str, str]]:
    """Yield the URL of each entry that has criteria, and its ``If-None-Exist``; searches have events of their own.

    It may be refused for being no transaction, so this takes anything.
    """
    for entry in entries if isinstance(entries, list) else ():
        request = entry.get("request") if isinstance(entry, dict) else None
        if not isinstance(request, dict):
            continue
        url, criteria = request.get("url"), request.get("ifNoneExist")
        if criteria and isinstance(criteria, str):
            yield url if isinstance(url, str) else "", criteria
        elif isinstance(url, str) and "?" in url and request.get("method") in _CONDITIONAL:
            yield url, ""


def _by_parameters(call: Call, sent: str, entry: str) -> Iterator[_Line]:
    """Yield what a form, an entry's URL and Parameters asked; before an entry's stands what it names."""
    path, _, query = sent.partition("?")
    own = path.endswith("/_search") or (call.operation is not None and path.endswith(f"/${call.operation}"))
    before = params_of(query) if own else ()
    params = call.params[len(before) :] if call.params[: len(before)] == before else call.params
    if params:
        yield _Line("" if own else entry, params)
    if call.parameters.in_body:
        yield _Line("" if own or params else entry, call.parameters.in_body)


def shortened(text: str) -> str:
    """Return what the open part of a row holds of a text, with a mark where there was more."""
    return text if len(text) <= LENGTH else text[: LENGTH - 1] + CUT


def _bounded(text: str, most: int) -> str:
    """Return the beginning of a text, and the digest of the whole where it is longer."""
    if len(text) <= most:
        return text
    return f"{text[:most]}{CUT}\nsha256: {digest(text.encode(errors='replace'))} of {len(text)} characters"


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

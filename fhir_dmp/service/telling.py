"""Each OAuth act leaves exactly one event before anybody hears of it, whatever comes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import structlog
from msgspec import Struct

from fhir_dmp.access.model import Subject
from fhir_dmp.call import Announce, Context, TokenAct, TokenKind
from fhir_dmp.errors import FhirError, TooMany
from fhir_dmp.oauth.errors import InvalidClient, InvalidRequest, OAuthError, WrongMethod
from fhir_dmp.oauth.form import read_form

T = TypeVar("T")
_log = structlog.get_logger(__name__)


class TokenRequest(Struct, frozen=True):
    """A call of an OAuth endpoint as it was sent; nothing of it is parsed.

    ``body`` is None where nobody had the time to read it; ``authorization`` is the header of that name, ``unheard`` tells that some
    header could not be read.
    """

    method: str
    content_type: str
    body: bytes | None
    authorization: str = ""
    unheard: bool = False

    def require_heard(self, *methods: str) -> None:
        """Raise ``InvalidRequest`` unless all headers were heard, ``WrongMethod`` for a method that is not one of these."""
        if self.unheard:
            raise InvalidRequest("A header is not ASCII.")
        if self.method not in methods:
            raise WrongMethod(f"This endpoint takes {' and '.join(methods)} alone.", (("Allow", ", ".join(methods)),))

    def form(self) -> dict[str, str]:
        """Return the parameters that were posted; raise ``InvalidRequest`` for anything else, ``TooMany`` where nobody read them."""
        self.require_heard("POST")
        if self.body is None:
            raise TooMany("The server is busy; try again in a moment.", headers=(("Retry-After", "1"),))
        return read_form(self.content_type, self.body)

    def bearer(self) -> str | None:
        """Return the bearer token that was sent, if any. https://www.rfc-editor.org/rfc/rfc6750#section-2.1."""
        scheme, _, raw = self.authorization.partition(" ")
        return raw if scheme.lower() == "bearer" else None


class TokenAnswer(Struct, frozen=True):
    """What an OAuth endpoint answers: a status of the RFCs and a JSON document."""

    status: int
    document: Mapping[str, Any]
    headers: tuple[tuple[str, str], ...] = ()


class Told(Struct):
    """What is known so far of the call, for its event."""

    client_id: str = ""
    scopes: tuple[str, ...] = ()
    subject: Subject | None = None
    family: str = ""

    def claim(self, client_id: str) -> None:
        """Remember who the caller says it is."""
        self.client_id = client_id


def answered(
    announce: Announce,
    kind: TokenKind,
    request: TokenRequest,
    context: Context,
    do: Callable[[TokenRequest, Told], Mapping[str, Any]],
) -> TokenAnswer:
    """Do what was asked and return the answer, or that of its refusal; the event is durable by then."""
    told = Told()
    try:
        return TokenAnswer(200, announced(announce, kind, told, context, lambda: do(request, told)))
    except OAuthError as refusal:
        challenge = (("WWW-Authenticate", "Basic, Bearer"),) if isinstance(refusal, InvalidClient) else ()
        return _refusal(refusal.status, refusal.error, refusal.description, (*challenge, *refusal.headers))
    except FhirError as error:
        code = "invalid_token" if error.code == "login" else "temporarily_unavailable"
        return _refusal(error.status, code, str(error), error.headers)


def announced(announce: Announce, kind: TokenKind, told: Told, context: Context, do: Callable[[], T]) -> T:
    """Do it and leave exactly one event, whatever comes of it, before anybody hears."""

    def tell(error: str, why: str) -> None:
        announce(TokenAct(kind, told.client_id, error, why, told.scopes), context)

    try:
        done = foreseen(context, kind, do)
    except OAuthError as refusal:
        tell(refusal.error, refusal.description)
        raise
    except FhirError as error:
        tell("invalid_token" if error.code == "login" else "temporarily_unavailable", str(error))
        raise
    announce(TokenAct(kind, told.client_id, scopes=told.scopes, subject=told.subject, family=told.family), context)
    return done


def foreseen(context: Context, kind: TokenKind, do: Callable[[], T]) -> T:
    """Do it; a fault is an act too: it says nothing outside, and becomes an ``OAuthError``."""
    try:
        return do()
    except (OAuthError, FhirError):
        raise
    except Exception:  # noqa: BLE001 - whatever it is, the log has it
        _log.exception("fault", request_id=context.request_id, act=kind)
        raise OAuthError(f"The server failed; its operator finds the reason under {context.request_id}.") from None


def _refusal(status: int, error: str, description: str, headers: tuple[tuple[str, str], ...]) -> TokenAnswer:
    return TokenAnswer(status, {"error": error, "error_description": description}, headers)

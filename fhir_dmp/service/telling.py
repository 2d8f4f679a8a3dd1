"""Each OAuth act leaves exactly one event before anybody hears of it, whatever comes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import structlog
from msgspec import Struct, field

from fhir_dmp.access.model import Person, Subject
from fhir_dmp.call import Context
from fhir_dmp.errors import FhirError, TooMany
from fhir_dmp.oauth.errors import InvalidClient, InvalidRequest, OAuthError, WrongMethod
from fhir_dmp.oauth.form import read_form, shown
from fhir_dmp.oauth.tokens import Claims
from fhir_dmp.store.families import Family
from fhir_dmp.token_act import Announce, TokenAct, TokenKind

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
    """What is known so far of the call, for its event.

    ``subject`` is proven: who asks by a token that holds, or whom one was made for. ``about`` are members of the ``TokenAct`` that tell whose
    token it was about, ``asked`` the form as a log may hold it.
    """

    client_id: str = ""
    scopes: tuple[str, ...] = ()
    subject: Subject | None = None
    family: str = ""
    asked: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)

    def claim(self, client_id: str) -> None:
        """Remember who the caller says it is."""
        self.client_id = client_id

    def of_family(self, family: Family | None) -> None:
        """Remember whose authorization it is that a token descends from, whoever shows it."""
        if family is not None:
            person = Person(**family.person)
            self.about = {
                "owner": family.client,
                "account": family.account,
                "identifier": person.identifier,
                "name": person.name,
                "patients": (person.patient,) if person.patient else (),
                "hidden": person.secret,
            }

    def of_token(self, claims: Claims, family: Family | None) -> None:
        """Remember whose access token it is, whether it holds or not: its signature is ours."""
        self.of_family(family)
        own = {"owner": claims.client_id, "token": claims.token_id, "account": claims.account or ""}
        records = {"patients": (claims.patient,)} if claims.patient else {}
        self.about = {**self.about, **own, **records}

    def act(self, kind: TokenKind, error: str | None = None, why: str = "") -> TokenAct:
        """Return the act, for its event; what came of an authorization is the end of it only if it was done."""
        family = "" if error else self.family
        return TokenAct(
            kind, self.client_id, error, why, self.scopes, self.subject, family=family, asked=self.asked, **self.about
        )


def answered(
    announce: Announce,
    kind: TokenKind,
    request: TokenRequest,
    context: Context,
    do: Callable[[TokenRequest, Told], Mapping[str, Any]],
) -> TokenAnswer:
    """Do what was asked and return the answer, or that of its refusal; the event is durable by then."""
    told = Told(asked=shown(request.body or b""))
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
        announce(told.act(kind, error, why), context)

    try:
        done = foreseen(context, kind, do)
    except OAuthError as refusal:
        tell(refusal.error, refusal.description)
        raise
    except FhirError as error:
        tell("invalid_token" if error.code == "login" else "temporarily_unavailable", str(error))
        raise
    announce(told.act(kind), context)
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

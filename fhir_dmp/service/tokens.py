"""The door of OAuth: every call of the token endpoint, and every bearer token, passes here.

One event for each call, durable before the answer leaves. https://www.rfc-editor.org/rfc/rfc6749#section-3.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from joserfc.errors import InvalidKeyIdError

from fhir_dmp.access.model import Subject
from fhir_dmp.call import Caller, Context
from fhir_dmp.clock import Clock, Ids
from fhir_dmp.errors import FhirError, Unauthenticated
from fhir_dmp.fhir import codec
from fhir_dmp.oauth.act import Announce, Kind, TokenAct
from fhir_dmp.oauth.client_credentials import granted_scopes, read_form, require_grant_type
from fhir_dmp.oauth.errors import InvalidClient, InvalidGrant, InvalidRequest, OAuthError
from fhir_dmp.oauth.jwks import FetchedKeys
from fhir_dmp.oauth.keys import Keys
from fhir_dmp.oauth.metadata import smart_configuration, token_url
from fhir_dmp.oauth.rfc7523 import read_assertion, require_proof
from fhir_dmp.oauth.tokens import CheckedSignatures, Claims, Issuer, invalid_token
from fhir_dmp.store.grants import Client, Grants, Look

T = TypeVar("T")
_SECOND = 1_000_000
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A call of an OAuth endpoint as it was sent; nothing of it is parsed."""

    method: str
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """What an OAuth endpoint answers: a status of the RFCs and a JSON document."""

    status: int
    document: Mapping[str, Any]
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class _Told:
    """What is known so far of the call, for its event."""

    client_id: str = ""
    scopes: tuple[str, ...] = ()
    subject: Subject | None = None


class Tokens:
    """Issues, revokes and checks tokens; made once for each worker by the composition root."""

    def __init__(
        self,
        *,
        grants: Grants,
        keys: Keys,
        issuer: Issuer,
        clock: Clock,
        ids: Ids,
        announce: Announce,
        fetched: FetchedKeys | None = None,
    ) -> None:
        self._grants = grants
        self._keys = keys
        self._issuer = issuer
        self._clock = clock
        self._ids = ids
        self._announce = announce
        self._fetched = fetched or FetchedKeys(clock)
        self._checked = CheckedSignatures(self._check)
        self._token_url = token_url(issuer.url)

    def prepare(self) -> None:
        """Make the first signing key if there is none, and see that the kept ones open.

        Before the first request.
        """
        self._keys.signing()

    def issue_token(self, request: TokenRequest, context: Context) -> TokenAnswer:
        """Answer a token request. https://www.rfc-editor.org/rfc/rfc6749#section-4.4."""
        return self._answer("token", request, context, self._issue)

    def revoke_token(self, request: TokenRequest, context: Context) -> TokenAnswer:
        """Answer a revocation request. https://www.rfc-editor.org/rfc/rfc7009."""
        return self._answer("revoke", request, context, self._revoke)

    def verify_bearer(self, raw: str) -> Caller:
        """Return whom the token speaks for, as client and token stand now, with the policy of its record.

        Raises ``Unauthenticated`` if the token does not hold.

        The signature alone is remembered: the client's registration and the token's revocation are read each
        time.
        """
        claims = self._checked.claims(raw)
        if claims.expires <= self._clock.micros() // _SECOND:
            raise invalid_token("The token has expired.")
        standing = self._grants.find_standing(Look(claims.client_id, claims.token_id))
        if standing is None or standing.registration != claims.registration:
            raise invalid_token("The client of this token is not registered any more.")
        if standing.revoked:
            raise invalid_token("The token was revoked.")
        subject = Subject(
            client=claims.client_id,
            role=standing.role,
            scopes=claims.scopes,
            organization=standing.organization,
            token_id=claims.token_id,
            operator=claims.operator,
        )
        return Caller(subject, standing.policy)

    def operator_token(self, client_id: str, scopes: Sequence[str], operator: str, context: Context) -> str:
        """Return a token for a backend client, made for a named operator of the server.

        Raise ``OAuthError`` if refused.
        """
        told = _Told(client_id)

        def make() -> str:
            client = self._client(client_id)
            told.scopes = granted_scopes(client, " ".join(scopes) or None)
            return self._mint(client, told, operator)

        return self._announced("operator-token", told, context, make)

    def smart_configuration(self) -> bytes:
        """Return the document at ``.well-known/smart-configuration``."""
        return codec.dumps(smart_configuration(self._issuer.url))

    def jwks(self) -> bytes:
        """Return the public key set that checks our tokens. https://www.rfc-editor.org/rfc/rfc7517#section-5."""
        return codec.dumps(self._keys.jwks())

    def _answer(
        self,
        kind: Kind,
        request: TokenRequest,
        context: Context,
        do: Callable[[TokenRequest, _Told], Mapping[str, Any]],
    ) -> TokenAnswer:
        told = _Told()
        try:
            return TokenAnswer(200, self._announced(kind, told, context, lambda: do(request, told)))
        except OAuthError as refusal:
            challenge = (("WWW-Authenticate", "Bearer"),) if isinstance(refusal, InvalidClient) else ()
            return _refusal(refusal.status, refusal.error, refusal.description, challenge)
        except FhirError as error:
            return _refusal(error.status, "temporarily_unavailable", str(error), error.headers)

    def _announced(self, kind: Kind, told: _Told, context: Context, do: Callable[[], T]) -> T:
        """Do it and leave exactly one event, whatever comes of it, before anybody hears."""
        try:
            done = do()
        except OAuthError as refusal:
            self._tell(kind, told, context, refusal.error, refusal.description)
            raise
        except FhirError as error:
            self._tell(kind, told, context, "temporarily_unavailable", str(error))
            raise
        except Exception:  # noqa: BLE001 - a fault is an act too, and says nothing outside
            _log.exception("fault", request_id=context.request_id, act=kind)
            self._tell(kind, told, context, OAuthError.error, "fault")
            raise OAuthError(f"The server failed; its operator finds the reason under {context.request_id}.") from None
        self._announce(TokenAct(kind, told.client_id, scopes=told.scopes, subject=told.subject), context)
        return done

    def _tell(self, kind: Kind, told: _Told, context: Context, error: str, why: str) -> None:
        self._announce(TokenAct(kind, told.client_id, error, why, told.scopes), context)

    def _issue(self, request: TokenRequest, told: _Told) -> Mapping[str, Any]:
        form = _form(request)
        require_grant_type(form)
        client = self._authenticate(form, told)
        told.scopes = granted_scopes(client, form.get("scope"))
        return {
            "access_token": self._mint(client, told),
            "token_type": "bearer",
            "expires_in": self._issuer.seconds,
            "scope": " ".join(told.scopes),
        }

    def _revoke(self, request: TokenRequest, told: _Told) -> Mapping[str, Any]:
        form = _form(request)
        client = self._authenticate(form, told)
        raw = form.get("token")
        if raw is None:
            raise InvalidRequest("token is missing.")
        try:
            claims = self._checked.claims(raw)
        except Unauthenticated:
            return {}  # RFC 7009, 2.2: a token that does not hold is as good as revoked
        if claims.client_id != client.id:
            raise InvalidGrant("The token was issued to another client.")
        self._grants.revoke_token(claims.token_id, claims.expires * _SECOND)
        return {}

    def _authenticate(self, form: Mapping[str, str], told: _Told) -> Client:
        """Return the client that the form's assertion proves; the assertion is never taken again."""
        assertion = read_assertion(form)
        told.client_id = assertion.unverified_client_id
        if form.get("client_id", told.client_id) != told.client_id:
            raise InvalidRequest("client_id is not the subject of client_assertion.")
        client = self._client(told.client_id)
        now = self._clock.micros() / _SECOND
        proof = require_proof(assertion, client, self._fetched, self._token_url, now)
        if not self._grants.use_assertion(client.id, proof.jti, int(proof.expires * _SECOND)):
            raise InvalidClient("client_assertion was used before: sign a new one, with a new jti, for each request.")
        return client

    def _client(self, client_id: str) -> Client:
        client = self._grants.find_client(client_id)
        if client is None or client.kind == "public":
            raise InvalidClient("There is no client of this id that authenticates here.")
        return client

    def _mint(self, client: Client, told: _Told, operator: str | None = None) -> str:
        token_id = self._ids.new()
        told.subject = Subject(client.id, client.role, told.scopes, client.organization, token_id, operator)
        return self._issuer.mint(
            told.subject, client.registration, self._keys.signing(), self._clock.micros() // _SECOND
        )

    def _check(self, raw: str) -> Claims:
        try:
            return self._issuer.verify(raw, self._keys.public())
        except InvalidKeyIdError:
            pass
        try:
            return self._issuer.verify(raw, self._keys.public(wanted=True))
        except InvalidKeyIdError:
            raise invalid_token("The token was signed by a key that is not ours.") from None


def _form(request: TokenRequest) -> dict[str, str]:
    if request.method != "POST":
        raise InvalidRequest("This endpoint takes POST alone.")
    return read_form(request.content_type, request.body)


def _refusal(status: int, error: str, description: str, headers: tuple[tuple[str, str], ...]) -> TokenAnswer:
    return TokenAnswer(status, {"error": error, "error_description": description}, headers)

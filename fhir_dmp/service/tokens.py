"""The door of OAuth: every call of the token endpoint and its sisters, and every bearer token, passes here.

One event for each call, durable before the answer leaves. https://www.rfc-editor.org/rfc/rfc6749#section-3.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from fhir_dmp.access.model import Subject
from fhir_dmp.call import Caller, Context
from fhir_dmp.clock import SECOND
from fhir_dmp.errors import Unauthenticated
from fhir_dmp.fhir import codec
from fhir_dmp.oauth import client_credentials
from fhir_dmp.oauth.clients import INTROSPECTION_SCOPE
from fhir_dmp.oauth.errors import InvalidClient, InvalidGrant, InvalidRequest, UnauthorizedClient
from fhir_dmp.oauth.handles import digest
from fhir_dmp.oauth.id_token import identity_claims
from fhir_dmp.oauth.introspection import INACTIVE, describe_access_token, describe_refresh_token
from fhir_dmp.oauth.launch import make_launch, named_patients
from fhir_dmp.oauth.lifetimes import LAUNCH_SECONDS
from fhir_dmp.oauth.metadata import openid_configuration, smart_configuration
from fhir_dmp.oauth.tokens import Claims, invalid_token
from fhir_dmp.service.bearer import Bearers, subject_of, subject_of_family
from fhir_dmp.service.grant_types import redeem
from fhir_dmp.service.minting import launch_context, token_for_system
from fhir_dmp.service.oauth_env import OAuthEnv
from fhir_dmp.service.telling import TokenAnswer, TokenRequest, Told, announced, answered
from fhir_dmp.store.families import Family
from fhir_dmp.store.grants import Client

__all__ = ["TokenAnswer", "TokenRequest", "Tokens"]


class Tokens:
    """Issues, revokes and checks tokens; made once for each worker by the composition root."""

    def __init__(self, env: OAuthEnv) -> None:
        self._env = env
        self._announce = env.announce
        self._bearers = Bearers(env)

    def prepare(self) -> None:
        """Make the first signing key if there is none, and see that the kept ones open.

        Before the first request.
        """
        self._env.keys.signing()

    def issue_token(self, request: TokenRequest, context: Context) -> TokenAnswer:
        """Answer a token request. https://www.rfc-editor.org/rfc/rfc6749#section-3.2."""
        return answered(self._announce, "token", request, context, self._issue)

    def revoke_token(self, request: TokenRequest, context: Context) -> TokenAnswer:
        """Answer a revocation request. https://www.rfc-editor.org/rfc/rfc7009."""
        return answered(self._announce, "revoke", request, context, self._revoke)

    def introspect_token(self, request: TokenRequest, context: Context) -> TokenAnswer:
        """Answer an introspection request. https://www.rfc-editor.org/rfc/rfc7662."""
        return answered(self._announce, "introspect", request, context, self._introspect)

    def user_info(self, request: TokenRequest, context: Context) -> TokenAnswer:
        """Answer who a token was issued for. https://openid.net/specs/openid-connect-core-1_0.html#UserInfo."""
        return answered(self._announce, "userinfo", request, context, self._user_info)

    def launch(self, request: TokenRequest, context: Context) -> TokenAnswer:
        """Answer an EHR that opens an app in a record. https://hl7.org/fhir/smart-app-launch/STU2.2/app-launch.html."""
        return answered(self._announce, "launch", request, context, self._launch)

    def verify_bearer(self, raw: str) -> Caller:
        """Return whom the token speaks for, as client, person and token stand now, with the policy of its record.

        Raises ``Unauthenticated`` if the token does not hold.

        The signature alone is remembered: the client's registration, the person's account, the authorization and the
        token's revocation are read each time.
        """
        return self._bearers.caller(self._bearers.claims(raw))

    def known_claims(self, raw: str) -> Claims | None:
        """Return what the token says, if this worker has checked its signature before; whether it holds is for ``caller_by`` to say."""
        return self._bearers.known(raw)

    def caller_by(self, known: Claims) -> Caller:
        """Return what ``verify_bearer`` does of a token whose claims are known, and raise as it does."""
        return self._bearers.caller(known)

    def operator_token(
        self,
        client_id: str,
        scopes: Sequence[str],
        operator: str,
        context: Context,
        *,
        patient: str | None = None,
        purpose: str = "TREAT",
    ) -> str:
        """Return a token for a backend client, made for a named operator of the server.

        ``patient`` (``Patient/p`` or the id alone) binds it to one record, which must be there; ``purpose`` is a code of v3-ActReason.
        Raise ``OAuthError`` if refused.
        """
        told = Told(client_id, about={"patients": named_patients({"patient": patient} if patient else {})})

        def make() -> str:
            client = self._env.clients.find(client_id)
            told.scopes = client_credentials.granted_scopes(client, " ".join(scopes) or None, self._env.restrict)
            bound = client_credentials.record_of(patient) if patient else None
            client_credentials.require_purpose(purpose)
            if bound and not self._env.has_record(bound):
                raise InvalidRequest(f"There is no {bound}.")
            return token_for_system(self._env, client, told, operator, patient=bound, purpose_of_use=purpose)

        return announced(self._announce, "operator-token", told, context, make)

    def smart_configuration(self) -> bytes:
        """Return the document at ``.well-known/smart-configuration``."""
        return codec.dumps(smart_configuration(self._env.issuer.url))

    def openid_configuration(self) -> bytes:
        """Return the document at ``.well-known/openid-configuration`` of the issuer."""
        return codec.dumps(openid_configuration(self._env.issuer.url))

    def jwks(self) -> bytes:
        """Return the public key set that checks our tokens. https://www.rfc-editor.org/rfc/rfc7517#section-5."""
        return codec.dumps(self._env.keys.jwks())

    def _issue(self, request: TokenRequest, told: Told) -> Mapping[str, Any]:
        return redeem(request, told, self._env)

    def _revoke(self, request: TokenRequest, told: Told) -> Mapping[str, Any]:
        form = request.form()
        client = self._env.clients.require_client(request.authorization, form, told.claim)
        raw = form.get("token")
        if raw is None:
            raise InvalidRequest("token is missing.")
        handle = self._env.opaque.refreshes.open(raw)
        if handle is not None:
            self._revoke_family(client, handle["f"], told)
            return {}
        try:
            claims = self._bearers.claims(raw)
        except Unauthenticated:
            return {}  # RFC 7009, 2.2: a token that does not hold is as good as revoked
        told.of_token(claims, self._family(claims))
        if claims.client_id != client.id:
            raise InvalidGrant("The token was issued to another client.")
        with suppress(Unauthenticated):
            told.subject, told.about = subject_of(*self._bearers.standing(raw)), {}
            told.family = claims.family or ""
        self._env.grants.revoke_token(claims.token_id, claims.expires * SECOND)
        return {}

    def _revoke_family(self, client: Client, family_id: str, told: Told) -> None:
        """Revoke a refresh token, and the access tokens of the same authorization with it (RFC 7009, 2.1)."""
        family = self._env.families.find_family(family_id)
        told.of_family(family)
        if family is None:
            return
        if family.client != client.id:
            raise InvalidGrant("The token was issued to another client.")
        self._env.families.revoke_family(family.id)
        told.subject, told.about, told.family = subject_of_family(family, client), {}, family.id

    def _family(self, claims: Claims) -> Family | None:
        """Return the authorization that an access token descends from."""
        return self._env.families.find_family(claims.family) if claims.family else None

    def _introspect(self, request: TokenRequest, told: Told) -> Mapping[str, Any]:
        form = request.form()
        asker, scopes = self._asker(request, form, told)
        raw = form.get("token")
        if raw is None:
            raise InvalidRequest("token is missing.")
        may_ask_of_all = INTROSPECTION_SCOPE in scopes
        handle = self._env.opaque.refreshes.open(raw)
        if handle is not None:
            return self._introspect_refresh(raw, handle["f"], None if may_ask_of_all else asker, told)
        try:
            claims = self._bearers.claims(raw)
            family = self._family(claims)
            told.of_token(claims, family)
            _, standing = self._bearers.standing(raw)
        except Unauthenticated:
            return INACTIVE
        subject = subject_of(claims, standing)
        if claims.client_id != asker and not may_ask_of_all:
            return INACTIVE
        launch = launch_context(subject.person, family.launch) if family and subject.person else {}
        return describe_access_token(claims, subject, self._env.issuer, launch)

    def _asker(self, request: TokenRequest, form: Mapping[str, str], told: Told) -> tuple[str, Sequence[str]]:
        """Return who asks and with which scopes: by a bearer token, or as at the token endpoint."""
        raw = request.bearer()
        if raw is not None:
            subject = self._bearing(raw, told)
            return subject.client, subject.scopes
        client = self._env.clients.require_client(request.authorization, form, told.claim)
        if client.kind == "public":
            raise InvalidClient("A public client proves nothing, and is told nothing.")
        return client.id, client.scopes

    def _introspect_refresh(self, raw: str, family_id: str, asker: str | None, told: Told) -> Mapping[str, Any]:
        family = self._env.families.find_family(family_id)
        told.of_family(family)
        current = family is not None and family.refresh == digest(raw) and not family.revoked
        if (
            family is None
            or not current
            or family.ends <= self._env.clock.micros()
            or asker not in (None, family.client)
        ):
            return INACTIVE
        return describe_refresh_token(family, self._env.issuer)

    def _user_info(self, request: TokenRequest, told: Told) -> Mapping[str, Any]:
        request.require_heard("GET", "POST")
        raw = request.bearer()
        if raw is None:
            raise invalid_token("Send the access token as a bearer token.")
        subject = self._bearing(raw, told)
        if subject.person is None or "openid" not in subject.scopes:
            raise invalid_token("The token was not issued with the scope openid.")
        return identity_claims(subject.person, subject.scopes, self._env.issuer.audience)

    def _launch(self, request: TokenRequest, told: Told) -> Mapping[str, Any]:
        form = request.form()
        raw = request.bearer()
        if raw is None:
            raise invalid_token("Send the EHR's access token as a bearer token.")
        asker = self._bearing(raw, told)
        told.about = {"patients": named_patients(form)}
        if asker.role != "ehr":
            raise UnauthorizedClient("Apps are launched by EHRs.")
        app = self._env.clients.find(form.get("app", ""))
        if app.kind == "backend" or "launch" not in app.scopes:
            raise InvalidRequest("app is no client that is registered for the scope launch.")
        launch = make_launch(self._env.opaque.launches, form, self._env.ids.new(), self._env.now)
        return {"launch": launch, "iss": self._env.issuer.audience, "expires_in": LAUNCH_SECONDS}

    def _bearing(self, raw: str, told: Told) -> Subject:
        """Return who asks by a bearer token."""
        told.subject = self.verify_bearer(raw).subject
        told.client_id = told.subject.client
        return told.subject

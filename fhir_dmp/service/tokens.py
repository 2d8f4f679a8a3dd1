"""The door of OAuth: every call of the token endpoint and its sisters, and every bearer token, passes here.

One event for each call, durable before the answer leaves. https://www.rfc-editor.org/rfc/rfc6749#section-3.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from joserfc.errors import InvalidKeyIdError
from msgspec import Struct
from msgspec.structs import replace

from fhir_dmp.access.model import Person, Subject
from fhir_dmp.call import Announce, Caller, Context, Restrict
from fhir_dmp.clock import Clock, Ids
from fhir_dmp.errors import Unauthenticated
from fhir_dmp.fhir import codec
from fhir_dmp.oauth import client_credentials, code_grant, refresh_grant
from fhir_dmp.oauth.authentication import Authentication
from fhir_dmp.oauth.clients import INTROSPECTION_SCOPE, ROLES
from fhir_dmp.oauth.errors import InvalidClient, InvalidGrant, InvalidRequest, UnauthorizedClient, UnsupportedGrantType
from fhir_dmp.oauth.handles import Handles, digest
from fhir_dmp.oauth.id_token import ALGORITHM as ID_TOKEN_ALGORITHM
from fhir_dmp.oauth.id_token import identity_claims, make_id_token
from fhir_dmp.oauth.introspection import INACTIVE, describe_access_token, describe_refresh_token
from fhir_dmp.oauth.keys import Keys
from fhir_dmp.oauth.launch import make_launch
from fhir_dmp.oauth.lifetimes import LAUNCH_SECONDS, Lifetimes
from fhir_dmp.oauth.metadata import openid_configuration, smart_configuration
from fhir_dmp.oauth.tokens import CheckedSignatures, Claims, Issuer, invalid_token
from fhir_dmp.seal import Seal
from fhir_dmp.service.telling import TokenAnswer, TokenRequest, Told, announced, answered
from fhir_dmp.store.accounts import Session
from fhir_dmp.store.families import Families, Family
from fhir_dmp.store.grants import Client, Grants, Look, Standing

_SECOND = 1_000_000

__all__ = ["Opaque", "TokenAnswer", "TokenRequest", "Tokens"]


class Opaque(Struct, frozen=True):
    """The kinds of handles that this server issues; each is of no use as another."""

    codes: Handles
    refreshes: Handles
    launches: Handles
    consents: Handles

    @classmethod
    def of(cls, secret: bytes) -> Opaque:
        """Return the kinds, under the server's secret."""
        return cls(*(Handles(Seal(secret, use)) for use in ("code", "refresh", "launch", "consent")))


class Tokens:
    """Issues, revokes and checks tokens; made once for each worker by the composition root."""

    def __init__(
        self,
        *,
        grants: Grants,
        families: Families,
        keys: Keys,
        clients: Authentication,
        sessions: Callable[[str], Session | None],
        opaque: Opaque,
        issuer: Issuer,
        restrict: Restrict,
        clock: Clock,
        ids: Ids,
        announce: Announce,
        lifetimes: Lifetimes | None = None,
    ) -> None:
        self._grants = grants
        self._families = families
        self._keys = keys
        self._opaque = opaque
        self._issuer = issuer
        self._restrict = restrict
        self._clock = clock
        self._ids = ids
        self._announce = announce
        self._lifetimes = lifetimes or Lifetimes(issuer.seconds)
        self._checked = CheckedSignatures(self._check)
        self._clients = clients
        self._sessions = sessions

    def prepare(self) -> None:
        """Make the first signing key if there is none, and see that the kept ones open.

        Before the first request.
        """
        self._keys.signing()

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
        claims, standing = self._standing(raw)
        return Caller(_subject(claims, standing), standing.policy)

    def has_checked(self, raw: str) -> bool:
        """Tell whether this worker has checked the signature of the token before."""
        return self._checked.knows(raw)

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

        ``patient`` (``Patient/p`` or the id alone) binds it to one record; ``purpose`` is a code of v3-ActReason. Raise
        ``OAuthError`` if refused.
        """
        told = Told(client_id)

        def make() -> str:
            client = self._clients.find(client_id)
            told.scopes = client_credentials.granted_scopes(client, " ".join(scopes) or None, self._restrict)
            bound = client_credentials.record_of(patient) if patient else None
            client_credentials.require_purpose(purpose)
            return self._for_system(client, told, operator, patient=bound, purpose_of_use=purpose)

        return announced(self._announce, "operator-token", told, context, make)

    def smart_configuration(self) -> bytes:
        """Return the document at ``.well-known/smart-configuration``."""
        return codec.dumps(smart_configuration(self._issuer.url))

    def openid_configuration(self) -> bytes:
        """Return the document at ``.well-known/openid-configuration`` of the issuer."""
        return codec.dumps(openid_configuration(self._issuer.url))

    def jwks(self) -> bytes:
        """Return the public key set that checks our tokens. https://www.rfc-editor.org/rfc/rfc7517#section-5."""
        return codec.dumps(self._keys.jwks())

    @property
    def _now(self) -> int:
        return self._clock.micros() // _SECOND

    def _standing(self, raw: str) -> tuple[Claims, Standing]:
        claims = self._checked.claims(raw)
        if claims.expires <= self._now:
            raise invalid_token("The token has expired.")
        look = Look(claims.client_id, claims.token_id, claims.family, claims.account, claims.patient)
        standing = self._grants.find_standing(look)
        if standing is None or standing.registration != claims.registration or standing.role not in ROLES:
            raise invalid_token("The client of this token is not registered any more.")
        if standing.revoked:
            raise invalid_token("The token was revoked.")
        if claims.family is not None and standing.person is None:
            raise invalid_token("The person's authorization has ended.")
        return claims, standing

    def _issue(self, request: TokenRequest, told: Told) -> Mapping[str, Any]:
        form = request.form()
        grant_type = form.get("grant_type")
        if grant_type is None:
            raise InvalidRequest("grant_type is missing.")
        grants: Mapping[str, Callable[[Client, Mapping[str, str], Told], Mapping[str, Any]]] = {
            client_credentials.GRANT_TYPE: self._credentials,
            code_grant.GRANT_TYPE: self._code,
            refresh_grant.GRANT_TYPE: self._refresh,
        }
        if grant_type not in grants:
            raise UnsupportedGrantType(f"This server takes grant_type {', '.join(grants)}.")
        client = self._clients.require_client(request.authorization, self._named(request, form), told.claim)
        return grants[grant_type](client, form, told)

    def _named(self, request: TokenRequest, form: Mapping[str, str]) -> Mapping[str, str]:
        """Return the form with the client that a refresh token was issued to, if it names none.

        SMART asks public apps for no client_id here; those that have to prove themselves are refused by an id alone.
        """
        told = bool(request.authorization) or any(name in form for name in ("client_id", "client_assertion"))
        if told or form.get("grant_type") != refresh_grant.GRANT_TYPE:
            return form
        handle = self._opaque.refreshes.open(form.get("refresh_token", ""))
        family = self._families.find_family(handle["f"]) if handle else None
        return {**form, "client_id": family.client} if family else form

    def _credentials(self, client: Client, form: Mapping[str, str], told: Told) -> Mapping[str, Any]:
        told.scopes = client_credentials.granted_scopes(client, form.get("scope"), self._restrict)
        return {
            "access_token": self._for_system(client, told),
            "token_type": "bearer",
            "expires_in": self._issuer.seconds,
            "scope": " ".join(told.scopes),
        }

    def _code(self, client: Client, form: Mapping[str, str], told: Told) -> Mapping[str, Any]:
        """Redeem a code; to present one twice ends all that it gave. https://www.rfc-editor.org/rfc/rfc6749#section-4.1.2."""
        raw = form.get("code")
        if raw is None:
            raise InvalidRequest("code is missing.")
        handle = self._opaque.codes.open(raw)
        family = self._families.find_family(handle["f"]) if handle else None
        if family is None or family.client != client.id:
            raise InvalidGrant("There is no such code of this client.")
        if family.redeemed:
            self._end(family, "The code was used before: all that it gave is revoked.")
        if family.revoked or family.ends <= self._clock.micros():
            raise InvalidGrant("The code has expired.")
        code_grant.require_redeemable(family, client, form)
        person = self._person(client, family)
        refresh = self._opaque.refreshes.make(f=family.id) if code_grant.refreshes(family.scopes) else None
        ends = self._clock.micros() + self._lifetimes.of_family(person, family.scopes) * _SECOND
        if not self._families.redeem_code(family.id, digest(raw), digest(refresh) if refresh else None, ends):
            self._end(family, "The code was used before: all that it gave is revoked.")
        told.scopes = family.scopes
        return self._for_person(client, replace(family, ends=ends), person, told, refresh, first=True)

    def _refresh(self, client: Client, form: Mapping[str, str], told: Told) -> Mapping[str, Any]:
        raw = form.get("refresh_token")
        if raw is None:
            raise InvalidRequest("refresh_token is missing.")
        handle = self._opaque.refreshes.open(raw)
        found = self._families.find_family(handle["f"]) if handle else None
        family = refresh_grant.require_refreshable(found, client, self._clock.micros())
        refresh_grant.require_online(family, self._sessions(family.session), self._clock.micros())
        told.scopes = refresh_grant.refreshed_scopes(family, form.get("scope"))
        person = self._person(client, family)
        following = self._opaque.refreshes.make(f=family.id)
        if not self._families.rotate_refresh(family.id, digest(raw), digest(following)):
            self._end(family, "The refresh token was used before: the whole authorization is revoked.")
        return self._for_person(client, family, person, told, following)

    def _end(self, family: Family, why: str) -> NoReturn:
        """Revoke the family and refuse; the family is gone before anybody hears of it."""
        self._families.revoke_family(family.id)
        raise InvalidGrant(why)

    def _person(self, client: Client, family: Family) -> Person:
        """Return the person of the family, whose account has to hold now."""
        standing = self._grants.find_standing(Look(client.id, "", family.id, family.account))
        if standing is None or standing.person is None:
            raise InvalidGrant("The person's account does not allow it any more.")
        return Person(**standing.person.person)

    def _for_person(
        self, client: Client, family: Family, person: Person, told: Told, refresh: str | None, *, first: bool = False
    ) -> Mapping[str, Any]:
        now = self._now
        ends = min(now + self._lifetimes.of_token(person), family.ends // _SECOND)
        organization = family.organization or client.organization
        subject = Subject(client.id, client.role, told.scopes, organization, self._ids.new(), person=person)
        told.subject = subject
        token = self._issuer.mint(subject, client.registration, self._keys.signing(), (now, ends), family.id)
        answer: dict[str, Any] = {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": ends - now,
            "scope": " ".join(told.scopes),
            **launch_context(person, family.launch),
        }
        if "openid" in told.scopes:
            answer["id_token"] = make_id_token(
                identity_claims(person, told.scopes, self._issuer.audience),
                issuer=self._issuer.url,
                client=client.id,
                nonce=family.nonce if first else None,
                access_token=token,
                key=self._keys.signing(ID_TOKEN_ALGORITHM),
                times=(now, now + self._lifetimes.token),
            )
        if refresh is not None:
            answer["refresh_token"] = refresh
        return answer

    def _revoke(self, request: TokenRequest, told: Told) -> Mapping[str, Any]:
        form = request.form()
        client = self._clients.require_client(request.authorization, form, told.claim)
        raw = form.get("token")
        if raw is None:
            raise InvalidRequest("token is missing.")
        handle = self._opaque.refreshes.open(raw)
        if handle is not None:
            self._revoke_family(client, handle["f"])
            return {}
        try:
            claims = self._checked.claims(raw)
        except Unauthenticated:
            return {}  # RFC 7009, 2.2: a token that does not hold is as good as revoked
        if claims.client_id != client.id:
            raise InvalidGrant("The token was issued to another client.")
        with suppress(Unauthenticated):
            told.subject = _subject(*self._standing(raw))
        self._grants.revoke_token(claims.token_id, claims.expires * _SECOND)
        return {}

    def _revoke_family(self, client: Client, family_id: str) -> None:
        """Revoke a refresh token, and the access tokens of the same authorization with it (RFC 7009, 2.1)."""
        family = self._families.find_family(family_id)
        if family is None:
            return
        if family.client != client.id:
            raise InvalidGrant("The token was issued to another client.")
        self._families.revoke_family(family.id)

    def _introspect(self, request: TokenRequest, told: Told) -> Mapping[str, Any]:
        form = request.form()
        asker, scopes = self._asker(request, form, told)
        raw = form.get("token")
        if raw is None:
            raise InvalidRequest("token is missing.")
        may_ask_of_all = INTROSPECTION_SCOPE in scopes
        handle = self._opaque.refreshes.open(raw)
        if handle is not None:
            return self._introspect_refresh(raw, handle["f"], None if may_ask_of_all else asker)
        try:
            claims, standing = self._standing(raw)
        except Unauthenticated:
            return INACTIVE
        subject = _subject(claims, standing)
        if claims.client_id != asker and not may_ask_of_all:
            return INACTIVE
        family = self._families.find_family(claims.family) if claims.family else None
        launch = launch_context(subject.person, family.launch) if family and subject.person else {}
        return describe_access_token(claims, subject, self._issuer, launch)

    def _asker(self, request: TokenRequest, form: Mapping[str, str], told: Told) -> tuple[str, Sequence[str]]:
        """Return who asks and with which scopes: by a bearer token, or as at the token endpoint."""
        scheme, _, bearer = request.authorization.partition(" ")
        if scheme.lower() == "bearer":
            told.subject = self.verify_bearer(bearer).subject
            told.client_id = told.subject.client
            return told.subject.client, told.subject.scopes
        client = self._clients.require_client(request.authorization, form, told.claim)
        if client.kind == "public":
            raise InvalidClient("A public client proves nothing, and is told nothing.")
        return client.id, client.scopes

    def _introspect_refresh(self, raw: str, family_id: str, asker: str | None) -> Mapping[str, Any]:
        family = self._families.find_family(family_id)
        current = family is not None and family.refresh == digest(raw) and not family.revoked
        if family is None or not current or family.ends <= self._clock.micros() or asker not in (None, family.client):
            return INACTIVE
        return describe_refresh_token(family, self._issuer)

    def _user_info(self, request: TokenRequest, told: Told) -> Mapping[str, Any]:
        request.require_heard("GET", "POST")
        scheme, _, bearer = request.authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise invalid_token("Send the access token as a bearer token.")
        subject = self.verify_bearer(bearer).subject
        told.client_id, told.subject = subject.client, subject
        if subject.person is None or "openid" not in subject.scopes:
            raise invalid_token("The token was not issued with the scope openid.")
        return identity_claims(subject.person, subject.scopes, self._issuer.audience)

    def _launch(self, request: TokenRequest, told: Told) -> Mapping[str, Any]:
        form = request.form()
        scheme, _, bearer = request.authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise invalid_token("Send the EHR's access token as a bearer token.")
        told.subject = self.verify_bearer(bearer).subject
        told.client_id = told.subject.client
        if told.subject.role != "ehr":
            raise UnauthorizedClient("Apps are launched by EHRs.")
        app = self._clients.find(form.get("app", ""))
        if app.kind == "backend" or "launch" not in app.scopes:
            raise InvalidRequest("app is no client that is registered for the scope launch.")
        raw = make_launch(self._opaque.launches, form, self._ids.new(), self._now)
        return {"launch": raw, "iss": self._issuer.audience, "expires_in": LAUNCH_SECONDS}

    def _for_system(self, client: Client, told: Told, operator: str | None = None, **narrowed: Any) -> str:
        token_id = self._ids.new()
        told.subject = Subject(client.id, client.role, told.scopes, client.organization, token_id, operator, **narrowed)
        times = (self._now, self._now + self._issuer.seconds)
        return self._issuer.mint(told.subject, client.registration, self._keys.signing(), times)

    def _check(self, raw: str) -> Claims:
        try:
            return self._issuer.verify(raw, self._keys.public())
        except InvalidKeyIdError:
            pass
        try:
            return self._issuer.verify(raw, self._keys.public(wanted=True))
        except InvalidKeyIdError:
            raise invalid_token("The token was signed by a key that is not ours.") from None


def _subject(claims: Claims, standing: Standing) -> Subject:
    subject = Subject(
        client=claims.client_id,
        role=standing.role,
        scopes=claims.scopes,
        organization=standing.organization,
        token_id=claims.token_id,
        operator=claims.operator,
    )
    if standing.person is None:
        return replace(subject, patient=claims.patient, purpose_of_use=claims.purpose)
    organization = standing.person.organization or standing.organization
    return replace(subject, person=Person(**standing.person.person), organization=organization)


def launch_context(person: Person, launch: Mapping[str, Any]) -> dict[str, Any]:
    """Return the launch context as SMART names it: ids of patient and encounter, and what the launch said besides.

    https://hl7.org/fhir/smart-app-launch/STU2.2/scopes-and-launch-context.html#launch-context-arrives-with-your-access_token.
    """
    named = {"patient": person.patient, "encounter": person.encounter}
    return {**{name: ref.partition("/")[2] for name, ref in named.items() if ref}, **launch}

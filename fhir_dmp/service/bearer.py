"""Bearer tokens: whom one speaks for, as client, person and token stand now. https://www.rfc-editor.org/rfc/rfc6750."""

from __future__ import annotations

from joserfc.errors import InvalidKeyIdError
from msgspec.structs import replace

from fhir_dmp.access.model import Person, Subject
from fhir_dmp.call import Caller
from fhir_dmp.oauth.clients import ROLES
from fhir_dmp.oauth.tokens import CheckedSignatures, Claims, invalid_token
from fhir_dmp.service.oauth_env import OAuthEnv
from fhir_dmp.store.families import Family
from fhir_dmp.store.grants import Client, Look, Standing


class Bearers:
    """Checks bearer tokens; one for each worker, which remembers the signatures that it has checked."""

    def __init__(self, env: OAuthEnv) -> None:
        self._env = env
        self._checked = CheckedSignatures(self._check)

    def caller(self, claims: Claims) -> Caller:
        """Return whom a token speaks for that says this, with the policy of its record; raise ``Unauthenticated`` if it does not hold."""
        standing = self._stands(claims)
        return Caller(subject_of(claims, standing), standing.policy)

    def known(self, raw: str) -> Claims | None:
        """Return what the token says, if this worker has checked its signature before."""
        return self._checked.known(raw)

    def claims(self, raw: str) -> Claims:
        """Return what the token says, if its signature holds; raise ``Unauthenticated`` if not."""
        return self._checked.claims(raw)

    def standing(self, raw: str) -> tuple[Claims, Standing]:
        """Return what the token says, and how its client, person and authorization stand; raise ``Unauthenticated`` if it does not hold."""
        claims = self._checked.claims(raw)
        return claims, self._stands(claims)

    def _stands(self, claims: Claims) -> Standing:
        if claims.expires <= self._env.now:
            raise invalid_token("The token has expired.")
        look = Look(claims.client_id, claims.token_id, claims.family, claims.account, claims.patient)
        standing = self._env.grants.find_standing(look)
        if standing is None or standing.registration != claims.registration or standing.role not in ROLES:
            raise invalid_token("The client of this token is not registered any more.")
        if standing.revoked:
            raise invalid_token("The token was revoked.")
        if claims.family is not None and standing.person is None:
            raise invalid_token("The person's authorization has ended.")
        return standing

    def _check(self, raw: str) -> Claims:
        issuer, keys = self._env.issuer, self._env.keys
        try:
            return issuer.verify(raw, keys.public())
        except InvalidKeyIdError:
            pass
        try:
            return issuer.verify(raw, keys.public(wanted=True))
        except InvalidKeyIdError:
            raise invalid_token("The token was signed by a key that is not ours.") from None


def subject_of(claims: Claims, standing: Standing) -> Subject:
    """Return whom a token speaks for that says this, and stands so."""
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


def subject_of_family(family: Family, client: Client | None) -> Subject:
    """Return whom the tokens of an authorization speak for."""
    role, organization = (client.role, client.organization) if client else ("", None)
    person = Person(**family.person)
    return Subject(family.client, role, family.scopes, family.organization or organization, person=person)

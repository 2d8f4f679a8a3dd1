"""The grants that the token endpoint takes, each by the name of its type. https://www.rfc-editor.org/rfc/rfc6749#section-4."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from msgspec.structs import replace

from fhir_dmp.access.model import Person
from fhir_dmp.clock import SECOND
from fhir_dmp.oauth import client_credentials, code_grant, refresh_grant
from fhir_dmp.oauth.errors import InvalidGrant, InvalidRequest, UnsupportedGrantType
from fhir_dmp.oauth.handles import digest
from fhir_dmp.service.minting import answer_for_person, token_for_system
from fhir_dmp.service.oauth_env import OAuthEnv
from fhir_dmp.service.telling import TokenRequest, Told
from fhir_dmp.store.families import Family
from fhir_dmp.store.grants import Client, Look


def redeem(request: TokenRequest, told: Told, env: OAuthEnv) -> Mapping[str, Any]:
    """Return what the client is given for the grant that it presents; raise an ``OAuthError`` if that is nothing."""
    form = request.form()
    grant_type = form.get("grant_type")
    if grant_type is None:
        raise InvalidRequest("grant_type is missing.")
    if grant_type not in GRANT_TYPES:
        raise UnsupportedGrantType(f"This server takes grant_type {', '.join(GRANT_TYPES)}.")
    client = env.clients.require_client(request.authorization, _named(request, form, env), told.claim)
    return GRANT_TYPES[grant_type](client, form, told, env)


def _named(request: TokenRequest, form: Mapping[str, str], env: OAuthEnv) -> Mapping[str, str]:
    """Return the form with the client that a refresh token was issued to, if it names none.

    SMART asks public apps for no client_id here; those that have to prove themselves are refused by an id alone.
    """
    told = bool(request.authorization) or any(name in form for name in ("client_id", "client_assertion"))
    if told or form.get("grant_type") != refresh_grant.GRANT_TYPE:
        return form
    family = env.family_of(env.opaque.refreshes.open(form.get("refresh_token", "")))
    return {**form, "client_id": family.client} if family else form


def _credentials(client: Client, form: Mapping[str, str], told: Told, env: OAuthEnv) -> Mapping[str, Any]:
    """Let the client act for itself. https://www.rfc-editor.org/rfc/rfc6749#section-4.4."""
    told.scopes = client_credentials.granted_scopes(client, form.get("scope"), env.restrict)
    return {
        "access_token": token_for_system(env, client, told),
        "token_type": "bearer",
        "expires_in": env.issuer.seconds,
        "scope": " ".join(told.scopes),
    }


def _code(client: Client, form: Mapping[str, str], told: Told, env: OAuthEnv) -> Mapping[str, Any]:
    """Redeem a code; to present one twice ends all that it gave. https://www.rfc-editor.org/rfc/rfc6749#section-4.1.2."""
    raw = form.get("code")
    if raw is None:
        raise InvalidRequest("code is missing.")
    family = env.family_of(env.opaque.codes.open(raw))
    told.of_family(family)
    if family is None or family.client != client.id:
        raise InvalidGrant("There is no such code of this client.")
    if family.redeemed:
        _end(family, "The code was used before: all that it gave is revoked.", env)
    if family.revoked or family.ends <= env.clock.micros():
        raise _over(family, env)
    code_grant.require_redeemable(family, client, form)
    person = _person(client, family, env)
    refresh = env.opaque.refreshes.make(f=family.id) if code_grant.refreshes(family.scopes) else None
    now = env.clock.micros()
    ends = now + env.lifetimes.of_family(person, family.scopes) * SECOND
    if not env.families.redeem_code(family.id, digest(raw), digest(refresh) if refresh else None, ends, now):
        late = env.families.find_family(family.id)
        if late is None or not late.redeemed:
            raise _over(late, env)
        _end(family, "The code was used before: all that it gave is revoked.", env)
    told.scopes = family.scopes
    family = replace(family, ends=ends)
    return answer_for_person(env, client, family, person, told, refresh=refresh, nonce=family.nonce)


def _refresh(client: Client, form: Mapping[str, str], told: Told, env: OAuthEnv) -> Mapping[str, Any]:
    """Give a token anew, and the next refresh token. https://www.rfc-editor.org/rfc/rfc6749#section-6."""
    raw = form.get("refresh_token")
    if raw is None:
        raise InvalidRequest("refresh_token is missing.")
    found = env.family_of(env.opaque.refreshes.open(raw))
    told.of_family(found)
    family = refresh_grant.require_refreshable(found, client, env.clock.micros())
    refresh_grant.require_online(family, env.sessions(family.session), env.clock.micros())
    told.scopes = refresh_grant.refreshed_scopes(family, form.get("scope"))
    person = _person(client, family, env)
    following = env.opaque.refreshes.make(f=family.id)
    if not env.families.rotate_refresh(family.id, digest(raw), digest(following)):
        _end(family, "The refresh token was used before: the whole authorization is revoked.", env)
    return answer_for_person(env, client, family, person, told, refresh=following)


def _over(family: Family | None, env: OAuthEnv) -> InvalidGrant:
    """Return the refusal of a code that was not used: its authorization was revoked while there was time, or the time is over."""
    if family is not None and family.revoked and family.ends > env.clock.micros():
        return InvalidGrant("The authorization was revoked before the code was used.")
    return InvalidGrant("The code has expired.")


def _end(family: Family, why: str, env: OAuthEnv) -> NoReturn:
    """Revoke the family and refuse; the family is gone before anybody hears of it."""
    env.families.revoke_family(family.id)
    raise InvalidGrant(why)


def _person(client: Client, family: Family, env: OAuthEnv) -> Person:
    """Return the person of the family, whose account has to hold now."""
    standing = env.grants.find_standing(Look(client.id, "", family.id, family.account))
    if standing is None or standing.person is None:
        raise InvalidGrant("The person's account does not allow it any more.")
    return Person(**standing.person.person)


GRANT_TYPES: Mapping[str, Callable[[Client, Mapping[str, str], Told, OAuthEnv], Mapping[str, Any]]] = {
    client_credentials.GRANT_TYPE: _credentials,
    code_grant.GRANT_TYPE: _code,
    refresh_grant.GRANT_TYPE: _refresh,
}
"""The grant types that are taken; another is refused."""

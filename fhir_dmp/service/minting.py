"""What a client is given: access tokens, and beside a person's the ID token, the launch context and a refresh token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fhir_dmp.access.model import Person, Subject
from fhir_dmp.clock import SECOND
from fhir_dmp.oauth.id_token import ALGORITHM as ID_TOKEN_ALGORITHM
from fhir_dmp.oauth.id_token import identity_claims, make_id_token
from fhir_dmp.service.oauth_env import OAuthEnv
from fhir_dmp.service.telling import Told
from fhir_dmp.store.families import Family
from fhir_dmp.store.grants import Client


def token_for_system(env: OAuthEnv, client: Client, told: Told, operator: str | None = None, **narrowed: Any) -> str:
    """Return an access token by which the client acts for itself; ``narrowed`` are members of its ``Subject``."""
    now, token_id = env.now, env.ids.new()
    subject = Subject(client.id, client.role, told.scopes, client.organization, token_id, operator, **narrowed)
    token = env.issuer.mint(subject, client.registration, env.keys.signing(), (now, now + env.issuer.seconds))
    told.subject = subject
    return token


def answer_for_person(
    env: OAuthEnv,
    client: Client,
    family: Family,
    person: Person,
    told: Told,
    *,
    refresh: str | None,
    nonce: str | None = None,
) -> Mapping[str, Any]:
    """Return the answer with a token by which the client acts for a person. https://www.rfc-editor.org/rfc/rfc6749#section-5.1.

    ``refresh`` is the refresh token that goes with it, ``nonce`` what the authorization request asked to find in its ID token.
    """
    now = env.now
    ends = min(now + env.lifetimes.of_token(person), family.ends // SECOND)
    organization = family.organization or client.organization
    subject = Subject(client.id, client.role, told.scopes, organization, env.ids.new(), person=person)
    token = env.issuer.mint(subject, client.registration, env.keys.signing(), (now, ends), family.id)
    answer: dict[str, Any] = {
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": ends - now,
        "scope": " ".join(told.scopes),
        **launch_context(person, family.launch),
    }
    if "openid" in told.scopes:
        answer["id_token"] = make_id_token(
            identity_claims(person, told.scopes, env.issuer.audience),
            issuer=env.issuer.url,
            client=client.id,
            nonce=nonce,
            access_token=token,
            key=env.keys.signing(ID_TOKEN_ALGORITHM),
            times=(now, now + env.lifetimes.token),
        )
    if refresh is not None:
        answer["refresh_token"] = refresh
    told.subject, told.about = subject, {}
    return answer


def launch_context(person: Person, launch: Mapping[str, Any]) -> dict[str, Any]:
    """Return the launch context as SMART names it: ids of patient and encounter, and what the launch said besides.

    https://hl7.org/fhir/smart-app-launch/STU2.2/scopes-and-launch-context.html#launch-context-arrives-with-your-access_token.
    """
    named = {"patient": person.patient, "encounter": person.encounter}
    return {**{name: ref.partition("/")[2] for name, ref in named.items() if ref}, **launch}

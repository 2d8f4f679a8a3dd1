"""ID tokens and claims about the person. https://openid.net/specs/openid-connect-core-1_0.html#IDToken.

``fhirUser`` is SMART's: https://hl7.org/fhir/smart-app-launch/STU2.2/scopes-and-launch-context.html#scopes-for-requesting-identity-data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from joserfc import jwt
from joserfc.jwk import Key

from fhir_dmp.access.model import Person
from fhir_dmp.oauth.engine import half_hash

ALGORITHM = "RS256"
"""What every provider has to sign ID tokens by: https://openid.net/specs/openid-connect-core-1_0.html#ServerMTI."""


def identity_claims(person: Person, scopes: Sequence[str], fhir_url: str) -> dict[str, Any]:
    """Return what the scopes let the client know of the person; ``sub`` always."""
    claims: dict[str, Any] = {"sub": person.account}
    if "fhirUser" in scopes:
        claims["fhirUser"] = f"{fhir_url}/{person.resource}"
    if "profile" in scopes:
        claims["name"] = person.name
    return claims


def make_id_token(
    claims: Mapping[str, Any],
    *,
    issuer: str,
    client: str,
    nonce: str | None,
    access_token: str,
    key: Key,
    times: tuple[int, int],
) -> str:
    """Return the signed ID token of an answer; ``times`` are those of issue and end, in seconds since 1970.

    ``nonce`` is that of the authorization request, for the first ID token of a family.
    """
    content = {
        "iss": issuer,
        "aud": client,
        "iat": times[0],
        "exp": times[1],
        "at_hash": half_hash(access_token, ALGORITHM),
        **claims,
    }
    if nonce is not None:
        content["nonce"] = nonce
    return jwt.encode({"alg": ALGORITHM, "typ": "JWT", "kid": key.kid}, content, key, algorithms=[ALGORITHM])

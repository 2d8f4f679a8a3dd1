"""What a token means, for those who may ask. https://www.rfc-editor.org/rfc/rfc7662.

With SMART's launch context: https://hl7.org/fhir/smart-app-launch/STU2.2/token-introspection.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fhir_dmp.access.model import Subject
from fhir_dmp.clock import SECOND
from fhir_dmp.oauth.id_token import identity_claims
from fhir_dmp.oauth.tokens import Claims, Issuer
from fhir_dmp.store.families import Family

INACTIVE: Mapping[str, Any] = {"active": False}
"""All that is said of a token that does not hold, whatever the reason. https://www.rfc-editor.org/rfc/rfc7662#section-2.2."""


def describe_access_token(
    claims: Claims, subject: Subject, issuer: Issuer, launch: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what an access token that holds means."""
    return {
        "active": True,
        "token_type": "Bearer",
        "client_id": claims.client_id,
        "scope": " ".join(claims.scopes),
        "iss": issuer.url,
        "aud": issuer.audience,
        "sub": subject.client,
        "jti": claims.token_id,
        "iat": claims.issued,
        "exp": claims.expires,
        "extensions": dict(claims.extensions),
        **launch,
        **(identity_claims(subject.person, claims.scopes, issuer.audience) if subject.person else {}),
    }


def describe_refresh_token(family: Family, issuer: Issuer) -> dict[str, Any]:
    """Return what a refresh token that may be used next means."""
    return {
        "active": True,
        "token_type": "refresh_token",
        "client_id": family.client,
        "scope": " ".join(family.scopes),
        "iss": issuer.url,
        "sub": family.account,
        "exp": family.ends // SECOND,
    }

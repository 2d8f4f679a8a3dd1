"""Where tokens come from, for those who look. https://hl7.org/fhir/smart-app-launch/STU2.2/conformance.html."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fhir_dmp.oauth import client_credentials, code_grant, refresh_grant
from fhir_dmp.oauth.authentication import METHODS
from fhir_dmp.oauth.clients import LAUNCH_SCOPES
from fhir_dmp.oauth.jwks import ALGORITHMS
from fhir_dmp.oauth.pkce import METHODS as CHALLENGE_METHODS

SCOPES = (
    *LAUNCH_SCOPES,
    *("patient/*.cruds", "user/*.cruds", "system/*.cruds"),
    *("patient/*.rs", "user/*.rs", "system/*.rs"),
    *("patient/*.read", "user/*.read", "system/*.read", "system/*.write", "system/*.*"),
)

CAPABILITIES = (
    *("client-public", "client-confidential-symmetric", "client-confidential-asymmetric"),
    *("permission-v1", "permission-v2", "permission-patient", "permission-user", "permission-offline"),
)
"""What this server does of https://hl7.org/fhir/smart-app-launch/STU2.2/conformance.html#capabilities."""


def token_url(public_url: str) -> str:
    """Return the URL of the token endpoint, which is also the audience of assertions."""
    return f"{public_url}/oauth/token"


def smart_configuration(public_url: str) -> Mapping[str, Any]:
    """Return the SMART configuration of the FHIR endpoint."""
    return {
        "token_endpoint": token_url(public_url),
        "revocation_endpoint": f"{public_url}/oauth/revoke",
        "introspection_endpoint": f"{public_url}/oauth/introspect",
        "jwks_uri": f"{public_url}/oauth/jwks",
        "grant_types_supported": [
            code_grant.GRANT_TYPE,
            refresh_grant.GRANT_TYPE,
            client_credentials.GRANT_TYPE,
        ],
        "token_endpoint_auth_methods_supported": [*METHODS, "none"],
        "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "code_challenge_methods_supported": list(CHALLENGE_METHODS),
        "scopes_supported": list(SCOPES),
        "capabilities": list(CAPABILITIES),
    }

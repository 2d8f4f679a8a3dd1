"""Where tokens come from, for those who look. https://hl7.org/fhir/smart-app-launch/STU2.2/conformance.html."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fhir_dmp.oauth import client_credentials, code_grant, refresh_grant
from fhir_dmp.oauth.authentication import METHODS
from fhir_dmp.oauth.clients import LAUNCH_SCOPES
from fhir_dmp.oauth.id_token import ALGORITHM
from fhir_dmp.oauth.jwks import ALGORITHMS
from fhir_dmp.oauth.pkce import METHODS as CHALLENGE_METHODS

SCOPES = (
    *LAUNCH_SCOPES,
    *("patient/*.cruds", "user/*.cruds", "system/*.cruds"),
    *("patient/*.rs", "user/*.rs", "system/*.rs"),
    *("patient/*.read", "user/*.read", "system/*.read", "system/*.write", "system/*.*"),
)

CAPABILITIES = (
    *("launch-ehr", "launch-standalone", "authorize-post"),
    *("client-public", "client-confidential-symmetric", "client-confidential-asymmetric"),
    *("sso-openid-connect", "context-banner", "context-ehr-patient", "context-ehr-encounter"),
    *("context-standalone-patient", "context-standalone-encounter"),
    *("permission-v1", "permission-v2", "permission-patient", "permission-user"),
    *("permission-offline", "permission-online"),
)
"""What this server does of https://hl7.org/fhir/smart-app-launch/STU2.2/conformance.html#capabilities."""


def token_url(public_url: str) -> str:
    """Return the URL of the token endpoint, which is also the audience of assertions."""
    return f"{public_url}/oauth/token"


def smart_configuration(public_url: str) -> Mapping[str, Any]:
    """Return the SMART configuration of the FHIR endpoint."""
    return {
        "issuer": public_url,
        "authorization_endpoint": f"{public_url}/oauth/authorize",
        "token_endpoint": token_url(public_url),
        "userinfo_endpoint": f"{public_url}/oauth/userinfo",
        "revocation_endpoint": f"{public_url}/oauth/revoke",
        "introspection_endpoint": f"{public_url}/oauth/introspect",
        "management_endpoint": f"{public_url}/oauth/apps",
        "jwks_uri": f"{public_url}/oauth/jwks",
        "grant_types_supported": [
            code_grant.GRANT_TYPE,
            refresh_grant.GRANT_TYPE,
            client_credentials.GRANT_TYPE,
        ],
        "response_types_supported": [code_grant.RESPONSE_TYPE],
        "response_modes_supported": [code_grant.RESPONSE_MODE],
        "authorization_response_iss_parameter_supported": True,
        "token_endpoint_auth_methods_supported": [*METHODS, "none"],
        "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "code_challenge_methods_supported": list(CHALLENGE_METHODS),
        "scopes_supported": list(SCOPES),
        "capabilities": list(CAPABILITIES),
    }


def openid_configuration(public_url: str) -> Mapping[str, Any]:
    """Return the discovery document of OpenID Connect. https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderMetadata."""
    return {
        **smart_configuration(public_url),
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [ALGORITHM],
        "claims_supported": ["iss", "sub", "aud", "exp", "iat", "nonce", "at_hash", "name", "fhirUser"],
        "request_uri_parameter_supported": False,
    }

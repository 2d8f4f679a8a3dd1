"""Where tokens come from, for those who look. https://hl7.org/fhir/smart-app-launch/STU2.2/conformance.html."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fhir_dmp.oauth.client_credentials import GRANT_TYPE
from fhir_dmp.oauth.jwks import ALGORITHMS

SCOPES = ("system/*.cruds", "system/*.rs", "system/*.read", "system/*.write", "system/*.*")


def token_url(public_url: str) -> str:
    """Return the URL of the token endpoint, which is also the audience of assertions."""
    return f"{public_url}/oauth/token"


def smart_configuration(public_url: str) -> Mapping[str, Any]:
    """Return the SMART configuration of the FHIR endpoint.

    ``issuer`` is left out as SMART asks, for it belongs to OpenID Connect.
    """
    return {
        "token_endpoint": token_url(public_url),
        "revocation_endpoint": f"{public_url}/oauth/revoke",
        "jwks_uri": f"{public_url}/oauth/jwks",
        "grant_types_supported": [GRANT_TYPE],
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "code_challenge_methods_supported": ["S256"],
        "scopes_supported": list(SCOPES),
        "capabilities": ["client-confidential-asymmetric", "permission-v1", "permission-v2"],
    }

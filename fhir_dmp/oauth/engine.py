"""What of Authlib does OAuth's work here; no other module imports it. https://docs.authlib.org/.

Authlib gives the building blocks: the S256 transformation, the half hash of OpenID Connect, the making of assertions. Its
grant classes are not used: they keep what they found on the request for a later method, accept ``plain`` by default, and
know neither families of tokens nor an answer that waits for its evidence.
"""

from __future__ import annotations

from authlib.oauth2.rfc7523 import private_key_jwt_sign
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core.util import create_half_hash

__all__ = ["half_hash", "private_key_jwt_sign", "s256"]


def s256(code_verifier: str) -> str:
    """Return the S256 challenge of a verifier. https://www.rfc-editor.org/rfc/rfc7636#section-4.2."""
    challenge: str = create_s256_code_challenge(code_verifier)
    return challenge


def half_hash(token: str, algorithm: str) -> str:
    """Return ``at_hash`` of a token. https://openid.net/specs/openid-connect-core-1_0.html#CodeIDToken."""
    digest: bytes = create_half_hash(token, algorithm)
    return digest.decode()

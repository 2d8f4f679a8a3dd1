"""Proof Key for Code Exchange, by S256 alone and for every client. https://www.rfc-editor.org/rfc/rfc7636."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping

from fhir_dmp.oauth.engine import s256
from fhir_dmp.oauth.errors import InvalidGrant, InvalidRequest

METHODS = ("S256",)
_CHALLENGE = re.compile(r"[A-Za-z0-9_\-]{43}\Z")
_VERIFIER = re.compile(r"[A-Za-z0-9\-._~]{43,128}\Z")


def require_challenge(params: Mapping[str, str]) -> str:
    """Return the challenge of an authorization request; raise ``InvalidRequest`` if there is none, or by another method.

    An absent method means ``plain`` (section 4.3), which is refused.
    """
    challenge = params.get("code_challenge", "")
    if params.get("code_challenge_method") not in METHODS:
        raise InvalidRequest("Every client uses PKCE: send code_challenge, and code_challenge_method=S256.")
    if not _CHALLENGE.match(challenge):
        raise InvalidRequest("code_challenge is no S256 challenge: 43 characters of base64url.")
    return challenge


def require_verifier(challenge: str, form: Mapping[str, str]) -> None:
    """Raise unless the token request holds the verifier of the challenge."""
    verifier = form.get("code_verifier")
    if verifier is None:
        raise InvalidRequest("code_verifier is missing.")
    if not _VERIFIER.match(verifier):
        raise InvalidRequest("code_verifier is 43 to 128 letters, digits, hyphens, dots, underscores and tildes.")
    if not hmac.compare_digest(s256(verifier), challenge):
        raise InvalidGrant("code_verifier is not the one that the code was asked for with.")

"""The second factor: time-based one-time passwords, and codes for the day the telephone is lost. https://www.rfc-editor.org/rfc/rfc6238."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets

import pyotp

STEP_SECONDS = 30
DRIFT = 1
"""Steps before and after the present one whose code is taken: clocks differ, and people type slowly."""

RECOVERY_CODES = 8
ISSUER = "Dossier médical partagé"
_DIGITS = re.compile(r"[0-9]{6}\Z")


def new_secret() -> str:
    """Return a secret of 160 bits in base32, as telephones take it."""
    return pyotp.random_base32()


def enrolment_uri(secret: str, login: str) -> str:
    """Return the URI that authenticator applications take. https://github.com/google/google-authenticator/wiki/Key-Uri-Format."""
    return pyotp.TOTP(secret).provisioning_uri(name=login, issuer_name=ISSUER)


def matching_step(secret: str, code: str, now: int) -> int | None:
    """Return the time step whose code this is, or None; ``now`` in seconds since 1970.

    All steps are compared, each in constant time, so that the time taken tells nothing.
    """
    digits = re.sub(r"[\s.-]", "", code)
    if not _DIGITS.match(digits):
        return None
    totp, present, found = pyotp.TOTP(secret, interval=STEP_SECONDS), now // STEP_SECONDS, None
    for step in range(present - DRIFT, present + DRIFT + 1):
        if secrets.compare_digest(totp.generate_otp(step), digits):
            found = step
    return found


def new_recovery_codes() -> tuple[str, ...]:
    """Return codes of 80 bits such as ``ABCD-EFGH-IJKL-MNOP``, each to be used once."""
    return tuple(_grouped(base64.b32encode(secrets.token_bytes(10)).decode()) for _ in range(RECOVERY_CODES))


def hash_recovery_code(code: str) -> str:
    """Return what is kept of a code; 80 random bits need no slow hash."""
    return hashlib.sha256(re.sub(r"[^A-Z2-7]", "", code.upper()).encode()).hexdigest()


def _grouped(text: str) -> str:
    return "-".join(text[place : place + 4] for place in range(0, len(text), 4))

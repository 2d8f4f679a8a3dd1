"""Passwords: which are taken, and how they are kept (argon2id). https://www.rfc-editor.org/rfc/rfc9106.

The rules are those of NIST SP 800-63B, 5.1.1: length before all, nothing that stands in everybody's list, no rule of composition.
https://pages.nist.gov/800-63-3/sp800-63b.html.
"""

from __future__ import annotations

import base64
import os
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from fhir_dmp.errors import Invalid, TooMany

LEAST, MOST = 12, 256
LEAST_DIFFERENT = 5
HASHES_AT_ONCE = 4
WAIT_SECONDS = 5.0
_COMMON = frozenset(
    """
    motdepasse azertyuiop qwertyuiop azertyqwerty password passw0rd administrateur administrator bonjour soleil
    doudou loulou chouchou jetaime iloveyou letmein welcome bienvenue changeme changezmoi monespacesante
    espacesante dossiermedical dossierpartage secretmedical medecin docteur infirmiere hopital patient marseille
    """.split()
)
"""Words of which the passwords in everybody's list are made, with figures before and after."""


def require_good(password: str, *names: str) -> None:
    """Raise ``Invalid`` and say why if the password is easy to guess; ``names`` are those that others know of its owner."""
    folded = _plain(password)
    if not LEAST <= len(_normal(password)) <= MOST:
        raise Invalid(f"A password has {LEAST} to {MOST} characters.")
    if len(set(folded)) < LEAST_DIFFERENT:
        raise Invalid(f"A password has at least {LEAST_DIFFERENT} different characters.")
    if _is_common(folded):
        raise Invalid(
            "This password is among the first that are tried: take another, such as four words that do not belong together."
        )
    if any(len(name) >= 4 and _plain(name) in folded for name in names):
        raise Invalid("A password does not hold the login or the name of its owner.")


class Passwords:
    """Hashes and checks passwords, few at once: each takes 64 MB while it lasts.

    Raises ``TooMany`` if others keep it busy for seconds.
    """

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._gate = threading.BoundedSemaphore(HASHES_AT_ONCE)
        self._nobodys = _nobodys(self._hasher)

    def hash(self, password: str) -> str:
        """Return the hash to keep, with its salt and its costs."""
        with self._turn():
            return self._hasher.hash(_normal(password))

    def verify(self, hashed: str | None, password: str) -> bool:
        """Tell whether the password is the one; the same work is done where there is none to compare with."""
        typed = _normal(password[: 4 * MOST])
        if len(typed) > MOST:
            hashed = None
        with self._turn():
            try:
                right = self._hasher.verify(hashed or self._nobodys, typed[:MOST])
            except (VerificationError, InvalidHashError):
                return False
        return right and hashed is not None

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._gate.acquire(timeout=WAIT_SECONDS):
            raise TooMany("Too many people sign in at once; try again in a moment.", headers=(("Retry-After", "10"),))
        try:
            yield
        finally:
            self._gate.release()


def _nobodys(hasher: PasswordHasher) -> str:
    """Return a hash that costs as much as any to compare with, and that no password has: it was never made of one."""
    costs = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    salt, digest = (
        base64.b64encode(os.urandom(length)).decode().rstrip("=") for length in (hasher.salt_len, hasher.hash_len)
    )
    return f"$argon2id$v=19${costs}${salt}${digest}"


def _is_common(folded: str) -> bool:
    """Tell whether the password is figures alone, or a word that everybody takes with few signs around it."""
    rest = folded
    for word in _COMMON:
        rest = rest.replace(word, "")
    return folded.isdigit() or (rest != folded and len({char for char in rest if not char.isdigit()}) < LEAST_DIFFERENT)


def _normal(password: str) -> str:
    """Return the password as any keyboard would have sent it."""
    return unicodedata.normalize("NFKC", password)


def _plain(text: str) -> str:
    """Return the text without case and accents."""
    return "".join(char for char in unicodedata.normalize("NFKD", text).casefold() if not unicodedata.combining(char))

"""Codes, refresh tokens and launch tokens: text that nobody but this server can make or read.

A handle names the family that it belongs to, sealed, with 256 bits of chance. The database holds its SHA-256 alone. Whoever presents a
handle that opens and is not the one to be used next presents one that was used before: guessing makes none.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Any

from msgspec import Struct

from fhir_dmp.seal import BrokenSealError, Seal

LENGTH = 4096
_CHANCE_BYTES = 32


class Handles:
    """Makes and opens handles of one kind, which are of no use as another kind."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal

    def make(self, **content: Any) -> str:
        """Return a new handle that carries the content."""
        return self._seal.seal(json.dumps({**content, "r": secrets.token_urlsafe(_CHANCE_BYTES)}).encode())

    def open(self, raw: str) -> dict[str, Any] | None:
        """Return the content of a handle of this kind, or None for anything else."""
        if not raw.isascii() or len(raw) > LENGTH:
            return None
        try:
            content: dict[str, Any] = json.loads(self._seal.open(raw))
        except BrokenSealError:
            return None
        return content


class Opaque(Struct, frozen=True):
    """The kinds of handles that this server issues; each is of no use as another."""

    codes: Handles
    refreshes: Handles
    launches: Handles
    consents: Handles

    @classmethod
    def of(cls, secret: bytes) -> Opaque:
        """Return the kinds, under the server's secret."""
        return cls(*(Handles(Seal(secret, use)) for use in ("code", "refresh", "launch", "consent")))


def digest(raw: str) -> str:
    """Return what the database holds of a handle."""
    return hashlib.sha256(raw.encode()).hexdigest()

"""Signing keys: made here, kept sealed, replaced in time. https://www.rfc-editor.org/rfc/rfc7517.

Access tokens are signed by ES256; ID tokens by RS256, which OpenID Connect and SMART ask of every provider. The
database holds each key sealed by the server's secret, and no public half beside it: a key that was not sealed by
that secret signs nothing and verifies nothing. A new key is published a while before it signs,
longer than a worker waits before it looks again, so that no worker meets a token it cannot check.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

from joserfc.jwk import ECKey, Key, KeySet, RSAKey, import_key
from msgspec import Struct

from fhir_dmp.clock import DAY, SECOND, Clock
from fhir_dmp.oauth.id_token import ALGORITHM as ID_TOKEN_ALGORITHM
from fhir_dmp.oauth.tokens import ALGORITHM
from fhir_dmp.seal import BrokenSealError, Seal
from fhir_dmp.store.grants import Grants
from fhir_dmp.store.grants import Key as KeyRow

KEY_TYPES = {ALGORITHM: "EC", ID_TOKEN_ALGORITHM: "RSA"}
"""The algorithms that keys are made for, and the type of each."""

RSA_BITS = 2048
SIGNS = 30 * DAY
KEPT = DAY
PUBLISHED_BEFORE = 120 * SECOND
LOOKS_AGAIN = 30 * SECOND
LOOKS_AGAIN_FOR_UNKNOWN = SECOND


class _Ring(Struct, frozen=True):
    """The keys as they were read at one moment."""

    at: int
    generation: int
    rows: tuple[KeyRow, ...]
    keys: Mapping[str, Key]
    public: KeySet

    def of(self, algorithm: str) -> tuple[KeyRow, ...]:
        """Return the rows of the keys that sign by the algorithm, by generation."""
        return tuple(row for row in self.rows if self.keys[row.kid].key_type == KEY_TYPES[algorithm])


class Keys:
    """The signing keys that all workers share."""

    def __init__(self, grants: Grants, seal: Seal, clock: Clock) -> None:
        self._grants = grants
        self._seal = seal
        self._clock = clock
        self._lock = threading.Lock()
        self._ring: _Ring | None = None

    def signing(self, algorithm: str = ALGORITHM) -> Key:
        """Return the key that signs now by the algorithm; make one if there is none, and the next one when its time comes."""
        now = self._clock.micros()
        ring = self._fresh(LOOKS_AGAIN)
        rows = ring.of(algorithm)
        if not rows or rows[-1].signs_until - PUBLISHED_BEFORE <= now:
            self._make(ring, now, algorithm)
            ring = self._fresh(0)
            rows = ring.of(algorithm)
        row = next(row for row in reversed(rows) if row.signs_from <= now or row is rows[0])
        return ring.keys[row.kid]

    def public(self, *, wanted: bool = False) -> KeySet:
        """Return the public keys.

        ``wanted`` looks again, at most once a second, for one that was not among them.
        """
        return self._fresh(LOOKS_AGAIN_FOR_UNKNOWN if wanted else LOOKS_AGAIN).public

    def jwks(self) -> dict[str, Any]:
        """Return the public key set as it is published; there is always a key that signs.

        It is at most a second old: whoever looks for the key of a token that was just signed finds it.
        """
        self.signing()
        ring = self._fresh(LOOKS_AGAIN_FOR_UNKNOWN)
        return {"keys": [_public(key) for key in ring.keys.values()]}

    def _make(self, ring: _Ring, now: int, algorithm: str) -> None:
        key: Key = ECKey.generate_key("P-256") if algorithm == ALGORITHM else RSAKey.generate_key(RSA_BITS)
        kid = key.thumbprint()
        content = json.dumps({**key.as_dict(private=True), "kid": kid}).encode()
        starts = now + PUBLISHED_BEFORE if ring.of(algorithm) else now
        ends = starts + SIGNS
        self._grants.add_key(KeyRow(ring.generation + 1, kid, self._seal.seal(content), starts, ends, ends + KEPT))

    def _fresh(self, age: int) -> _Ring:
        ring = self._ring
        if ring is not None and self._clock.micros() - ring.at < age:
            return ring
        with self._lock:
            if self._ring is None or self._ring is ring or age == 0:
                self._ring = self._read(self._ring)
            return self._ring

    def _read(self, known: _Ring | None) -> _Ring:
        at = self._clock.micros()
        listed = self._grants.list_keys()
        rows = tuple(row for row in listed if row.expires > at)
        have = known.keys if known else {}
        keys = {row.kid: have.get(row.kid) or self._opened(row) for row in rows}
        public = KeySet([import_key(_public(key)) for key in keys.values()])
        return _Ring(at, listed[-1].generation if listed else 0, rows, keys, public)

    def _opened(self, row: KeyRow) -> Key:
        try:
            content = json.loads(self._seal.open(row.sealed))
        except BrokenSealError:
            content = {}
        if content.get("kid") != row.kid:
            raise ValueError(
                f"The signing key {row.kid} was sealed by another secret: "
                "give the server the one that it was first started with."
            )
        return import_key(content)


def _public(key: Key) -> dict[str, Any]:
    algorithm = next(name for name, kind in KEY_TYPES.items() if kind == key.key_type)
    return {**key.as_dict(private=False), "use": "sig", "alg": algorithm}

"""The chain of one writer's rows: each holds its number and the hash of the one before. Proofs stand on it.

``h`` = SHA-256 of ``p`` + the row's ``b``; the first ``p`` of an epoch is SHA-256 of the epoch's name. A process has a chain for the
rows of reads and one for those of writes, each with a number sequence of its own from 1. An epoch ends when the writer cannot
tell any more what was stored.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from typing import Any

from fhir_dmp.store.change import Event


class Chain:
    """Gives rows their place; ``advance`` makes it final once they are stored."""

    def __init__(self, writer: str) -> None:
        self.writer = writer
        self._begin()

    def _begin(self) -> None:
        self.epoch = secrets.token_hex(6)
        self._number = 0
        self._last = hashlib.sha256(f"{self.writer}/{self.epoch}".encode()).digest()

    def rows(self, events: Sequence[Event]) -> list[dict[str, Any]]:
        """Return the events as rows that follow on the last stored one; calling it again gives the same places."""
        number, last = self._number, self._last
        rows = []
        for event in events:
            number += 1
            digest = hashlib.sha256(last + event.body).digest()
            rows.append(
                {
                    "_id": event.id,
                    "rec": event.recorded,
                    "b": event.body,
                    **event.index,
                    "w": self.writer,
                    "e": self.epoch,
                    "n": number,
                    "p": last,
                    "h": digest,
                }
            )
            last = digest
        return rows

    def advance(self, rows: Sequence[dict[str, Any]]) -> None:
        """Go on from the last of the rows, which are stored."""
        if rows:
            self._number, self._last = rows[-1]["n"], rows[-1]["h"]

    def break_off(self) -> None:
        """Begin a new epoch: whether the last rows were stored cannot be told."""
        self._begin()

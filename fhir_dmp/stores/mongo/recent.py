"""The rows that this process has made durable lately: who seals takes their leaves from here, and need not read them again."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from bson import Int64

from fhir_dmp.store.chain import MOMENTS, Row

MOST_ROWS = 10_000
MOST_BYTES = 16 * 1024 * 1024
"""What is kept of rows that nobody takes; above it all go, and whoever seals reads them."""

_LONG = 2**31


class RecentRows:
    """``store.ledger.Recent``: keeps nothing until somebody has asked once. For any number of threads."""

    def __init__(self) -> None:
        self._rows: deque[Row] = deque()
        self._bytes = 0
        self._wanted = False

    def add(self, rows: Sequence[Row]) -> None:
        """Keep rows that are stored, as who reads them has them."""
        if not self._wanted:
            return
        self._rows.extend([row if "at" not in row.terms else row._replace(terms=_as_read(row.terms)) for row in rows])
        self._bytes += sum([len(row.body) for row in rows])
        if len(self._rows) > MOST_ROWS or self._bytes > MOST_BYTES:
            self.take()

    def take(self) -> list[Row]:
        """Return the rows that nobody has taken yet, those of an epoch in their order; from the first call on they are kept for the next."""
        self._wanted = True
        taken, self._bytes = [], 0
        while self._rows:
            try:
                taken.append(self._rows.popleft())
            except IndexError:
                break
        return taken


def _as_read(index: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the index as who reads the row has it: a long number comes back as the database's own kind, which entries tell as text."""
    return {
        name: Int64(value) if name in MOMENTS and not -_LONG <= value < _LONG else value
        for name, value in index.items()
    }

"""Readers that wait together share one query, and each is answered by a query that was sent after it began.

One query of a kind is under way at a time. Whoever asks meanwhile waits for the next one, which is sent as soon as that has come
back: by a fibre beside them, or a thread where they are threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from fhir_dmp.fibres import Latch, latch, open_all, own, set_off

K = TypeVar("K")
V = TypeVar("V")


class _Flight(Generic[K, V]):
    """One query to come: who joined, and what it brought."""

    __slots__ = ("error", "found", "keys", "latches")

    def __init__(self) -> None:
        self.keys: set[K] = set()
        self.found: Mapping[K, V] = {}
        self.error: Exception | None = None
        self.latches: list[Latch] = []


class Together(Generic[K, V]):
    """Makes single look-ups out of one ``fetch`` of many keys; ``fetch`` returns those that exist. A flight takes ``most`` keys."""

    def __init__(self, fetch: Callable[[Sequence[K]], Mapping[K, V]], most: int = 1000) -> None:
        self._fetch = fetch
        self._most = most
        self._waiting: list[_Flight[K, V]] = []
        self._flying = False
        self._joining = threading.Lock()

    def find(self, key: K) -> V | None:
        """Return the value of the key, or None; an error of the fetch reaches all who waited for it."""
        return self.find_many((key,)).get(key)

    def find_many(self, keys: Sequence[K]) -> Mapping[K, V]:
        """Return what one flight brought for these keys, and for those of others beside them."""
        landed = latch()
        with self._joining:
            if not self._flying:
                set_off(self._fly)
                self._flying = True
            flight = self._boarding()
            flight.keys.update(keys)
            flight.latches.append(landed)
        landed.acquire()
        if flight.error is not None:
            raise own(flight.error)
        return flight.found

    def _boarding(self) -> _Flight[K, V]:
        """Return the flight that has room."""
        if not self._waiting or len(self._waiting[-1].keys) >= self._most:
            self._waiting.append(_Flight())
        return self._waiting[-1]

    def _fly(self) -> None:
        """Run one flight after the other, until nobody waits."""
        while (flight := self._next()) is not None:
            try:
                flight.found = self._fetch(tuple(flight.keys))
            except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to all who joined
                flight.error = error
            open_all(flight.latches)

    def _next(self) -> _Flight[K, V] | None:
        with self._joining:
            if self._waiting:
                return self._waiting.pop(0)
            self._flying = False
            return None

"""Readers that wait together share one query, and each is answered by a query that was sent after it began.

One query of a kind is under way at a time. Whoever asks meanwhile joins the next one; the first of them sends
it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


def closed_latch() -> threading.Lock:
    """Return a lock that its waiter acquires once somebody releases it: an Event for one, at a fifth of its cost."""
    latch = threading.Lock()
    latch.acquire()
    return latch


class _Flight(Generic[K, V]):
    """One query to come: who joined, and what it brought."""

    __slots__ = ("error", "found", "keys", "latches")

    def __init__(self) -> None:
        self.keys: set[K] = set()
        self.found: Mapping[K, V] = {}
        self.error: Exception | None = None
        self.latches: list[threading.Lock] = []


class Together(Generic[K, V]):
    """Makes single look-ups out of one ``fetch`` of many keys; ``fetch`` returns those that exist."""

    def __init__(self, fetch: Callable[[Sequence[K]], Mapping[K, V]], most: int = 1000) -> None:
        self._fetch = fetch
        self._most = most
        self._next: _Flight[K, V] | None = None
        self._joining = threading.Lock()
        self._flying = threading.Lock()

    def find(self, key: K) -> V | None:
        """Return the value of the key, or None; an error of the fetch reaches all who waited for it."""
        return self.find_many((key,)).get(key)

    def find_many(self, keys: Sequence[K]) -> Mapping[K, V]:
        """Return what one flight brought for these keys, and for those of others beside them."""
        flight, latch = self._join(keys)
        if latch is None:
            self._fly(flight)
        else:
            latch.acquire()
        if flight.error is not None:
            raise flight.error
        return flight.found

    def _join(self, keys: Sequence[K]) -> tuple[_Flight[K, V], threading.Lock | None]:
        """Return the flight, and the latch that opens when it lands; None for who leads it."""
        with self._joining:
            flight = self._next
            if flight is None or len(flight.keys) >= self._most:
                flight = self._next = _Flight()
                flight.keys.update(keys)
                return flight, None
            flight.keys.update(keys)
            flight.latches.append(latch := closed_latch())
            return flight, latch

    def _fly(self, flight: _Flight[K, V]) -> None:
        with self._flying:
            with self._joining:
                if self._next is flight:
                    self._next = None
            try:
                flight.found = self._fetch(tuple(flight.keys))
            except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to all who joined
                flight.error = error
            finally:
                for latch in flight.latches:
                    latch.release()

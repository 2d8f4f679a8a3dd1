"""Who changes the same things one after the other, once somebody was overtaken.

A change that another has overtaken is planned anew, and so are all others that wait for the same resource: without an order each
commit would overtake the rest again, and most would give up. Whoever was overtaken takes a turn: those of this process
come one after the other; those of others are met with pauses that grow.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Self

from fhir_dmp.errors import Conflict, Stale
from fhir_dmp.fibres import Latch, latch, open_all, pause

PATIENCE = 5.0
"""Seconds in which a change is planned anew again and again; what another process overtakes for so long is given up."""

_LONGEST_PAUSE = 0.05


class Turns:
    """The keys that are waited for, each with those who wait, in the order in which they came."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, deque[Latch]] = {}
        self._counting = threading.Lock()

    def wanted(self, keys: Iterable[Hashable]) -> bool:
        """Tell whether somebody waits for one of the keys, or has it."""
        waiting = self._waiting
        return bool(waiting) and any(key in waiting for key in keys)

    @contextmanager
    def taken(self, keys: frozenset[Hashable]) -> Iterator[None]:
        """Have all the keys meanwhile; raise ``Conflict`` if the turn does not come in time.

        Keys are taken in one order by everybody, so that no two wait for each other.
        """
        ends = time.monotonic() + PATIENCE
        places: dict[Hashable, Latch] = {}
        try:
            for key in sorted(keys, key=str):
                places[key] = place = latch()
                if not self._first(key, place) and not place.acquire(timeout=max(ends - time.monotonic(), 0.001)):
                    raise Conflict(
                        "Too many change the same resource at the same time; repeat the request in a moment."
                    )
            yield
        finally:
            for key, place in places.items():
                self._left(key, place)

    def _first(self, key: Hashable, place: Latch) -> bool:
        """Take the place in the key's queue, and tell whether it is the first: all others wait until their latch opens."""
        with self._counting:
            queue = self._waiting.setdefault(key, deque())
            queue.append(place)
            return len(queue) == 1

    def _left(self, key: Hashable, place: Latch) -> None:
        """Leave the queue, from wherever in it; the next one's turn comes with the first one's end."""
        with self._counting:
            queue = self._waiting[key]
            first = queue[0] is place
            queue.remove(place)
            if not queue:
                del self._waiting[key]
            elif first:
                open_all((queue[0],))


class Attempts:
    """The numbers of one call's attempts, from 0; from the second on, what the first was ``about`` is the call's in its turn.

    To be entered: what it has is given back at the end. The attempts end when patience does.
    """

    __slots__ = ("_keys", "_turn", "_turns")

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._turn: ExitStack | None = None
        self._keys: frozenset[Hashable] | None = None

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let the next one have its turn."""
        if self._turn is not None:
            self._turn.close()

    def about(self, keys: Iterable[Hashable]) -> None:
        """Say what this attempt changes; raise ``Stale`` if others wait for that and were first."""
        if self._keys is None:
            self._keys = frozenset(keys)
            if self._turns.wanted(self._keys):
                raise Stale

    def __iter__(self) -> Iterator[int]:
        """Yield each number, after a pause that grows from the third on."""
        ends, attempt = time.monotonic() + PATIENCE, 0
        while attempt == 0 or time.monotonic() < ends:
            yield attempt
            attempt += 1
            if self._keys and self._turn is None:
                self._turn = ExitStack()
                self._turn.enter_context(self._turns.taken(self._keys))
            elif attempt > 1:
                longest = min(0.002 * 2**attempt, _LONGEST_PAUSE)
                pause(random.uniform(0, longest))  # noqa: S311 - to part two processes, not to hide anything

"""Group commit: what waits together flies together, and nobody's fault is another's.

One flight of a kind is under way at a time. Whoever comes meanwhile joins the next one; the first of them leads it. A
member that touches what another member of the flight touches takes a later one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

from fhir_dmp.errors import TooMany, Unavailable, Unrecorded
from fhir_dmp.metrics import LOG_SECONDS, TURNED_AWAY, WAITING
from fhir_dmp.stores.mongo.together import closed_latch

T = TypeVar("T")
MOST_WAITING = 4000
"""Members that wait for flights of one kind; whoever comes then is turned away."""


class Member(Generic[T]):
    """One who waits: what is to be done, what it touches, how heavy it is, and how it ended."""

    __slots__ = ("error", "item", "latch", "result", "touches", "weight")

    def __init__(self, item: T, touches: frozenset[Hashable], weight: int) -> None:
        self.item = item
        self.touches = touches
        self.weight = weight
        self.latch: threading.Lock | None = None
        self.result: Any = None
        self.error: BaseException | None = None


class _Flight(Generic[T]):
    __slots__ = ("members", "touches", "weight")

    def __init__(self) -> None:
        self.members: list[Member[T]] = []
        self.touches: set[Hashable] = set()
        self.weight = 0


class Flights(Generic[T]):
    """Runs ``fly`` on groups of members; ``fly`` sets each member's ``result`` or ``error``.

    ``of`` is what the metrics call them. ``heaviest`` is the weight that one flight carries; a member above it flies alone.
    ``most`` bounds how many wait.
    """

    def __init__(
        self, fly: Callable[[Sequence[Member[T]]], None], *, of: str, heaviest: int, most: int, seconds: float
    ) -> None:
        self._fly = fly
        self._gauge = WAITING.labels(of)
        self._took = LOG_SECONDS.labels(of)
        self._full = TURNED_AWAY.labels(of)
        self._heaviest = heaviest
        self._most = most
        self._seconds = seconds
        self._waiting: list[_Flight[T]] = []
        self._joining = threading.Lock()
        self._flying = threading.Lock()

    def join(self, item: T, touches: frozenset[Hashable] = frozenset(), weight: int = 1) -> Any:
        """Do the item in some flight and return its result; raise its error.

        Raises ``TooMany`` when too many wait, ``Unavailable`` when its turn does not come in time, and ``Unrecorded`` when
        its flight does not land in time: whether it is done cannot be told.
        """
        member = Member(item, touches, weight)
        flight, latch = self._board(member)
        if latch is None:
            self._lead(flight)
        elif not latch.acquire(timeout=self._seconds * 2):
            raise Unrecorded("The database is too slow to make this durable in time.")
        if member.error is not None:
            raise member.error
        return member.result

    def _board(self, member: Member[T]) -> tuple[_Flight[T], threading.Lock | None]:
        """Return the member's flight, and the latch that opens when it lands; None for who leads it."""
        with self._joining:
            if sum(len(flight.members) for flight in self._waiting) >= self._most:
                self._full.inc()
                raise TooMany("The server is busy; try again in a moment.", headers=(("Retry-After", "1"),))
            flight = self._seat(member)
            if flight is None:
                flight = _Flight()
                self._waiting.append(flight)
            else:
                member.latch = closed_latch()
            flight.members.append(member)
            flight.touches |= member.touches
            flight.weight += member.weight
            return flight, member.latch

    def _seat(self, member: Member[T]) -> _Flight[T] | None:
        """Return a flight that has room, and comes after every flight that touches the same."""
        last = next(
            (place for place in range(len(self._waiting) - 1, -1, -1) if self._waiting[place].touches & member.touches),
            -1,
        )
        for flight in self._waiting[last + 1 :]:
            if flight.weight + member.weight <= self._heaviest:
                return flight
        return None

    def _lead(self, flight: _Flight[T]) -> None:
        in_time = self._flying.acquire(timeout=self._seconds)
        try:
            with self._joining:
                self._waiting.remove(flight)
                self._gauge.set(sum(len(each.members) for each in self._waiting))
            if not in_time:
                raise Unavailable("The database is too slow to make this durable in time.")  # noqa: TRY301 - told to all members, as any fault is
            with self._took.time():
                self._fly(flight.members)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to those who have no answer yet
            for member in flight.members:
                if member.result is None and member.error is None:
                    member.error = error
        finally:
            if in_time:
                self._flying.release()
            for member in flight.members:
                if member.latch is not None:
                    member.latch.release()

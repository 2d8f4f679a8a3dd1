"""Group commit: what waits together flies together, and nobody's fault is another's.

One flight of a kind is under way at a time. Whoever comes meanwhile joins the next one, which leaves when that has landed and most
of the calls that are under way are on board, or have had a moment to be. A member that touches what another member of the
flight touches takes a later one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

from fhir_dmp.errors import TooMany, Unavailable, Unrecorded
from fhir_dmp.fibres import Fibre, Latch, latch, open_all, own, set_off
from fhir_dmp.metrics import LOG_SECONDS, TURNED_AWAY, WAITING

T = TypeVar("T")
MOST_WAITING = 4000
"""Members that wait for flights of one kind; whoever comes then is turned away."""

HOLD_SECONDS = 0.02
"""How long a flight waits for others, at most.

A group costs the database 0.65 ms and 0.014 more for each row of its block (measured), so a row of seven costs more than twice what one
of twenty-two does. Under 64 callers, each row a document of its own then, audited reads rose from 2,500/s to 3,000 and more by it, and
their median fell from 24 to 20 ms. Of three pairs that were tried in turns (10 ms and two thirds, 15 and 0.72, this one), each gained
a tenth on the one before. Other parts, of 0.5, 0.6 and 0.92, gained nothing on it. A caller who is alone waits for nobody.
"""

_MOST = 0.8
"""The part of the fibres under way that is enough, of those that have no seat in flights of another kind: the rest are on the way to
their answers."""

_FEW = 2
"""Members of two flights that follow each other between whom nobody is waited for: whoever else is under way is slow."""

_TOO_SLOW = "The database is too slow to make this durable in time."
_OVER = "The server is ending."


class Member(Generic[T]):
    """One who waits: what is to be done, what it touches, how heavy it is, and how it ended."""

    __slots__ = ("error", "item", "landed", "result", "touches", "weight")

    def __init__(self, item: T, touches: frozenset[Hashable], weight: int) -> None:
        self.item = item
        self.touches = touches
        self.weight = weight
        self.landed = latch()
        self.result: Any = None
        self.error: BaseException | None = None


class _Flight(Generic[T]):
    __slots__ = ("began", "members", "touches", "weight")

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.members: list[Member[T]] = []
        self.touches: set[Hashable] = set()
        self.weight = 0


class Flights(Generic[T]):
    """Runs ``fly`` on groups of members; ``fly`` sets each member's ``result`` or ``error``.

    ``of`` is what the metrics call them. ``heaviest`` is the weight that one flight carries; a member above it flies alone.
    ``most`` bounds how many wait. ``beside`` are all kinds of flights of the process, this one among them once it is made: who has a seat
    in one is not on the way to another. ``takes_off`` has flights flown beside who joins: by a thread, if ``fly`` waits for what fibres cannot.
    """

    def __init__(
        self,
        fly: Callable[[Sequence[Member[T]]], None],
        *,
        of: str,
        heaviest: int,
        most: int,
        seconds: float,
        beside: list[Flights[Any]],
        takes_off: Callable[[Callable[[], None]], None] = set_off,
    ) -> None:
        self._fly = fly
        self._takes_off = takes_off
        self._beside = beside
        self._gauge = WAITING.labels(of)
        self._took = LOG_SECONDS.labels(of)
        self._full = TURNED_AWAY.labels(of)
        self._heaviest = heaviest
        self._most = most
        self._seconds = seconds
        self._waiting: list[_Flight[T]] = []
        self._joining = threading.Condition(threading.Lock())
        self._flying = False
        self._closed = False
        self._held: Latch | None = None
        """What the next flight is held by, until enough are on board."""
        self._lately = 0
        """Members of the last flight."""
        self._aboard = self._told = 0
        """Members that wait for a flight, and how many the metrics tell of."""
        self.seated = 0
        """Members that have a seat, and have not landed."""
        beside.append(self)

    def join(self, item: T, touches: frozenset[Hashable] = frozenset(), weight: int = 1) -> Any:
        """Do the item in some flight and return its result; raise its error.

        Raises ``TooMany`` when too many wait, ``Unavailable`` when its turn does not come in time or never will, and ``Unrecorded`` when
        its flight does not land in time: whether it is done cannot be told.
        """
        member = Member(item, touches, weight)
        self._board(member)
        for each in self._beside:
            each.look_again()
        if not member.landed.acquire(timeout=self._seconds) and not member.landed.acquire(timeout=self._late(member)):
            raise Unrecorded(_TOO_SLOW)
        if member.error is not None:
            raise own(member.error)
        return member.result

    def close(self, seconds: float) -> bool:
        """Take nobody more; tell whether all have landed, which is waited for so long."""
        with self._joining:
            self._closed = True
            return self._joining.wait_for(lambda: not self._flying, seconds)

    def _late(self, member: Member[T]) -> float:
        """Return how long to wait for a flight that is under way; raise ``Unavailable`` for who still waits for theirs."""
        with self._joining:
            for flight in self._waiting:
                if member in flight.members:
                    flight.members.remove(member)
                    flight.weight -= member.weight
                    self._aboard -= 1
                    self.seated -= 1
                    raise Unavailable(_TOO_SLOW)
        return self._seconds

    def _board(self, member: Member[T]) -> None:
        """Seat the member, once it is sure that somebody flies."""
        with self._joining:
            if self._closed:
                raise Unavailable(_OVER)
            if self._aboard >= self._most:
                self._full.inc()
                raise TooMany("The server is busy; try again in a moment.", headers=(("Retry-After", "1"),))
            if not self._flying:
                self._takes_off(self._fly_each)
                self._flying = True
            flight = self._seat(member)
            if flight is None:
                flight = _Flight()
                self._waiting.append(flight)
            flight.members.append(member)
            flight.touches |= member.touches
            flight.weight += member.weight
            self._aboard += 1
            self.seated += 1

    def look_again(self) -> None:
        """See whether a flight that waits for others may leave, now that somebody has a seat."""
        held = self._held
        if held is None:
            return
        with self._joining:
            if self._held is not held or not self._enough():
                return
            self._held = None
        open_all((held,))

    def _seat(self, member: Member[T]) -> _Flight[T] | None:
        """Return a flight that has room, and comes after every flight that touches the same."""
        after = len(self._waiting) if member.touches else 0
        while after and not self._waiting[after - 1].touches & member.touches:
            after -= 1
        for flight in self._waiting[after:]:
            if flight.weight + member.weight <= self._heaviest:
                return flight
        return None

    def _fly_each(self) -> None:
        """Run one flight after the other, until nobody waits."""
        while (flight := self._next()) is not None:
            try:
                if time.monotonic() - flight.began > self._seconds:
                    raise Unavailable(_TOO_SLOW)  # noqa: TRY301 - told to all members, as any fault is
                with self._took.time():
                    self._fly(flight.members)
            except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to those who have no answer yet
                _settle(flight.members, error)
            _settle(flight.members, Unrecorded(_TOO_SLOW))
            with self._joining:
                self.seated -= len(flight.members)
            open_all([member.landed for member in flight.members])

    def _next(self) -> _Flight[T] | None:
        self._wait_for_others()
        with self._joining:
            self._held = None
            while self._waiting:
                flight = self._waiting.pop(0)
                self._aboard -= len(flight.members)
                self._tell_waiting()
                if flight.members:
                    self._lately = len(flight.members)
                    return flight
            self._flying = False
            self._joining.notify_all()
            return None

    def _tell_waiting(self) -> None:
        """Tell how many wait, if that is not known: it lies in a file, and is nobody most often."""
        if self._told != self._aboard:
            self._told = self._aboard
            self._gauge.set(self._told)

    def _wait_for_others(self) -> None:
        with self._joining:
            if self._enough():
                return
            held = self._held = latch()
        held.acquire(timeout=HOLD_SECONDS)

    def _enough(self) -> bool:
        """Tell whether the next flight need not wait for others: it may be full already, too."""
        if len(self._waiting) != 1:
            return True
        aboard = len(self._waiting[0].members)
        elsewhere = sum(each.seated for each in self._beside if each is not self)
        return aboard + self._lately <= _FEW or aboard >= (Fibre.under_way - elsewhere) * _MOST


def _settle(members: Sequence[Member[T]], error: BaseException) -> None:
    """Give the error to those who have no answer: nobody goes on without one."""
    for member in members:
        if member.result is None and member.error is None:
            member.error = error

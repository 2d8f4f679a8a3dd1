"""Time and ids as arguments, so that a test can hold them still."""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Protocol

SECOND = 1_000_000
"""Microseconds, by which moments are told here, since 1970, and spans of time where nothing else is said."""

DAY = 86_400 * SECOND


class Clock(Protocol):
    """What time it is."""

    def now(self) -> datetime:
        """Return the present instant in UTC."""
        ...

    def micros(self) -> int:
        """Return microseconds since 1970-01-01T00:00:00Z."""
        ...


class Ids(Protocol):
    """Ids that nobody has had before."""

    def new(self) -> str:
        """Return a new FHIR id: lower-case UUID version 7, so that later ids sort later."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        """Return the present instant in UTC."""
        return datetime.now(UTC)

    def micros(self) -> int:
        """Return microseconds since the Unix epoch."""
        return time.time_ns() // 1000


_CHANCE_BYTES = 10
_DRAWN_AT_ONCE = 256
_chances: list[bytes] = []
"""Random bytes for the next ids: to ask the system for each id's costs more than all else of it, and lets the interpreter go."""

os.register_at_fork(after_in_child=_chances.clear)  # who has the same bytes would make the same ids


def _chance() -> int:
    try:
        return int.from_bytes(_chances.pop(), "big")
    except IndexError:
        drawn = os.urandom(_CHANCE_BYTES * _DRAWN_AT_ONCE)
        parts = [drawn[at : at + _CHANCE_BYTES] for at in range(0, len(drawn), _CHANCE_BYTES)]
        own = parts.pop()
        _chances.extend(parts)
        return int.from_bytes(own, "big")


_VERSION = (0x7 << 76) | (0b10 << 62)
_CHANCE = (1 << 80) - 1 & ~((0xF << 76) | (0b11 << 62))


class RandomIds:
    """UUID version 7 (RFC 9562, 5.7): 48 bits of milliseconds, 74 random bits."""

    def new(self) -> str:
        """Return a new id."""
        value = (time.time_ns() // 1_000_000 << 80) | (_chance() & _CHANCE) | _VERSION
        text = f"{value:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class FixedClock:
    """A clock that moves only when told, for tests."""

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """Return the instant that was set."""
        return self._now

    def micros(self) -> int:
        """Return the instant that was set, in microseconds."""
        return micros_of(self._now)

    def set(self, instant: datetime) -> None:
        """Move to ``instant``."""
        with self._lock:
            self._now = instant


_EPOCH = datetime.fromtimestamp(0, UTC)


def micros_of(at: datetime) -> int:
    """Return microseconds since the Unix epoch."""
    return (at - _EPOCH) // timedelta(microseconds=1)


_FIRST, _LAST = micros_of(datetime.min.replace(tzinfo=UTC)), micros_of(datetime.max.replace(tzinfo=UTC))
"""What a calendar of four digits for the year can tell: the end of its last day, as a Consent may have it, is beyond."""


def datetime_of(micros: int) -> datetime:
    """Return the instant that is so many microseconds after the Unix epoch; the first or last of the calendar for any beyond."""
    return _EPOCH + timedelta(microseconds=min(max(micros, _FIRST), _LAST))


_LATEST = 16**13 - 1
"""In the year 2112."""


def moment(micros: int) -> str:
    """Return a moment as the order of commits tells it: thirteen hexadecimal digits, which sort as what they say.

    What is before 1970 or after what thirteen digits hold stands at that end.
    """
    return f"{min(max(micros, 0), _LATEST):013x}"


def instant(micros: int) -> str:
    """Return a FHIR instant of fixed width, in UTC with microseconds. https://hl7.org/fhir/R4/datatypes.html#instant."""
    seconds, rest = divmod(micros, SECOND)
    return f"{_second(seconds)}.{rest:06d}Z"


@lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))

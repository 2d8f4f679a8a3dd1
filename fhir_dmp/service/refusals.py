"""Refusals that are counted: one event for each minute and address tells how many there were that left none of their own.

Nobody may fill the log or delay a reader by asking without a token: each refusal of a stranger leaves its event, a flood of them this one.
Nor may somebody be turned away for want of room without a word in the log.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Literal

import structlog
from msgspec import Struct
from msgspec.structs import replace

from fhir_dmp.call import Call, Context, Env
from fhir_dmp.clock import SECOND, instant
from fhir_dmp.errors import Crowded, FhirError, TooMany, Unavailable
from fhir_dmp.service.perform import turn_away

WINDOW_MICROS = 60 * SECOND
MOST_ADDRESSES = 10_000
"""Addresses that are counted each for itself; those that come beside them are counted together."""

LOOK_SECONDS = 1.0
"""How often a server looks whose minute is over."""

TELL_SECONDS = 1.0
"""How long it tells at a look, and at its end, address by address."""

Kind = Literal["flood", "busy"]
_KINDS: Mapping[Kind, tuple[type[FhirError], str]] = {
    "flood": (TooMany, "further refused requests"),
    "busy": (Unavailable, "requests turned away because the server was busy"),
}
_log = structlog.get_logger(__name__)


class _Window(Struct):
    """What one address was refused: ``refused`` within the minute that ``ends``, ``untold`` since it ``began``."""

    context: Context
    began: int
    ends: int
    refused: int = 0
    untold: int = 0


_Windows = Mapping[tuple[Kind, str], _Window]


class Refusals:
    """Turns callers away; ``per_minute`` refusals of unknown callers from one address are told one by one.

    A server tells what it counted by calling ``tell`` every ``LOOK_SECONDS``, and ``close`` at its end.
    """

    def __init__(self, env: Env, per_minute: int) -> None:
        self._env = env
        self._per_minute = per_minute
        self._windows: dict[tuple[Kind, str], _Window] = {}
        self._lock = threading.Lock()

    def turn_away(self, call: Call, error: FhirError, context: Context) -> FhirError:
        """Make the refusal durable and return the error to answer with: ``TooMany`` within a flood."""
        try:
            self.admit(context)
        except TooMany as flood:
            return flood
        try:
            turn_away(call, error, context, self._env)
        except Crowded as full:
            self.note(full, context)
            raise
        return error

    def admit(self, context: Context) -> None:
        """Count a refused request of an unknown caller; raise ``TooMany`` if its own event would be one too many."""
        if context.subject is None and self._count("flood", context, self._per_minute) > self._per_minute:
            wait = (("Retry-After", "60"),)
            raise TooMany("Too many refused requests from this address; wait a minute.", headers=wait)

    def count_busy(self, context: Context) -> None:
        """Count a request that there was no room for; nothing is waited for, so that it costs nothing more."""
        self._count("busy", context, 0)

    def note(self, error: FhirError, context: Context) -> None:
        """Count a request whose own event there was no room for, if that is what the error says."""
        if isinstance(error, Crowded):
            self.count_busy(context)

    def tell(self) -> None:
        """Make durable what was counted in minutes that are over; raise ``Unavailable`` if that cannot be: it is told later.

        What there is no time for is told at the next look: who ends the server must not have to wait for a flood of many addresses.
        """
        self._keep(self._told(self._due(self._env.clock.micros())))

    def close(self) -> None:
        """Make durable what was counted at all: what there is no time to tell by its address is told together.

        What the log does not take is lost, and said to be.
        """
        try:
            rest = self._told(self._due(None))
            for kind in _KINDS:
                self._tell_together(kind, [window for key, window in rest.items() if key[0] == kind])
        except FhirError as fault:
            lost = sum(window.untold for window in self._windows.values())
            _log.error("refusals-untold", refused=lost, reason=str(fault))

    def _count(self, kind: Kind, context: Context, freely: int) -> int:
        """Return how many it is within the minute, of which ``freely`` have events of their own."""
        now = self._env.clock.micros()
        with self._lock:
            window = self._window(kind, context, now)
            if window.ends <= now:
                window.refused, window.ends = 0, now + WINDOW_MICROS
            window.refused += 1
            window.untold += window.refused > freely
            return window.refused

    def _window(self, kind: Kind, context: Context, now: int) -> _Window:
        found = self._windows.get((kind, context.address))
        if found is None and len(self._windows) >= MOST_ADDRESSES:
            context = replace(context, address="")
        return self._windows.setdefault((kind, context.address), _Window(context, now, now + WINDOW_MICROS))

    def _due(self, now: int | None) -> _Windows:
        """Take what was counted for a minute or longer at a moment, or all, the most first: a flood that goes on is told in its midst."""
        with self._lock:
            due = [key for key, window in self._windows.items() if now is None or window.began + WINDOW_MICROS <= now]
            windows = {key: self._windows.pop(key) for key in due}
            for key, window in windows.items():
                if now is not None and window.ends > now:
                    self._windows[key] = replace(window, began=now, untold=0)
        counted = sorted(windows.items(), key=lambda each: -each[1].untold)
        return {key: window for key, window in counted if window.untold}

    def _told(self, windows: _Windows) -> _Windows:
        """Tell them one by one, and return those that there was no time for."""
        rest, ends = {**windows}, time.monotonic() + TELL_SECONDS
        for key, window in windows.items():
            if time.monotonic() >= ends:
                break
            try:
                self._tell(key[0], window.untold, "", window.began, window.context)
            except FhirError:
                self._keep(rest)
                raise
            del rest[key]
        return rest

    def _tell_together(self, kind: Kind, windows: Sequence[_Window]) -> None:
        """Tell in one event what was counted for many addresses."""
        if not windows:
            return
        whose = f" from {len(windows)} other addresses"
        began, total = min(window.began for window in windows), sum(window.untold for window in windows)
        try:
            self._tell(kind, total, whose, began, replace(windows[0].context, address=""))
        except FhirError:
            self._keep({(kind, window.context.address): window for window in windows})
            raise

    def _tell(self, kind: Kind, number: int, whose: str, began: int, context: Context) -> None:
        error, words = _KINDS[kind]
        reason = f"{number} {words}{whose} since {instant(began)}"
        turn_away(Call(kind), error("Turned away.", reasons=(reason,)), context, self._env)

    def _keep(self, windows: _Windows) -> None:
        """Count on from what could not be told."""
        with self._lock:
            for key, window in windows.items():
                newer = self._windows.setdefault(key, window)
                if newer is not window:
                    newer.untold += window.untold
                    newer.began = window.began

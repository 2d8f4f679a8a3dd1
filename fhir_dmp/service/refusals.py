"""Refusals of strangers: each leaves its event, and a flood of them leaves one for each minute and address.

Nobody may fill the log or delay a reader by asking without a token.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from fhir_dmp.call import Call, Context, Env
from fhir_dmp.errors import FhirError, TooMany
from fhir_dmp.service.perform import turn_away

WINDOW_MICROS = 60_000_000
MOST_ADDRESSES = 10_000


@dataclass(slots=True)
class _Window:
    ends: int
    refused: int = 0
    context: Context | None = None


class Refusals:
    """Turns callers away; ``per_minute`` refusals of unknown callers from one address are told one by one."""

    def __init__(self, env: Env, per_minute: int) -> None:
        self._env = env
        self._per_minute = per_minute
        self._windows: dict[str, _Window] = {}
        self._lock = threading.Lock()

    def turn_away(self, call: Call, error: FhirError, context: Context) -> FhirError:
        """Make the refusal durable and return the error to answer with: ``TooMany`` within a flood."""
        try:
            self.admit(context)
        except TooMany as flood:
            return flood
        turn_away(call, error, context, self._env)
        return error

    def admit(self, context: Context) -> None:
        """Count a refused request of an unknown caller; raise ``TooMany`` if its own event would be one too many."""
        if context.subject is not None:
            return
        refused, ended = self._count(context)
        for window in ended:
            self._tell(window)
        if refused > self._per_minute:
            wait = (("Retry-After", "60"),)
            raise TooMany("Too many refused requests from this address; wait a minute.", headers=wait)

    def _count(self, context: Context) -> tuple[int, list[_Window]]:
        now = self._env.clock.micros()
        with self._lock:
            ended = self._end(now)
            window = self._windows.setdefault(context.address, _Window(now + WINDOW_MICROS))
            window.refused += 1
            window.context = context
            return window.refused, ended

    def _end(self, now: int) -> list[_Window]:
        ended = [address for address, window in self._windows.items() if window.ends <= now]
        crowd = [] if len(self._windows) - len(ended) < MOST_ADDRESSES else [next(iter(self._windows))]
        return [self._windows.pop(address) for address in dict.fromkeys(ended + crowd)]

    def _tell(self, window: _Window) -> None:
        untold = window.refused - self._per_minute
        if untold > 0 and window.context is not None:
            reason = f"{untold} further refused requests from this address within a minute"
            turn_away(
                Call("flood"),
                TooMany("Too many refused requests.", reasons=(reason,)),
                window.context,
                self._env,
            )

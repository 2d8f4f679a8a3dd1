"""What a worker does again and again beside its requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from fhir_dmp.errors import FhirError
from fhir_dmp.stopping import THREADS_SECONDS

_log = structlog.get_logger(__name__)


class Repeated:
    """Does something every so many seconds, in a thread, until it is stopped; what fails is told once and tried again.

    ``foreseen`` are the faults whose words say enough.
    """

    def __init__(
        self,
        name: str,
        act: Callable[[], object],
        seconds: float,
        foreseen: tuple[type[Exception], ...] = (FhirError,),
    ) -> None:
        self._name = name
        self._act = act
        self._seconds = seconds
        self._foreseen = foreseen
        self._stopping = threading.Event()
        self._told: str | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no more; what is under way goes on."""
        self._stopping.set()

    def wait(self, seconds: float) -> None:
        """Wait so long for what is under way, at most."""
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            self._told = self._tried()

    def _tried(self) -> str | None:
        """Do it; return what went wrong, told if it is not what went wrong before."""
        try:
            self._act()
        except self._foreseen as fault:
            wrong = str(fault)
        except Exception as fault:  # noqa: BLE001 - one that ended would leave its work undone in silence
            wrong = type(fault).__qualname__
            if wrong != self._told:
                _log.exception("repeated-failed", what=self._name)
            return wrong
        else:
            return None
        if wrong != self._told:
            _log.error("not-done", what=self._name, reason=wrong)
        return wrong


@contextmanager
def repeating(*acts: Repeated) -> Iterator[None]:
    """Do these meanwhile; at the end none begins any more, and what is under way of them is waited for a while, all together."""
    for each in acts:
        each.start()
    try:
        yield
    finally:
        for each in acts:
            each.stop()
        ends = time.monotonic() + THREADS_SECONDS
        for each in acts:
            each.wait(max(ends - time.monotonic(), 0))

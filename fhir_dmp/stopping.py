"""How a server stops: what comes one after the other, in seconds from the signal, and adds up.

Who stops a container kills it after ten. Until then a worker is let to end by itself, and the embedded database after it; killed sooner,
that recovers from its journal.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import structlog

LINGER_SECONDS = 3.0
"""First, connections are left to take their answers."""

GRACE_SECONDS = 1.5
"""In that time, what is on the way of a body is waited for: what was sent whole must not be answered as if its sender were wrong."""

ANSWER_SECONDS = 1.5
"""Then, calls that are under way may go on: the database may be slow, or away."""

CLOSE_SECONDS = 2.0
"""Then a worker writes down what it has counted, lets another seal the log, and lets go of the database."""

THREADS_SECONDS = 0.7
"""In that time, what the threads beside the calls are about is waited for, twice: of those that write, and of those that seal and are
witnessed outside."""

LANDING_SECONDS = 0.2
"""In that time, rows that are on their way to the log are waited for before its last one is told, twice: of reads and of writes."""

WORKER_SECONDS = math.ceil(LINGER_SECONDS + ANSWER_SECONDS + CLOSE_SECONDS)
"""A worker that has not ended by then is killed."""

_log = structlog.get_logger(__name__)


def in_time(close: Callable[[], None]) -> Callable[[], None]:
    """Return what closes, and waits no longer for it than it may take.

    A thread stands by for that: none can be started any more once the interpreter ends.
    """
    asked = threading.Event()

    def closing() -> None:
        asked.wait()
        close()

    thread = threading.Thread(target=closing, name="close", daemon=True)
    thread.start()

    def closed() -> None:
        asked.set()
        thread.join(CLOSE_SECONDS)
        if thread.is_alive():
            _log.error("not-closed", seconds=CLOSE_SECONDS)

    return closed

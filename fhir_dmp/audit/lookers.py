"""Processes that look through windows of leaves side by side: hashing and reading of rows is all work of one core at a time."""

from __future__ import annotations

import gc
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from threading import Thread

from fhir_dmp.audit import look
from fhir_dmp.audit.look import Looked, Looking, Seen, Window, here
from fhir_dmp.errors import Unavailable

MOST = 8
"""Processes; beyond these the database is what is waited for."""

AHEAD = 2
"""Windows that each process has been given; what they keep in memory is one each."""


@contextmanager
def lookers(count: int | None = None) -> Iterator[Looking]:
    """Yield what looks through windows, with so many processes: one for each core, if nobody says how many.

    The processes are copies of one that has no threads, and not of whoever asks: a copy of one that has may wait for ever for a lock that
    a thread held.
    """
    count = count or min(_cores(), MOST)
    if count == 1:
        yield here
        return
    context = get_context("forkserver")
    context.set_forkserver_preload([look.__name__])
    with ProcessPoolExecutor(count, context, _begin) as pool:
        pool.submit(os.getpid).result()
        yield _Lookers(pool, count * AHEAD)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Lookers:
    """Gives windows to the processes, which look through what they were given even if nobody asks on.

    A pool whose last work is taken back may never end: once in 10 to 300 times, with Python 3.11.2.
    """

    def __init__(self, pool: ProcessPoolExecutor, ahead: int) -> None:
        self._pool = pool
        self._ahead = ahead

    def __call__(self, windows: Iterable[Window]) -> Iterator[Looked]:
        waiting: deque[tuple[Window, Future[Seen | None]]] = deque()
        try:
            for window in windows:
                waiting.append((window, self._pool.submit(_look, window)))
                if len(waiting) > self._ahead:
                    yield _next(waiting)
            while waiting:
                yield _next(waiting)
        except BrokenProcessPool:
            raise Unavailable("A process that verified was killed: is there too little memory?") from None


def _next(waiting: deque[tuple[Window, Future[Seen | None]]]) -> Looked:
    window, seen = waiting.popleft()
    return window, seen.result()


def _begin() -> None:
    """Count no garbage within a window: there is none, and looking for it among a window's rows takes longer than the rows."""
    gc.freeze()
    gc.disable()
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End when the command does, however that was: a copy that waits for windows would wait for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _look(window: Window) -> Seen | None:
    try:
        return window.look()
    finally:
        gc.collect(0)

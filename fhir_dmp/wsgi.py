"""The entry point of a worker: settings from the environment, one application, nothing at import."""

from __future__ import annotations

import atexit
import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar

from flask import Flask

from fhir_dmp.app.database import DatabaseError
from fhir_dmp.app.sealing import sealing
from fhir_dmp.app.web import create_app
from fhir_dmp.errors import Unavailable
from fhir_dmp.http.rsgi import Front
from fhir_dmp.service import emergency_ends
from fhir_dmp.service.counting import counts_written
from fhir_dmp.service.refusals import LOOK_SECONDS
from fhir_dmp.service.repeated import Repeated, repeating
from fhir_dmp.settings import Settings
from fhir_dmp.stopping import ANSWER_SECONDS, LINGER_SECONDS, in_time

T = TypeVar("T")

SWITCH_SECONDS = 0.01
"""How long a thread may hold the interpreter: whoever leads a group commit is waited for by all the others."""

COLLECT_AFTER = 50_000
"""Objects made before the collector looks for cycles: requests leave few, and its walks were a twelfth of a read's time."""


PATIENCE_SECONDS = 60.0
"""How long a new worker waits for a database that is away: one that gave up at once would end the whole server."""

PAUSE_SECONDS = 0.2


def create() -> Flask:
    """Return the application of this worker process."""
    return _create()[0]


def create_front() -> Worker:
    """Return the RSGI application of this worker process: the same, with its plain calls on the event loop."""
    app, close = _create()
    return Worker(app.extensions["fhir_dmp.front"], close)


def _create() -> tuple[Flask, Callable[[], None]]:
    """Return the application, and what lets go of all that it stands on."""
    threading.Thread(target=_end_with_the_server, name="end-with-the-server", daemon=True).start()
    sys.setswitchinterval(SWITCH_SECONDS)
    settings = Settings.from_env()
    app = _patiently(lambda: create_app(settings))
    server = app.extensions["fhir_dmp"]
    ends = ExitStack()
    ends.enter_context(counts_written())  # the last to end: what closes counts too
    ends.callback(server.close)
    _patiently(lambda: ends.enter_context(sealing(settings, server.store.recent)))
    telling = repeating(
        Repeated("refusals", server.refusals.tell, LOOK_SECONDS),
        Repeated("emergencies", server.emergencies.tell, emergency_ends.LOOK_SECONDS),
    )
    ends.enter_context(telling)
    close = in_time(ends.close)
    atexit.register(close)
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 20, 20)
    return app, close


class Worker:
    """The front of a worker that ends in order when it is told to stop, whoever has sent it half of something.

    Granian takes no more connections then, closes idle ones, and waits for the others until it kills the worker.
    """

    def __init__(self, front: Front, close: Callable[[], None]) -> None:
        self.__rsgi__ = front.__rsgi__
        self._front = front
        self._close = close

    def __rsgi_init__(self, loop: AbstractEventLoop) -> None:
        """Hear of the stop too: the loop is told of signals by a descriptor, whatever handler they have beside it."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(self._stop, loop))
            signal.siginterrupt(number, False)  # noqa: FBT003 - it takes no names

    def _stop(self, loop: AbstractEventLoop) -> None:
        self._front.wait_no_longer()
        loop.call_later(LINGER_SECONDS, self._end, loop, loop.time() + LINGER_SECONDS + ANSWER_SECONDS)

    def _end(self, loop: AbstractEventLoop, latest: float) -> None:
        """End the process once nothing is under way: what is still open are halves of requests, and readers that are too slow.

        The loop goes on meanwhile: rows that are on their way to the log land by it.
        """
        if self._front.under_way and loop.time() < latest:
            loop.call_later(PAUSE_SECONDS, self._end, loop, latest)
            return
        self._front.take_no_more()
        try:
            loop.run_in_executor(None, self._close).add_done_callback(lambda _: os._exit(0))
        except RuntimeError:  # no thread is to be had
            self._close()
            os._exit(0)


def _patiently(make: Callable[[], T]) -> T:
    """Return what is made, as soon as the database answers; raise what it says if it does not in time."""
    ends = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return make()
        except (DatabaseError, Unavailable):
            if time.monotonic() > ends:
                raise
            time.sleep(PAUSE_SECONDS)


def _end_with_the_server() -> None:
    """End this worker when the process that made it is gone: killed, it cannot say so, and orphans would keep its port."""
    server = multiprocessing.parent_process()
    if server is not None:
        server.join()
        os._exit(1)

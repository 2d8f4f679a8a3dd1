"""The entry point of a worker: settings from the environment, one application, nothing at import."""

from __future__ import annotations

import atexit
import gc
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar

from flask import Flask

from fhir_dmp.app.database import DatabaseError
from fhir_dmp.app.sealing import sealing
from fhir_dmp.app.web import create_app
from fhir_dmp.errors import Unavailable
from fhir_dmp.http.rsgi import Front
from fhir_dmp.service.refusals import LOOK_SECONDS
from fhir_dmp.service.repeated import Repeated
from fhir_dmp.settings import Settings

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
    threading.Thread(target=_end_with_the_server, name="end-with-the-server", daemon=True).start()
    sys.setswitchinterval(SWITCH_SECONDS)
    settings = Settings.from_env()
    app = _patiently(lambda: create_app(settings))
    server = app.extensions["fhir_dmp"]
    ends = ExitStack()
    ends.callback(server.close)
    _patiently(lambda: ends.enter_context(sealing(settings)))
    counting = Repeated("refusals", server.refusals.tell, LOOK_SECONDS)
    counting.start()
    ends.callback(counting.stop)
    atexit.register(ends.close)
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 20, 20)
    return app


def create_front() -> Front:
    """Return the RSGI application of this worker process: the same, with its plain calls on the event loop."""
    front: Front = create().extensions["fhir_dmp.front"]
    return front


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

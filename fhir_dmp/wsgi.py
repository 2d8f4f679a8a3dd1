"""The entry point of a worker: settings from the environment, one application, nothing at import."""

from __future__ import annotations

import atexit
import gc
import sys
from contextlib import ExitStack

from flask import Flask

from fhir_dmp.app import create_app, sealing
from fhir_dmp.settings import Settings

SWITCH_SECONDS = 0.0005
"""How long a thread may hold the interpreter: whoever leads a group commit is waited for by all the others."""

COLLECT_AFTER = 50_000
"""Objects made before the collector looks for cycles: requests leave few, and its walks were a twelfth of a read's time."""


def create() -> Flask:
    """Return the application of this worker process."""
    sys.setswitchinterval(SWITCH_SECONDS)
    settings = Settings.from_env()
    app = create_app(settings)
    server = app.extensions["fhir_dmp"]
    ends = ExitStack()
    ends.callback(server.close)
    ends.enter_context(sealing(settings))
    atexit.register(ends.close)
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 20, 20)
    return app

"""The entry point of a worker: settings from the environment, one application, nothing at import."""

from __future__ import annotations

import sys

from flask import Flask

from fhir_dmp.app import create_app
from fhir_dmp.settings import Settings

SWITCH_SECONDS = 0.0005
"""How long a thread may hold the interpreter: whoever leads a group commit is waited for by all the others."""


def create() -> Flask:
    """Return the application of this worker process."""
    sys.setswitchinterval(SWITCH_SECONDS)
    return create_app(Settings.from_env())

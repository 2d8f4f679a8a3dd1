"""The entry point of a worker: settings from the environment, one application, nothing at import."""

from __future__ import annotations

from flask import Flask

from fhir_dmp.app import create_app
from fhir_dmp.settings import Settings


def create() -> Flask:
    """Return the application of this worker process."""
    return create_app(Settings.from_env())

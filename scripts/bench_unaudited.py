"""The server as it would be without evidence of reads: what the log costs is the difference. Only the benchmark can build it."""

from __future__ import annotations

from flask import Flask

from fhir_dmp.wsgi import create as create_audited


def create() -> Flask:
    """Return the application whose store forgets the events of reads."""
    app = create_audited()
    app.extensions["fhir_dmp"].store.record = lambda _: None
    return app

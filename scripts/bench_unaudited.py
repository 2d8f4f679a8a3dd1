"""The server as it would be without evidence of reads: what the log costs is the difference. Only the benchmark can build it."""

from __future__ import annotations

from fhir_dmp.http.rsgi import Front
from fhir_dmp.wsgi import create as create_audited


def create() -> Front:
    """Return the application whose store forgets the events of reads."""
    app = create_audited()
    app.extensions["fhir_dmp"].store.record = lambda _: None
    front: Front = app.extensions["fhir_dmp.front"]
    return front

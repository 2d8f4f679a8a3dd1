"""Whether the server is up, and whether it may be given work: for probes, without a token and without content."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response


def health_blueprint(ready: Callable[[], bool]) -> Blueprint:
    """Return ``/healthz`` (the process answers) and ``/readyz`` (the database takes durable writes)."""
    routes = Blueprint("health", __name__)

    @routes.get("/healthz")
    def healthz() -> Response:
        return Response("up\n", content_type="text/plain")

    @routes.get("/readyz")
    def readyz() -> Response:
        if ready():
            return Response("ready\n", content_type="text/plain")
        return Response("not ready: the database takes no durable write\n", 503, content_type="text/plain")

    return routes

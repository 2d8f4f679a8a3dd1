"""The routes of a set of pages: forms of a bounded length, and one way to show whatever goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from flask import Blueprint, Response, request
from werkzeug.exceptions import HTTPException

from fhir_dmp.errors import FhirError


class Shown(Protocol):
    """Pages that say by themselves what went wrong."""

    def failed(self, error: FhirError, /) -> Response:
        """Show what came of a call that did not succeed."""
        ...

    def refused(self, error: HTTPException, /) -> Response:
        """Show that what was sent cannot be read."""
        ...

    def fault(self, error: Exception, /) -> Response:
        """Show what nobody foresaw, and nothing of it."""
        ...


def form_blueprint(
    name: str, own: Shown, most_bytes: int, views: Iterable[tuple[str, str, Callable[..., Response]]]
) -> Blueprint:
    """Return the routes of the views: of each the method, the path, and what answers."""
    routes = Blueprint(name, __name__)

    @routes.before_request
    def bound() -> None:
        request.max_content_length = most_bytes
        request.max_form_memory_size = most_bytes

    for method, path, view in views:
        routes.add_url_rule(path, f"{method}{path}".replace("/", "-"), view, methods=[method])
    routes.register_error_handler(FhirError, own.failed)
    routes.register_error_handler(HTTPException, own.refused)
    routes.register_error_handler(Exception, own.fault)
    return routes

"""The OpenAPI page and its assets, from this server alone. https://spec.openapis.org/oas/v3.0.3."""

from __future__ import annotations

from flask import Blueprint, Response, send_from_directory
from swagger_ui_bundle import swagger_ui_path

CONFIG = {
    "API_TITLE": "fhir_dmp",
    "API_VERSION": "4.0.1",
    "OPENAPI_VERSION": "3.0.3",
    "OPENAPI_URL_PREFIX": "/",
    "OPENAPI_JSON_PATH": "docs/openapi.json",
    "OPENAPI_SWAGGER_UI_PATH": "docs",
    "OPENAPI_SWAGGER_UI_URL": "/docs/assets/",
}
"""Settings of flask-smorest. https://flask-smorest.readthedocs.io/en/latest/openapi.html."""

_ASSETS = ("swagger-ui.css", "swagger-ui-bundle.js", "swagger-ui-standalone-preset.js")


def docs_blueprint() -> Blueprint:
    """Return the route of the page's assets."""
    routes = Blueprint("docs", __name__)

    @routes.get("/docs/assets/<any(" + ",".join(f"'{name}'" for name in _ASSETS) + "):name>")
    def asset(name: str) -> Response:
        return send_from_directory(swagger_ui_path, name, max_age=86400)

    return routes

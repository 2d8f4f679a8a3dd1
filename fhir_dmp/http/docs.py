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
    "API_SPEC_OPTIONS": {
        "security": [{"bearer": []}],
        "components": {"securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}},
    },
}
"""Settings of flask-smorest. https://flask-smorest.readthedocs.io/en/latest/openapi.html."""

_ASSETS = ("swagger-ui.css", "swagger-ui-bundle.js")
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>fhir_dmp: OpenAPI</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/assets/page.js"></script>
</body>
</html>
"""
_SCRIPT = 'SwaggerUIBundle({url: "/docs/openapi.json", dom_id: "#page", deepLinking: true});\n'
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Scripts come from files of this server; Swagger UI writes styles into its elements."""


def docs_blueprint() -> Blueprint:
    """Return the routes of the page and its assets."""
    routes = Blueprint("docs", __name__)

    @routes.get("/docs")
    def page() -> Response:
        return Response(_PAGE, headers={"Content-Security-Policy": _POLICY}, content_type="text/html; charset=utf-8")

    @routes.get("/docs/assets/page.js")
    def script() -> Response:
        return Response(_SCRIPT, content_type="text/javascript; charset=utf-8")

    @routes.get("/docs/assets/<any(" + ",".join(f"'{name}'" for name in _ASSETS) + "):name>")
    def asset(name: str) -> Response:
        return send_from_directory(swagger_ui_path, name, max_age=86400)

    return routes

"""The OAuth endpoints.

Each route parses, calls the door, renders. https://www.rfc-editor.org/rfc/rfc6749#section-3.2.
"""

from __future__ import annotations

from collections.abc import Callable

from flask import Response, request
from flask_smorest import Blueprint
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from fhir_dmp.call import Context
from fhir_dmp.errors import FhirError
from fhir_dmp.fhir import codec
from fhir_dmp.http.errors import render_error
from fhir_dmp.http.middleware import Reception
from fhir_dmp.service.tokens import TokenAnswer, TokenRequest, Tokens

MOST_BYTES = 64 * 1024
LONGEST_HEADER = 20 * 1024
PUBLISHED_SECONDS = 60
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
"""All methods reach the door, so that each refusal leaves its event."""


def oauth_blueprint(tokens: Tokens, reception: Reception) -> Blueprint:
    """Return the routes of the OAuth endpoints, to be mounted at ``/oauth``."""
    routes = Blueprint("oauth", __name__, description="OAuth 2.0 and OpenID Connect, as SMART App Launch uses them")

    def enter(door: Callable[[TokenRequest, Context], TokenAnswer]) -> Response:
        context = reception.stranger(request.environ)
        headers = request.headers
        sent = TokenRequest(
            request.method, headers.get("Content-Type", ""), _body(), headers.get("Authorization", "")[:LONGEST_HEADER]
        )
        return _render(door(sent, context), context.request_id)

    @routes.route("/token", methods=METHODS)
    def token() -> Response:
        """Token endpoint: client credentials, authorization codes, refresh tokens. https://www.rfc-editor.org/rfc/rfc6749#section-3.2."""
        return enter(tokens.issue_token)

    @routes.route("/revoke", methods=METHODS)
    def revoke() -> Response:
        """Revocation of an access or refresh token by its client. https://www.rfc-editor.org/rfc/rfc7009."""
        return enter(tokens.revoke_token)

    @routes.route("/introspect", methods=METHODS)
    def introspect() -> Response:
        """Introspection: what a token means, for its client and for resource servers. https://www.rfc-editor.org/rfc/rfc7662."""
        return enter(tokens.introspect_token)

    @routes.route("/launch", methods=METHODS)
    def launch() -> Response:
        """Launch token, for an EHR that opens an app in a record. https://hl7.org/fhir/smart-app-launch/STU2.2/app-launch.html."""
        return enter(tokens.launch)

    @routes.route("/userinfo", methods=("GET", "POST"))
    def user_info() -> Response:
        """Who the access token was issued for. https://openid.net/specs/openid-connect-core-1_0.html#UserInfo."""
        return enter(tokens.user_info)

    @routes.get("/jwks")
    def jwks() -> Response:
        """Public keys that check our tokens. https://www.rfc-editor.org/rfc/rfc7517#section-5."""
        try:
            body = tokens.jwks()
        except FhirError as error:
            return render_error(error, reception.stranger(request.environ).request_id)
        headers = {"Cache-Control": f"public, max-age={PUBLISHED_SECONDS}"}
        return Response(body, headers=headers, content_type="application/jwk-set+json")

    return routes


def well_known_blueprint(tokens: Tokens) -> Blueprint:
    """Return the discovery document of OpenID Connect, to be mounted at ``/.well-known``."""
    routes = Blueprint("well-known", __name__, description="Discovery")

    @routes.get("/openid-configuration")
    def openid_configuration() -> Response:
        """OpenID Connect discovery. https://openid.net/specs/openid-connect-discovery-1_0.html."""
        headers = {"Cache-Control": f"public, max-age={PUBLISHED_SECONDS}"}
        return Response(tokens.openid_configuration(), headers=headers, content_type="application/json")

    return routes


def _body() -> bytes:
    """Return the body: more than the door takes if it is longer than we read, nothing of one that was cut."""
    request.max_content_length = MOST_BYTES
    try:
        return request.get_data()
    except RequestEntityTooLarge:
        return b" " * (MOST_BYTES + 1)
    except ClientDisconnected:
        return b""


def _render(answer: TokenAnswer, request_id: str) -> Response:
    response = Response(codec.dumps(answer.document), answer.status, content_type="application/json")
    headers = response.headers
    headers["Cache-Control"] = "no-store"
    headers["Pragma"] = "no-cache"
    headers["X-Content-Type-Options"] = "nosniff"
    headers["X-Request-Id"] = request_id
    for name, value in answer.headers:
        headers[name] = value
    return response

"""The OAuth endpoints, as a table: each parses, calls its door, renders. https://www.rfc-editor.org/rfc/rfc6749#section-3.2."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from flask import Response, request
from flask_smorest import Blueprint
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge, TooManyRequests

from fhir_dmp.call import Context
from fhir_dmp.errors import FhirError
from fhir_dmp.fhir import codec
from fhir_dmp.http.errors import render_error
from fhir_dmp.http.middleware import LOST, Reception
from fhir_dmp.service.tokens import TokenAnswer, TokenRequest, Tokens

MOST_BYTES = 64 * 1024
LONGEST_HEADER = 20 * 1024
PUBLISHED_SECONDS = 60
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""All methods reach the door, so that each refusal leaves its event."""


Door = Callable[[Tokens, TokenRequest, Context], TokenAnswer]

ENDPOINTS: tuple[tuple[str, Door, str], ...] = (
    (
        "token",
        Tokens.issue_token,
        "Token endpoint: client credentials, authorization codes, refresh tokens. https://www.rfc-editor.org/rfc/rfc6749#section-3.2.",
    ),
    (
        "revoke",
        Tokens.revoke_token,
        "Revocation of an access or refresh token by its client. https://www.rfc-editor.org/rfc/rfc7009.",
    ),
    (
        "introspect",
        Tokens.introspect_token,
        "Introspection: what a token means, for its client and for resource servers. https://www.rfc-editor.org/rfc/rfc7662.",
    ),
    (
        "launch",
        Tokens.launch,
        "Launch token, for an EHR that opens an app in a record. https://hl7.org/fhir/smart-app-launch/STU2.2/app-launch.html.",
    ),
    (
        "userinfo",
        Tokens.user_info,
        "Who the access token was issued for. https://openid.net/specs/openid-connect-core-1_0.html#UserInfo.",
    ),
)
"""Name, door, and what the OpenAPI page says of it."""


def oauth_blueprint(tokens: Tokens, reception: Reception) -> Blueprint:
    """Return the routes of the OAuth endpoints, to be mounted at ``/oauth``."""
    routes = Blueprint("oauth", __name__, description="OAuth 2.0 and OpenID Connect, as SMART App Launch uses them")
    for name, door, told in ENDPOINTS:
        routes.add_url_rule(f"/{name}", name, _view(partial(door, tokens), reception, told), methods=METHODS)

    @routes.get("/jwks")
    def jwks() -> Response:
        """Public keys that check our tokens. https://www.rfc-editor.org/rfc/rfc7517#section-5."""
        try:
            return _published(tokens.jwks(), "application/jwk-set+json")
        except FhirError as error:
            return render_error(error, reception.stranger(request.environ).request_id)

    return routes


def _view(
    door: Callable[[TokenRequest, Context], TokenAnswer], reception: Reception, told: str
) -> Callable[[], Response]:
    def view() -> Response:
        context = reception.stranger(request.environ)
        return _render(door(_sent(), context), context.request_id)

    view.__doc__ = told
    return view


def well_known_blueprint(tokens: Tokens) -> Blueprint:
    """Return the discovery document of OpenID Connect, to be mounted at ``/.well-known``."""
    routes = Blueprint("well-known", __name__, description="Discovery")

    @routes.get("/openid-configuration")
    def openid_configuration() -> Response:
        """OpenID Connect discovery. https://openid.net/specs/openid-connect-discovery-1_0.html."""
        return _published(tokens.openid_configuration(), "application/json")

    return routes


def _sent() -> TokenRequest:
    headers = request.headers
    authorization = headers.get("Authorization", "")[:LONGEST_HEADER]
    unheard = request.environ.get(LOST, False)
    return TokenRequest(request.method, headers.get("Content-Type", ""), _body(), authorization, unheard)


def _body() -> bytes | None:
    """Return the body: more than the door takes if it is longer than we read, nothing of one that was cut, None if its turn never came."""
    request.max_content_length = MOST_BYTES
    try:
        return request.get_data()
    except RequestEntityTooLarge:
        return b" " * (MOST_BYTES + 1)
    except ClientDisconnected:
        return b""
    except TooManyRequests:
        return None


def _published(body: bytes, media_type: str) -> Response:
    headers = {"Cache-Control": f"public, max-age={PUBLISHED_SECONDS}"}
    return Response(body, headers=headers, content_type=media_type)


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

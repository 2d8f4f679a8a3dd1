"""The WSGI application on the server's parts."""

from __future__ import annotations

from typing import Any

import structlog
from flask import Flask, Response, abort, request
from flask_smorest import Api
from werkzeug.exceptions import HTTPException, InternalServerError, MethodNotAllowed, default_exceptions

from fhir_dmp.app.server import FHIR_PATH, Server, create_server
from fhir_dmp.errors import Invalid
from fhir_dmp.http.bodies import share_threads
from fhir_dmp.http.correlation import Correlated
from fhir_dmp.http.cors import Cors
from fhir_dmp.http.docs import CONFIG, docs_blueprint
from fhir_dmp.http.errors import from_werkzeug, protected
from fhir_dmp.http.fhir.describe import FhirRoutes
from fhir_dmp.http.fhir.endpoint import Endpoint
from fhir_dmp.http.fhir.plain import PlainCalls
from fhir_dmp.http.fhir.routes import fhir_blueprint
from fhir_dmp.http.health import health_blueprint
from fhir_dmp.http.middleware import LOST, Reception
from fhir_dmp.http.oauth.authorize import AuthorizePages, authorize_blueprint
from fhir_dmp.http.oauth.routes import oauth_blueprint, well_known_blueprint
from fhir_dmp.http.oauth.sign_in import SignInPages, sign_in_blueprint
from fhir_dmp.http.pages.browser import Browser
from fhir_dmp.http.pages.render import Pages, pages_blueprint
from fhir_dmp.http.rsgi import Front
from fhir_dmp.service.operations import OPERATIONS
from fhir_dmp.service.origins import Origins
from fhir_dmp.settings import Settings

_LOST = "A header is not ASCII."
_log = structlog.get_logger(__name__)


def create_app(settings: Settings, server: Server | None = None) -> Flask:
    """Return the WSGI application on the server's parts."""
    server = server or create_server(settings)
    if server.reindexer.is_behind:
        _log.warning(
            "older-index",
            advice="searches may miss rows of an older release: run fhir-dmp reindex --all beside the server",
        )
    app = _App("fhir_dmp", static_folder=None)
    app.config.update(CONFIG, MAX_CONTENT_LENGTH=settings.limits.body, PROPAGATE_EXCEPTIONS=False)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.extensions["fhir_dmp"] = server
    endpoint = _endpoint(server)
    _stand_in_front(app, server, endpoint)
    _mount(app, server, endpoint)
    _turn_away(app, endpoint)
    app.after_request(protected)
    return app


def _stand_in_front(app: Flask, server: Server, endpoint: Endpoint) -> None:
    """Have plain calls answered without the framework, and browsers told whom they may read for."""
    threads = server.settings.threads
    readers = share_threads(app, threads, FHIR_PATH)
    origins = Origins(server.grants, server.env.clock, server.settings.cors_origins)
    framework = Cors(app.wsgi_app, origins.is_registered)
    types = frozenset(server.env.definitions.resource_types) - {"Binary"}  # whose content may be asked for as it is
    plain = PlainCalls(framework, endpoint, FHIR_PATH, readers, types)
    app.wsgi_app = Correlated(plain)  # type: ignore[method-assign] # as Flask tells to
    app.extensions["fhir_dmp.front"] = Front(app, plain.in_a_fibre, threads, endpoint.count_busy)


def _mount(app: Flask, server: Server, endpoint: Endpoint) -> None:
    """Give each set of routes its place; the OpenAPI page describes those of machines."""
    sign_in = _sign_in_pages(server, endpoint)
    authorize = AuthorizePages(server.authorizations, server.allowances, sign_in)
    described = FhirRoutes(FHIR_PATH, server.env.definitions.search_params, OPERATIONS)
    api = Api(app, spec_kwargs={"extra_plugins": [described]})
    for routes, prefix in (
        (fhir_blueprint(endpoint), FHIR_PATH),
        (oauth_blueprint(server.tokens, endpoint.reception), "/oauth"),
        (well_known_blueprint(server.tokens), "/.well-known"),
    ):
        api.register_blueprint(routes, url_prefix=prefix)
    for pages, prefix in (
        (pages_blueprint(), ""),
        (sign_in_blueprint(sign_in), "/oauth"),
        (authorize_blueprint(authorize), "/oauth"),
        (docs_blueprint(), ""),
        (health_blueprint(server.store.ready), ""),
    ):
        app.register_blueprint(pages, url_prefix=prefix)


def _turn_away(app: Flask, endpoint: Endpoint) -> None:
    """Answer what no route takes: below the FHIR endpoint as its own refusals, which leave their events."""

    @app.before_request
    def before() -> Response | None:
        here = request.path == FHIR_PATH or request.path.startswith(f"{FHIR_PATH}/")
        if request.environ.get(LOST) and request.blueprint != "oauth":  # whose doors tell it themselves
            return endpoint.turn_away(Invalid(_LOST)) if here else abort(400, _LOST)  # told by whoever answers it
        return endpoint.options() if request.method == "OPTIONS" and here else None

    @app.errorhandler(HTTPException)
    def no_route(fault: HTTPException) -> Response | HTTPException:
        if isinstance(fault, InternalServerError):
            return endpoint.failed(request.environ)
        if request.path.startswith(FHIR_PATH):
            return endpoint.turn_away(from_werkzeug(fault))
        lost = request.environ.get(LOST)
        return _untaken(fault, endpoint) if lost or isinstance(fault, MethodNotAllowed) else fault


def _untaken(fault: HTTPException, endpoint: Endpoint) -> HTTPException:
    """Leave the event of a method that a path does not take, or of a header that cannot be read, and return what to answer."""
    told = endpoint.told(from_werkzeug(fault))
    return fault if told.status == fault.code else default_exceptions[told.status]()


class _App(Flask):
    """Flask, whose own log lines would quote what a fault was about."""

    def log_exception(self, exc_info: Any) -> None:
        """Leave it to the endpoint, which knows the request's id."""


def _sign_in_pages(server: Server, endpoint: Endpoint) -> SignInPages:
    pages = Pages(Browser(server.forms, server.settings.public_url.startswith("https://"), endpoint.told))
    return SignInPages(server.federation.sign_in, server.federation, pages, endpoint.reception)


def _endpoint(server: Server) -> Endpoint:
    env, settings = server.env, server.settings
    return Endpoint(
        env=env,
        tokens=server.tokens,
        reception=Reception(server.base_url, env.clock, env.ids, settings.trusted_proxies),
        refusals=server.refusals,
        documents={
            "capabilities": env.statement,
            "smart-configuration": server.tokens.smart_configuration,
        },
        gzip_from=settings.gzip_from,
    )

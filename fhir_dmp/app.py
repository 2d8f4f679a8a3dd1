"""The composition root: the only module that knows the database, the doors and HTTP at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import structlog
from flask import Flask, Response, request
from flask_smorest import Api
from werkzeug.exceptions import HTTPException, InternalServerError

from fhir_dmp import log
from fhir_dmp.access.model import Subject
from fhir_dmp.audit.keys import KeyFile
from fhir_dmp.audit.sinks import HeadsFile
from fhir_dmp.audit.witnesses import ReceiptsFile, witnesses
from fhir_dmp.call import Call, Context, Env, Result
from fhir_dmp.clock import Clock, Ids, RandomIds, SystemClock
from fhir_dmp.definitions.loader import load
from fhir_dmp.definitions.model import Definitions
from fhir_dmp.errors import FhirError, Invalid
from fhir_dmp.http.bodies import share_threads
from fhir_dmp.http.cors import Cors
from fhir_dmp.http.docs import CONFIG, docs_blueprint
from fhir_dmp.http.errors import from_werkzeug, protected
from fhir_dmp.http.fhir.describe import FhirRoutes
from fhir_dmp.http.fhir.plain import PlainCalls
from fhir_dmp.http.fhir.routes import Endpoint, fhir_blueprint
from fhir_dmp.http.health import health_blueprint
from fhir_dmp.http.middleware import Reception
from fhir_dmp.http.oauth.authorize import AuthorizePages, authorize_blueprint
from fhir_dmp.http.oauth.routes import oauth_blueprint, well_known_blueprint
from fhir_dmp.http.oauth.sign_in import SignInPages, sign_in_blueprint
from fhir_dmp.http.pages.browser import Browser
from fhir_dmp.http.pages.render import Pages, pages_blueprint
from fhir_dmp.interactions.capabilities import Served, capability_statement
from fhir_dmp.metrics import exposed
from fhir_dmp.oauth.act import Announce
from fhir_dmp.oauth.authentication import Authentication
from fhir_dmp.oauth.jwks import FetchedKeys
from fhir_dmp.oauth.keys import Keys
from fhir_dmp.oauth.lifetimes import Lifetimes
from fhir_dmp.oauth.metadata import token_url
from fhir_dmp.oauth.oidc import OpenIdClient
from fhir_dmp.oauth.passwords import Passwords
from fhir_dmp.oauth.providers import read_providers
from fhir_dmp.oauth.tokens import Issuer
from fhir_dmp.seal import BrokenSealError, Seal, read_secret
from fhir_dmp.search.added import Added, fingerprint
from fhir_dmp.search.extract import FORM, build_extract
from fhir_dmp.search.restrict import build_restrict
from fhir_dmp.service.accounts import Accounts
from fhir_dmp.service.announce import announcer
from fhir_dmp.service.audit_log import INTERACTIONS as AUDIT_INTERACTIONS
from fhir_dmp.service.audit_log import PARAMS as AUDIT_PARAMS
from fhir_dmp.service.authorize import Authorizations
from fhir_dmp.service.clients import Clients
from fhir_dmp.service.federation import Federation
from fhir_dmp.service.log_keeping import Keeper
from fhir_dmp.service.operations import OPERATIONS
from fhir_dmp.service.origins import Origins
from fhir_dmp.service.perform import INTERACTIONS, perform
from fhir_dmp.service.records import Records
from fhir_dmp.service.refusals import Refusals
from fhir_dmp.service.reindex import Reindexer
from fhir_dmp.service.sealer import SECONDS, Repeated, Sealer, Witnessing
from fhir_dmp.service.sign_in import SignIn, SignInRules
from fhir_dmp.service.tokens import Opaque, Tokens
from fhir_dmp.settings import Settings
from fhir_dmp.store.indexes import AddedParam
from fhir_dmp.stores.mongo import embedded, users
from fhir_dmp.stores.mongo.accounts import MongoAccounts
from fhir_dmp.stores.mongo.embedded import DatabaseError, Embedded, ServerLock
from fhir_dmp.stores.mongo.families import MongoFamilies
from fhir_dmp.stores.mongo.grants import MongoGrants
from fhir_dmp.stores.mongo.indexes import MongoIndexes
from fhir_dmp.stores.mongo.ledger import MongoLedger, remove_month
from fhir_dmp.stores.mongo.sizes import LogSizes
from fhir_dmp.stores.mongo.store import MongoStore
from fhir_dmp.validation.structure import build_validator

FHIR_PATH = "/fhir"
_PUBLIC_URL = "public-url"
_log = structlog.get_logger(__name__)

__all__ = [
    "DatabaseError",
    "Running",
    "Sealing",
    "Server",
    "audit_files",
    "create_app",
    "create_sealing",
    "create_server",
    "open_keeper",
    "open_sealing",
    "open_server",
    "sealing",
    "users_script",
]


@dataclass(frozen=True, slots=True)
class Server:
    """The parts of one process, put together: what HTTP and the command line stand on."""

    settings: Settings
    env: Env
    store: MongoStore
    grants: MongoGrants
    tokens: Tokens
    clients: Clients
    accounts: Accounts
    federation: Federation
    authorizations: Authorizations
    forms: Seal
    refusals: Refusals
    reindexer: Reindexer

    @property
    def base_url(self) -> str:
        """The URL of the FHIR endpoint."""
        return self.settings.public_url.rstrip("/") + FHIR_PATH

    def perform(self, call: Call, context: Context) -> Result:
        """Pass the one door."""
        return perform(call, context, self.env)

    def operator_context(self, operator: str, act: str) -> Context:
        """Return the Context of a person at the command line; ``act`` is the command, without its secrets."""
        subject = Subject("command-line", "admin", (), operator=operator)
        request_id = self.env.ids.new()
        return Context(subject, self.env.clock.now(), request_id, self.base_url, address="local", url=f"fhir-dmp {act}")

    def require_safe_log(self) -> None:
        """Raise ``DatabaseError`` if the database's user could change the log, unless the settings accept that."""
        if not self.settings.alterable_log and self.store.may_alter_log():
            raise DatabaseError(
                "The user of DMP_MONGODB_URI may change or remove rows of the log. Give the server one that may not: "
                "fhir-dmp audit users prints what to run; or set DMP_ALTERABLE_LOG=true to serve all the same."
            )

    def auditor_context(self, operator: str, act: str) -> Context:
        """Return the Context of a person at the command line who asks for the log, and reaches nothing else."""
        context = self.operator_context(operator, act)
        return replace(
            context, subject=Subject("command-line", "auditor", ("system/AuditEvent.rs",), operator=operator)
        )

    def close(self) -> None:
        """Let go of the database; what waits to be written is written first."""
        self.store.close()


@dataclass(frozen=True, slots=True)
class Sealing:
    """What seals the log and proves it, on a connection of its own."""

    ledger: MongoLedger
    keys: KeyFile
    sink: HeadsFile
    sealer: Sealer

    def close(self) -> None:
        """Let another seal, and let go of the database."""
        with suppress(FhirError):
            self.sealer.release()
        self.ledger.close()


def _uri(settings: Settings, user: str) -> str:
    """Return the address of the database for that user; the embedded one makes users of its own."""
    named = {users.APP: settings.mongodb_uri, users.SEALER: settings.mongodb_sealer_uri or settings.mongodb_uri}
    return named[user] or embedded.uri(settings.data_dir, user, settings.mongodb_database)


def users_script(settings: Settings) -> str:
    """Return what makes the users of a database in mongosh."""
    return users.script(settings.mongodb_database)


def audit_files(settings: Settings) -> tuple[KeyFile, HeadsFile]:
    """Return the files of the signing key and of the published heads."""
    folder = settings.data_dir / "audit"
    keys = Path(settings.audit_key_file) if settings.audit_key_file else folder / "heads.key"
    heads = Path(settings.audit_heads_file) if settings.audit_heads_file else folder / "heads.ndjson"
    return KeyFile(keys), HeadsFile(heads)


def create_sealing(settings: Settings, clock: Clock | None = None, ids: Ids | None = None) -> Sealing:
    """Return the parts, connected to the database that the settings name; made once for each process, after any fork."""
    ledger = MongoLedger.connect(_uri(settings, users.SEALER), settings.mongodb_database)
    keys, sink = audit_files(settings)
    return Sealing(ledger, keys, sink, Sealer(ledger, keys, sink, clock or SystemClock(), ids or RandomIds()))


@contextmanager
def sealing(settings: Settings) -> Iterator[None]:
    """Seal, and have others witness, beside whatever else this process does; another worker may lead."""
    outside = witnesses(settings.audit_witness_url, settings.audit_timestamp_url, settings.audit_timestamp_roots)
    parts = create_sealing(settings)
    receipts = ReceiptsFile(parts.sink.path.with_suffix(".receipts"))
    witnessing = Witnessing(parts.sealer, parts.ledger, outside, receipts, SystemClock())
    threads = [Repeated("sealer", parts.sealer.tick, SECONDS)]
    if outside:
        threads.append(Repeated("witnesses", witnessing.tick, settings.audit_witness_seconds))
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.stop()
        parts.close()


@contextmanager
def telling_metrics(settings: Settings) -> Iterator[None]:
    """Tell what the workers count, and how large the log is, on a port of its own."""
    sizes = LogSizes(_uri(settings, users.APP), settings.mongodb_database)
    try:
        with exposed(settings.metrics_host, settings.metrics_port, settings.metrics_dir, sizes):
            yield
    finally:
        sizes.close()


def _keeper(settings: Settings, sealing: Sealing, announce: Announce) -> Keeper:
    """Return the door of what is done to the log as a whole; what it removes, it removes as the database's owner."""
    owner = settings.mongodb_owner_uri or settings.mongodb_uri or embedded.uri(settings.data_dir)
    remove = partial(remove_month, owner, settings.mongodb_database)
    return Keeper(sealing.ledger, sealing.sealer, sealing.keys, SystemClock(), announce, remove)


@contextmanager
def open_keeper(settings: Settings) -> Iterator[tuple[Server, Keeper]]:
    """Yield the server's parts and the log's keeper for one command."""
    with open_server(settings) as server:
        parts = create_sealing(settings)
        try:
            yield server, _keeper(settings, parts, announcer(server.env, server.refusals))
        finally:
            parts.close()


@contextmanager
def open_sealing(settings: Settings) -> Iterator[Sealing]:
    """Yield the parts for one command: joined to the database that is up, or on one that ends with the command."""
    database = None if settings.mongodb_uri else Embedded.ensure(settings.data_dir)
    try:
        parts = create_sealing(settings)
        try:
            yield parts
        finally:
            parts.close()
    finally:
        if database is not None:
            database.stop()


def create_server(settings: Settings, clock: Clock | None = None, ids: Ids | None = None) -> Server:
    """Return the parts, connected to the database that the settings name (the embedded one of ``data_dir`` by default)."""
    log.configure(settings.log_level)
    clock, ids = clock or SystemClock(), ids or RandomIds()
    secret = read_secret(Path(settings.secret_file) if settings.secret_file else settings.data_dir / "secret")
    base_url = settings.public_url.rstrip("/") + FHIR_PATH
    tables = load()
    uri = _uri(settings, users.APP)
    store = MongoStore.connect(uri, settings.mongodb_database, clock=clock, settings=settings)
    indexes = MongoIndexes(store.database)
    added = Added(tables, indexes.added)
    if store.first:
        indexes.keep_form(FORM)
        indexes.save([AddedParam(url, fingerprint(params), 0, complete=True) for url, params in added.tabled.items()])
    definitions = replace(tables, search_params=added.served)
    pages = Seal(secret, "page")
    env = Env(
        store=store,
        ledger=store.ledger(),
        definitions=definitions,
        validate=build_validator(definitions),
        extract=build_extract(replace(tables, search_params=added.indexed), base_url, settings.limits),
        clock=clock,
        ids=ids,
        limits=settings.limits,
        seal=pages.seal,
        unseal=_opener(pages),
        restrict=build_restrict(definitions, base_url, settings.limits),
        majority=settings.majority_age,
        indexed_by=lambda: added.changes,
        statement=_statement(definitions, settings, clock, added),
    )
    refusals = Refusals(env, settings.anonymous_per_minute)
    announce = announcer(env, refusals)
    restrict = env.restrict
    grants = MongoGrants(store.database)
    families, opaque = MongoFamilies(store.database), Opaque.of(secret)
    issuer = Issuer(settings.public_url.rstrip("/"), settings.token_seconds)
    authentication = Authentication(grants, FetchedKeys(clock), clock, token_url(issuer.url))
    kept, passwords, totp = MongoAccounts(store.database), Passwords(), Seal(secret, "totp")
    tokens = Tokens(
        grants=grants,
        families=families,
        keys=Keys(grants, Seal(secret, "keys"), clock),
        clients=authentication,
        sessions=kept.find_session,
        opaque=opaque,
        issuer=issuer,
        restrict=restrict,
        clock=clock,
        ids=ids,
        announce=announce,
        lifetimes=Lifetimes(
            settings.token_seconds, settings.emergency_seconds, settings.online_seconds, settings.offline_seconds
        ),
    )
    tokens.prepare()
    sign_in = SignIn(kept, passwords, totp, Seal(secret, "device"), clock, announce, _sign_in_rules(settings))
    return Server(
        settings=settings,
        env=env,
        store=store,
        grants=grants,
        tokens=tokens,
        clients=Clients(grants, clock, ids, announce, restrict),
        accounts=Accounts(kept, passwords, totp, clock, ids, announce),
        federation=_federation(settings, sign_in, ids, Seal(secret, "flow")),
        authorizations=Authorizations(
            grants=grants,
            families=families,
            clients=authentication,
            opaque=opaque,
            issuer=issuer,
            records=Records(
                lambda call, context: perform(call, context, env), grants, store.policies_naming, definitions.matrix
            ),
            restrict=restrict,
            clock=clock,
            ids=ids,
            announce=announce,
        ),
        forms=Seal(secret, "form"),
        refusals=refusals,
        reindexer=Reindexer(env, indexes, added, time.sleep),
    )


def _sign_in_rules(settings: Settings) -> SignInRules:
    return SignInRules(settings.session_idle_seconds, settings.session_seconds, settings.majority_age)


def _federation(settings: Settings, sign_in: SignIn, ids: Ids, seal: Seal) -> Federation:
    """Return the door of the providers that the settings' file describes."""
    providers = read_providers(Path(settings.providers_file)) if settings.providers_file else ()
    base = f"{settings.public_url.rstrip('/')}/oauth/sign-in/from"
    clients = {each.name: OpenIdClient(each, f"{base}/{each.name}", sign_in.clock) for each in providers}
    return Federation(clients, sign_in, ids, seal)


@dataclass(frozen=True, slots=True)
class Running:
    """A data folder that this process serves: its lock, and its embedded database if the settings name no other."""

    settings: Settings
    notice: str

    @classmethod
    @contextmanager
    def start(cls, settings: Settings, listens: str) -> Iterator[Running]:
        """Hold the folder for as long as the server runs; raise ``DatabaseError`` if another server does.

        ``listens`` is the URL that clients reach the server at, if the settings name none; commands on the folder find it there.
        """
        lock = ServerLock(settings.data_dir)
        settings = replace(settings, public_url=settings.public_url or listens)
        (settings.data_dir / _PUBLIC_URL).write_text(settings.public_url)
        database = None if settings.mongodb_uri else Embedded.ensure(settings.data_dir, own=True)
        try:
            if database is not None:
                database.supervise()
            yield cls(settings, embedded.NOTICE if database else "")
        finally:
            if database is not None:
                database.stop()
            lock.release()


@contextmanager
def open_server(settings: Settings) -> Iterator[Server]:
    """Yield the parts for one command: joined to the database that is up, or on one that ends with the command."""
    database = None if settings.mongodb_uri else Embedded.ensure(settings.data_dir)
    settings = replace(settings, public_url=settings.public_url or _served_at(settings.data_dir))
    try:
        server = create_server(settings)
        try:
            yield server
        finally:
            server.close()
    finally:
        if database is not None:
            database.stop()


def _served_at(data_dir: Path) -> str:
    """Return the URL of the server that ran last on the folder."""
    known = data_dir / _PUBLIC_URL
    return known.read_text() if known.exists() else "http://127.0.0.1:8000"


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
    readers = share_threads(app, settings.threads, FHIR_PATH)
    endpoint = _endpoint(server)
    origins = Origins(server.grants, server.env.clock, settings.cors_origins)
    framework = Cors(app.wsgi_app, origins.is_registered)
    types = frozenset(server.env.definitions.resource_types) - {"Binary"}  # whose content may be asked for as it is
    app.wsgi_app = PlainCalls(framework, endpoint, FHIR_PATH, readers, types)  # type: ignore[method-assign] # as Flask tells to
    described = FhirRoutes(FHIR_PATH, server.env.definitions.search_params, OPERATIONS)
    api = Api(app, spec_kwargs={"extra_plugins": [described]})
    api.register_blueprint(fhir_blueprint(endpoint), url_prefix=FHIR_PATH)
    api.register_blueprint(oauth_blueprint(server.tokens, endpoint.reception), url_prefix="/oauth")
    api.register_blueprint(well_known_blueprint(server.tokens), url_prefix="/.well-known")
    app.register_blueprint(pages_blueprint())
    sign_in = _sign_in_pages(server, endpoint.reception)
    app.register_blueprint(sign_in_blueprint(sign_in), url_prefix="/oauth")
    authorize = AuthorizePages(server.authorizations, sign_in)
    app.register_blueprint(authorize_blueprint(authorize), url_prefix="/oauth")
    app.register_blueprint(docs_blueprint())
    app.register_blueprint(health_blueprint(server.store.ready))

    @app.before_request
    def methods() -> Response | None:
        here = request.path == FHIR_PATH or request.path.startswith(f"{FHIR_PATH}/")
        return endpoint.options() if request.method == "OPTIONS" and here else None

    @app.errorhandler(HTTPException)
    def no_route(fault: HTTPException) -> Response | HTTPException:
        if not request.path.startswith(FHIR_PATH):
            return fault
        return endpoint.failed() if isinstance(fault, InternalServerError) else endpoint.turn_away(from_werkzeug(fault))

    app.after_request(protected)
    return app


class _App(Flask):
    """Flask, whose own log lines would quote what a fault was about."""

    def log_exception(self, exc_info: Any) -> None:
        """Tell where a fault happened that no door caught, and of what kind."""
        _log.error("fault", exc_info=exc_info, method=request.method)


def _sign_in_pages(server: Server, reception: Reception) -> SignInPages:
    pages = Pages(Browser(server.forms, secure=server.settings.public_url.startswith("https://")))
    return SignInPages(server.federation.sign_in, server.federation, pages, reception)


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


def _statement(definitions: Definitions, settings: Settings, clock: Clock, added: Added) -> Callable[[], bytes]:
    """Return what gives the CapabilityStatement, made anew when search parameters were added."""
    started = clock.now().date().isoformat()
    served = Served(
        definitions=definitions,
        limits=settings.limits,
        interactions={"": (*INTERACTIONS, "batch"), "AuditEvent": tuple(AUDIT_INTERACTIONS)},
        own_params={"AuditEvent": tuple(AUDIT_PARAMS)},
        operations=tuple(OPERATIONS),
    )

    @lru_cache(maxsize=1)
    def statement(changes: int) -> bytes:
        del changes
        return capability_statement(served, settings.public_url, started)

    return lambda: statement(added.changes)


def _opener(pages: Seal) -> Callable[[str], bytes]:
    def unseal(text: str) -> bytes:
        try:
            return pages.open(text)
        except BrokenSealError:
            raise Invalid("This page token is not one of ours: repeat the search.", expression="_page") from None

    return unseal

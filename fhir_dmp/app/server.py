"""The parts of one process, put together: what HTTP and the command line stand on."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from secrets import token_bytes
from zoneinfo import ZoneInfo

from msgspec import Struct
from msgspec.structs import replace

from fhir_dmp import log
from fhir_dmp.access.model import Subject
from fhir_dmp.app.database import uri_of
from fhir_dmp.call import Call, Context, Env, Result
from fhir_dmp.clock import Clock, Ids, RandomIds, SystemClock
from fhir_dmp.definitions.loader import load
from fhir_dmp.definitions.model import Definitions
from fhir_dmp.errors import Invalid
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.interactions.capabilities import Served, capability_statement
from fhir_dmp.oauth.authentication import Authentication
from fhir_dmp.oauth.handles import Opaque
from fhir_dmp.oauth.jwks import FetchedKeys
from fhir_dmp.oauth.keys import Keys
from fhir_dmp.oauth.lifetimes import Lifetimes
from fhir_dmp.oauth.metadata import token_url
from fhir_dmp.oauth.oidc import OpenIdClient
from fhir_dmp.oauth.passwords import Passwords
from fhir_dmp.oauth.providers import read_providers
from fhir_dmp.oauth.tokens import Issuer
from fhir_dmp.seal import SECRET_BYTES, BrokenSealError, Seal, read_secret
from fhir_dmp.search.added import Added, fingerprint
from fhir_dmp.search.extract import build_extract
from fhir_dmp.search.form import FORM
from fhir_dmp.search.restrict import build_restrict
from fhir_dmp.service.accounts import Accounts
from fhir_dmp.service.allowances import Allowances
from fhir_dmp.service.announce import announcer
from fhir_dmp.service.audit_log import INTERACTIONS as AUDIT_INTERACTIONS
from fhir_dmp.service.audit_log import PARAMS as AUDIT_PARAMS
from fhir_dmp.service.authorize import Authorizations
from fhir_dmp.service.clients import Clients
from fhir_dmp.service.emergency_ends import Emergencies
from fhir_dmp.service.federation import Federation
from fhir_dmp.service.oauth_env import OAuthEnv
from fhir_dmp.service.operations import OPERATIONS
from fhir_dmp.service.perform import INTERACTIONS, perform
from fhir_dmp.service.records import Records
from fhir_dmp.service.refusals import Refusals
from fhir_dmp.service.reindex import Reindexer
from fhir_dmp.service.sign_in import SignIn, SignInRules
from fhir_dmp.service.tokens import Tokens
from fhir_dmp.settings import Settings
from fhir_dmp.store.grants import Grants
from fhir_dmp.store.indexes import AddedParam
from fhir_dmp.stores.mongo import users
from fhir_dmp.stores.mongo.accounts import MongoAccounts
from fhir_dmp.stores.mongo.families import MongoFamilies
from fhir_dmp.stores.mongo.grants import MongoGrants
from fhir_dmp.stores.mongo.indexes import MongoIndexes
from fhir_dmp.stores.mongo.store import MongoStore
from fhir_dmp.token_act import Announce
from fhir_dmp.validation.structure import build_validator

FHIR_PATH = "/fhir"


class Server(Struct, frozen=True):
    """The parts of one process, put together: what HTTP and the command line stand on."""

    settings: Settings
    env: Env
    store: MongoStore
    grants: Grants
    tokens: Tokens
    clients: Clients
    accounts: Accounts
    federation: Federation
    authorizations: Authorizations
    allowances: Allowances
    forms: Seal
    refusals: Refusals
    emergencies: Emergencies
    reindexer: Reindexer

    @property
    def base_url(self) -> str:
        """The URL of the FHIR endpoint."""
        return _base_url(self.settings)

    @property
    def announce(self) -> Announce:
        """What makes an act durable that is no FHIR call."""
        return announcer(self.env, self.refusals)

    def perform(self, call: Call, context: Context) -> Result:
        """Pass the one door."""
        return perform(call, context, self.env)

    def operator_context(self, operator: str, act: str) -> Context:
        """Return the Context of a person at the command line; ``act`` is the command, without its secrets."""
        subject = Subject("command-line", "admin", (), operator=operator)
        request_id = self.env.ids.new()
        return Context(subject, self.env.clock.now(), request_id, self.base_url, address="local", url=f"fhir-dmp {act}")

    def auditor_context(self, operator: str, act: str) -> Context:
        """Return the Context of a person at the command line who asks for the log, and reaches nothing else."""
        context = self.operator_context(operator, act)
        return replace(
            context, subject=Subject("command-line", "auditor", ("system/AuditEvent.rs",), operator=operator)
        )

    def close(self) -> None:
        """Let go of the database; what waits to be written is written first, and so is what was counted."""
        self.refusals.close()
        self.store.close()


def create_server(
    settings: Settings, clock: Clock | None = None, ids: Ids | None = None, *, signs: bool = True
) -> Server:
    """Return the parts, connected to the database that the settings name (the embedded one of ``data_dir`` by default).

    One that ``signs`` no tokens needs no secret that the database knows, and leaves none in the folder: who verifies the log has its public
    key alone.
    """
    log.configure(settings.log_level)
    kept_in = Path(settings.secret_file) if settings.secret_file else settings.data_dir / "secret"
    secret = read_secret(kept_in) if signs else token_bytes(SECRET_BYTES)
    clock = clock or SystemClock()
    store = MongoStore.connect(uri_of(settings, users.APP), settings.mongodb_database, clock=clock, settings=settings)
    if store.first:
        make_ready(store)
    tables, indexes = load(), MongoIndexes(store.database)
    added = Added(tables, indexes.added)
    env = _env(settings, store, tables, added, Seal(secret, "page"), clock, ids or RandomIds())
    kept = MongoAccounts(store.database)
    env = replace(env, form=indexes.form(), tied=kept.tied)
    refusals = Refusals(env, settings.anonymous_per_minute)
    announce = announcer(env, refusals)
    oauth = _oauth_env(settings, env, secret, store, kept, announce)
    passwords, totp = Passwords(), Seal(secret, "totp")
    tokens = Tokens(oauth)
    if signs:
        tokens.prepare()
    sign_in = SignIn(kept, passwords, totp, Seal(secret, "device"), clock, announce, _sign_in_rules(settings))
    return Server(
        settings=settings,
        env=env,
        store=store,
        grants=oauth.grants,
        tokens=tokens,
        clients=Clients(oauth.grants, clock, env.ids, announce, env.restrict),
        accounts=Accounts(kept, passwords, totp, clock, env.ids, announce),
        federation=_federation(settings, sign_in, env.ids, Seal(secret, "flow")),
        authorizations=Authorizations(oauth, _records(env, oauth.grants, store)),
        allowances=Allowances(oauth.grants, oauth.families, clock, announce),
        forms=Seal(secret, "form"),
        refusals=refusals,
        emergencies=Emergencies(env, oauth.grants, oauth.families),
        reindexer=Reindexer(env, indexes, added, time.sleep),
    )


def make_ready(store: MongoStore) -> None:
    """Write down what the rows of a new database are indexed by."""
    indexes = MongoIndexes(store.database)
    added = Added(load(), indexes.added)
    indexes.keep_form(FORM)
    indexes.save([AddedParam(url, fingerprint(params), 0, complete=True) for url, params in added.tabled.items()])


def _env(
    settings: Settings,
    store: MongoStore,
    tables: Definitions,
    added: Added,
    pages: Seal,
    clock: Clock,
    ids: Ids,
) -> Env:
    """Return what a call stands on; rows are indexed by more parameters than are asked for, while some are being added."""
    base_url = _base_url(settings)
    definitions = replace(tables, search_params=added.served)
    return Env(
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
        zone=ZoneInfo(settings.time_zone),
        readings=settings.readings,
        indexed_by=lambda: added.changes,
        statement=_statement(definitions, settings, clock, added),
    )


def _oauth_env(
    settings: Settings, env: Env, secret: bytes, store: MongoStore, accounts: MongoAccounts, announce: Announce
) -> OAuthEnv:
    """Return what the doors of clients and people stand on."""
    issuer, grants = Issuer(settings.public_url.rstrip("/"), settings.token_seconds), MongoGrants(store.database)
    return OAuthEnv(
        grants=grants,
        families=MongoFamilies(store.database),
        sessions=accounts.find_session,
        clients=Authentication(grants, FetchedKeys(env.clock), env.clock, token_url(issuer.url)),
        keys=Keys(grants, Seal(secret, "keys"), env.clock),
        opaque=Opaque.of(secret),
        issuer=issuer,
        lifetimes=Lifetimes(
            settings.token_seconds, settings.emergency_seconds, settings.online_seconds, settings.offline_seconds
        ),
        restrict=env.restrict,
        has_record=lambda patient: _has_record(patient, store),
        clock=env.clock,
        ids=env.ids,
        announce=announce,
    )


def _has_record(patient: str, store: MongoStore) -> bool:
    found = store.find_current(Ref("Patient", patient.partition("/")[2]), with_index=False)
    return found is not None and not found.deleted


def _records(env: Env, grants: Grants, store: MongoStore) -> Records:
    """Return what finds records for the people who may name one."""
    return Records(
        lambda call, context: perform(call, context, env),
        grants,
        store.policies_naming,
        env.definitions.matrix,
        env.readings,
    )


def _base_url(settings: Settings) -> str:
    return settings.public_url.rstrip("/") + FHIR_PATH


def _sign_in_rules(settings: Settings) -> SignInRules:
    return SignInRules(
        settings.session_idle_seconds, settings.session_seconds, settings.majority_age, ZoneInfo(settings.time_zone)
    )


def _federation(settings: Settings, sign_in: SignIn, ids: Ids, seal: Seal) -> Federation:
    """Return the door of the providers that the settings' file describes."""
    providers = read_providers(Path(settings.providers_file)) if settings.providers_file else ()
    base = f"{settings.public_url.rstrip('/')}/oauth/sign-in/from"
    clients = {each.name: OpenIdClient(each, f"{base}/{each.name}", sign_in.clock) for each in providers}
    return Federation(clients, sign_in, ids, seal)


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

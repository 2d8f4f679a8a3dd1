"""What the tests of tokens stand on: key pairs, a worker on a real database, and what was announced."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from argon2 import PasswordHasher
from flask import Flask
from joserfc.jwk import ECKey, RSAKey
from msgspec.structs import replace
from pymongo import MongoClient

from fhir_dmp.call import Context
from fhir_dmp.clock import FixedClock, RandomIds
from fhir_dmp.definitions.loader import load
from fhir_dmp.http.middleware import Reception
from fhir_dmp.http.oauth.routes import oauth_blueprint
from fhir_dmp.oauth.authentication import Authentication
from fhir_dmp.oauth.clients import LAUNCH_SCOPES
from fhir_dmp.oauth.handles import Opaque
from fhir_dmp.oauth.jwks import FetchedKeys
from fhir_dmp.oauth.keys import Keys
from fhir_dmp.oauth.lifetimes import Lifetimes
from fhir_dmp.oauth.passwords import Passwords
from fhir_dmp.oauth.rfc7523 import ASSERTION_TYPE, make_assertion
from fhir_dmp.oauth.tokens import Issuer
from fhir_dmp.seal import Seal
from fhir_dmp.search.restrict import build_restrict
from fhir_dmp.service.accounts import Accounts
from fhir_dmp.service.answers import Choice
from fhir_dmp.service.authorize import Authorizations
from fhir_dmp.service.clients import Clients, NewClient
from fhir_dmp.service.oauth_env import OAuthEnv
from fhir_dmp.service.records import Records
from fhir_dmp.service.sign_in import SignedIn
from fhir_dmp.service.tokens import Tokens
from fhir_dmp.settings import Limits, Readings
from fhir_dmp.store.accounts import Account, Session
from fhir_dmp.stores.mongo.accounts import MongoAccounts
from fhir_dmp.stores.mongo.families import MongoFamilies
from fhir_dmp.stores.mongo.grants import MongoGrants

PUBLIC_URL = "http://127.0.0.1:8000"
TOKEN_URL = f"{PUBLIC_URL}/oauth/token"
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
NOW = int(NOON.timestamp())
FORM = "application/x-www-form-urlencoded"


@cache
def key_pair(kind="EC", kid="key-1"):
    """Return a private JWK; the same for all tests of a run, since RSA keys are slow to make."""
    key = ECKey.generate_key("P-384") if kind == "EC" else RSAKey.generate_key(2048)
    return {**key.as_dict(private=True), "kid": kid}


def public(private):
    """Return the public half of a JWK."""
    return {name: value for name, value in private.items() if name in ("kty", "crv", "x", "y", "n", "e", "kid")}


def jwks(*privates):
    """Return the text of the public key set of these keys."""
    return json.dumps({"keys": [public(each) for each in privates]})


def context(**changed):
    """Return the Context of a caller that nobody knows."""
    return Context(**{"subject": None, "now": NOON, "request_id": "req-1", "base_url": f"{PUBLIC_URL}/fhir", **changed})


VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
"""The pair of RFC 7636, appendix B."""

CALLBACK = "https://app.example/cb"
APP_SCOPES = (*LAUNCH_SCOPES, "patient/*.rs", "user/*.rs")


def authorize(**changed):
    """Return the query of an authorization request; a parameter that is None is left out."""
    fields = {
        "response_type": "code",
        "client_id": "phone",
        "redirect_uri": CALLBACK,
        "scope": "openid fhirUser launch/patient offline_access patient/Observation.rs",
        "state": "af0ifjsldkj",
        "aud": f"{PUBLIC_URL}/fhir",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        **changed,
    }
    return urlencode({name: value for name, value in fields.items() if value is not None}).encode()


@cache
def restrict():
    """Return the compiler of scopes' restrictions, on the definitions of R4."""
    return build_restrict(load(), f"{PUBLIC_URL}/fhir", Limits())


def nobody_looks(call, said_in):
    """Stands where no record is looked for."""
    raise AssertionError(call)


def form(assertion, **changed):
    """Return the body of a token request; a parameter that is None is left out."""
    fields = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": assertion,
        **changed,
    }
    return urlencode({name: value for name, value in fields.items() if value is not None})


def post(http, where, headers=None, **fields):
    """Post a form to an OAuth endpoint; a field that is None is left out."""
    body = urlencode({name: value for name, value in fields.items() if value is not None})
    return http.post(f"/oauth/{where}", data=body, content_type=FORM, headers=headers)


def redeem(http, code, **changed):
    """Redeem a code as the public app."""
    fields = {"client_id": "phone", "redirect_uri": CALLBACK, "code_verifier": VERIFIER, **changed}
    return post(http, "token", grant_type="authorization_code", code=code, **fields)


def refresh(http, token, **changed):
    """Refresh as the public app."""
    return post(http, "token", grant_type="refresh_token", refresh_token=token, client_id="phone", **changed)


def given(world):
    """Return an answer of the token endpoint to a patient's app."""
    world.app()
    answer = redeem(world.http(), world.code(world.sign_in())["code"])
    assert answer.status_code == 200, answer.json
    return answer.json


def cheap_passwords():
    """Return what hashes passwords in no time."""
    return Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@dataclass
class World:
    """One database, a clock that stands still, and as many workers as a test wants."""

    uri: str
    database: str
    clock: FixedClock = field(default_factory=lambda: FixedClock(NOON))
    acts: list = field(default_factory=list)
    fail: Exception | None = None
    fetch: object = None
    opened: list = field(default_factory=list)

    def announce(self, act, said_in):
        """Remember the act, or fail as the audit would."""
        if self.fail is not None:
            raise self.fail
        self.acts.append(act)

    @cached_property
    def shared(self):
        """Connections of nobody's in particular; each new one costs a proof of the password."""
        client = MongoClient(self.uri)
        self.opened.append(client)
        return client

    def grants(self):
        """Return the port on a connection of its own."""
        client = MongoClient(self.uri)
        self.opened.append(client)
        return MongoGrants(client[self.database])

    def worker(self, secret=b"s" * 32, **issuer):
        """Return the door of one more worker, which shares nothing with the others but the database."""
        return Tokens(self.oauth_env(secret, **issuer))

    def oauth_env(self, secret=b"s" * 32, **issuer):
        """Return what the doors of one more worker stand on."""
        grants, issued_by = self.grants(), Issuer(PUBLIC_URL, **issuer)
        return OAuthEnv(
            grants=grants,
            families=MongoFamilies(self.opened[-1][self.database]),
            sessions=self.kept_accounts().find_session,
            clients=self.authentication(grants),
            keys=Keys(grants, Seal(secret, "keys"), self.clock),
            opaque=Opaque.of(secret),
            issuer=issued_by,
            lifetimes=Lifetimes(issued_by.seconds),
            restrict=restrict(),
            has_record=lambda patient: patient == "Patient/p1",
            clock=self.clock,
            ids=RandomIds(),
            announce=self.announce,
        )

    def authentication(self, grants):
        """Return what knows clients by their proofs."""
        fetched = FetchedKeys(self.clock, self.fetch) if self.fetch else FetchedKeys(self.clock)
        return Authentication(grants, fetched, self.clock, TOKEN_URL)

    def clients(self):
        """Return the door of registration."""
        return Clients(MongoGrants(self.shared[self.database]), self.clock, RandomIds(), self.announce, restrict())

    def authorizations(self, secret=b"s" * 32):
        """Return the door of the authorization endpoint, of one more worker."""
        env = self.oauth_env(secret)
        records = Records(nobody_looks, env.grants, lambda names, limit: (), load().matrix, Readings())
        return Authorizations(env, records)

    def kept_accounts(self):
        """Return the port of accounts, over connections that are the world's."""
        return MongoAccounts(self.shared[self.database])

    def sign_in(self, account_id="a-1", **changed):
        """Add the account of a patient and return it signed in."""
        now = self.clock.micros()
        values = {
            "kind": "patient",
            "name": "Zoé Petit",
            "resource": "Patient/z",
            "identifier": f"urn:ins|{account_id}",
        }
        account = Account(id=account_id, added=now, holds_from=now, **{**values, **changed})
        session = Session(f"s-{account_id}", account_id, "signed-in", "password", now, now, now + 3_600_000_000)
        if account.situations:
            session = replace(session, situation=account.situations[0])
        assert self.kept_accounts().add_account(account)
        self.kept_accounts().add_session(session)
        return SignedIn(account, session)

    def app(self, client_id="phone", **changed):
        """Register an app for people and return it."""
        values = {"kind": "public", "role": "app", "scopes": APP_SCOPES, "redirect_uris": (CALLBACK,), "name": "Carnet"}
        client = self.clients().add(NewClient(client_id, **{**values, **changed}), context())
        self.acts.clear()
        return client

    def code(self, signed, door=None, choice=None, **changed):
        """Let the person allow what an app asks, and return the parameters of the answer."""
        door = door or self.authorizations()
        question = door.ask(authorize(**changed), signed, context())
        asked = (*(scope.text for scope in question.scopes), *question.others)
        choice = choice or Choice(allow=True, scopes=asked, patient="Patient/z")
        answer = door.decide(question.ticket, choice, signed, context())
        return dict(parse_qsl(urlsplit(answer.url).query))

    def accounts(self, secret=b"s" * 32):
        """Return the door of accounts of one more worker; its hashes cost little."""
        return Accounts(
            accounts=self.kept_accounts(),
            passwords=cheap_passwords(),
            seal=Seal(secret, "totp"),
            clock=self.clock,
            ids=RandomIds(),
            announce=self.announce,
        )

    def forward(self, seconds):
        """Move the clock."""
        self.clock.set(self.clock.now() + timedelta(seconds=seconds))

    def register(self, client_id="ehr-one", **changed):
        """Register a backend client and return it."""
        values = {
            "kind": "backend",
            "role": "ehr",
            "scopes": ("system/*.cruds",),
            "organization": "urn:oid:1.2|42",
        }
        if "jwks_url" not in changed:
            values["jwks"] = jwks(key_pair(), key_pair("RSA", "key-2"))
        client = self.clients().add(NewClient(client_id, **{**values, **changed}), context())
        self.acts.clear()
        return client

    def assertion(self, client_id="ehr-one", key=None, **claims):
        """Return a fresh assertion at the world's time."""
        now = int(self.clock.now().timestamp())
        claims = {"iat": now, "exp": now + 300, **claims}
        return make_assertion(key or key_pair(), client_id, TOKEN_URL, **claims)

    def http(self, worker=None):
        """Return an HTTP client of a worker."""
        worker = worker or self.worker()
        app = Flask("token-world")
        app.register_blueprint(
            oauth_blueprint(worker, Reception(f"{PUBLIC_URL}/fhir", self.clock, RandomIds())),
            url_prefix="/oauth",
        )
        return app.test_client()

    def close(self):
        """Let the connections go."""
        for each in self.opened:
            each.close()


@contextmanager
def opened_world(uri, name, kind=World):
    """An empty world on the database of that name."""
    made = kind(uri, name)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def world(mongodb_uri, database_name):
    """One database, and as many workers as a test wants."""
    with opened_world(mongodb_uri, database_name) as made:
        yield made

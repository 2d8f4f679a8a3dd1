"""The whole application on a real database, and callers that hold a token."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace
from werkzeug.routing import Rule

from fhir_dmp.app.server import create_server
from fhir_dmp.app.web import create_app
from fhir_dmp.service.clients import NewClient
from fhir_dmp.settings import Limits
from tests.access_world import World, observation
from tests.conftest import server_settings
from tests.oauth_world import cheap_passwords, jwks, key_pair


class Caller:
    """A client of the FHIR endpoint with a token of its own; ``fresh`` gives another connection of the same."""

    def __init__(self, app, client_id, scopes):
        self.app = app
        self.client_id = client_id
        self.scopes = scopes
        self._http = app.test_client()
        server = app.extensions["fhir_dmp"]
        self._token = server.tokens.operator_token(
            client_id, scopes, "tester", server.operator_context("tester", "test")
        )

    def fresh(self):
        other = object.__new__(Caller)
        other.__dict__.update(self.__dict__, _http=self.app.test_client())
        return other

    def at(self, app):
        """Return the same client at another worker."""
        other = self.fresh()
        other._http = app.test_client()
        return other

    def _send(self, method, url, body=None, headers=None, **options):
        sent = {"Authorization": f"Bearer {self._token}", **(headers or {})}
        if body is not None:
            sent.setdefault("Content-Type", "application/fhir+json")
            options["data"] = body if isinstance(body, bytes) else json.dumps(body)
        return self._http.open(
            "/fhir" + url.removeprefix("http://127.0.0.1:8000/fhir"), method=method, headers=sent, **options
        )

    def get(self, url, **options):
        return self._send("GET", url, **options)

    def post(self, url, body=None, **options):
        return self._send("POST", url, body, **options)

    def put(self, url, body=None, **options):
        return self._send("PUT", url, body, **options)

    def patch(self, url, body=None, **options):
        kind = "application/json-patch+json" if isinstance(body, list) else "application/fhir+json"
        options["headers"] = {"Content-Type": kind, **options.get("headers", {})}
        return self._send("PATCH", url, body, **options)

    def delete(self, url, **options):
        return self._send("DELETE", url, **options)


_WRITTEN = {}


def _written_once(write):
    """Return what keeps the functions that build the URLs of a route: Werkzeug writes and compiles two for each, as long as all else takes."""

    def kept(rule, append_unknown=True):
        told = (rule.rule, tuple(rule._trace), repr(rule.defaults), append_unknown)
        if told not in _WRITTEN:
            _WRITTEN[told] = write(rule, append_unknown)
        return _WRITTEN[told]

    return kept


@pytest.fixture(scope="package", autouse=True)
def _cheap_applications():
    """Have a thousand applications cost less: passwords are hashed in no time (a contract asks what a hash costs in earnest)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fhir_dmp.app.server.Passwords", cheap_passwords)
        patch.setattr(Rule, "_compile_builder", _written_once(Rule._compile_builder))
        yield


def make_app(uri, name, folder, **limits):
    """Return the application on a database of its own."""
    settings = server_settings(uri, name, folder)
    if limits:
        settings = replace(settings, limits=Limits(**limits))
    return create_app(settings, create_server(settings))


def register(app, client_id, role="ehr", scopes=("system/*.cruds",)):
    """Register a backend client and return a caller for it."""
    server = app.extensions["fhir_dmp"]
    new = NewClient(
        id=client_id, kind="backend", role=role, scopes=scopes, jwks=jwks(key_pair()), organization="urn:x|1"
    )
    server.clients.add(new, server.operator_context("tester", "test"))
    return Caller(app, client_id, scopes)


@pytest.fixture
def app(mongodb_uri, database_name, tmp_path):
    """The application, on a database of its own."""
    made = make_app(mongodb_uri, database_name, tmp_path)
    yield made
    made.extensions["fhir_dmp"].close()


@pytest.fixture
def world(mongodb_uri, database_name, tmp_path):
    """A record, its holder, and others at the one door."""
    made = World(mongodb_uri, database_name, tmp_path)
    yield made
    made.server.close()


@pytest.fixture
def item(world):
    """An observation that the EHR of structure 1 wrote."""
    return f"Observation/{world.ehr.made(observation(world.patient))['id']}"


@pytest.fixture
def ehr(app):
    """An EHR that may do everything its scopes name."""
    return register(app, "ehr-one")


@pytest.fixture(scope="module")
def still_ehr(mongodb_uri, databases, tmp_path_factory):
    """An EHR at an application that the tests of a module read, or ask in vain to change: what their fixtures store stays as it is."""
    name = databases.take()
    settings = server_settings(mongodb_uri, name, tmp_path_factory.mktemp("still"), token_seconds=3600)
    made = create_app(settings, create_server(settings))
    yield register(made, "ehr-one")
    made.extensions["fhir_dmp"].close()
    databases.put_back(name)


@pytest.fixture
def auditor(app):
    """An auditor."""
    return register(app, "auditor-one", role="auditor", scopes=("system/AuditEvent.rs", "system/*.rs"))


@pytest.fixture
def anonymous(app):
    """A caller without a token."""
    return app.test_client()


@pytest.fixture
def with_scopes(app):
    """Make an EHR with these scopes."""
    return lambda *scopes: register(app, f"ehr-{len(scopes)}-{abs(hash(scopes))}", scopes=scopes)


@pytest.fixture
def small_ehr(mongodb_uri, database_name, tmp_path):
    """An EHR at a server that takes bodies of 64 kB."""
    made = make_app(mongodb_uri, database_name, tmp_path, body=65536, bundle_entries=10)
    yield register(made, "ehr-small")
    made.extensions["fhir_dmp"].close()


@pytest.fixture
def world_auditor(world):
    """An auditor of ``world``."""
    return world.system("auditor-one", "auditor")

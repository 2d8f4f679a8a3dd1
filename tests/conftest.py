"""One real MongoDB for the run, a database for each test that no other uses meanwhile, and the server's parts on it."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pymongo
import pytest
from hypothesis import settings
from pymongo import WriteConcern
from pymongo.uri_parser import parse_uri

from fhir_dmp.settings import Settings
from fhir_dmp.stores.mongo.documents import LOG_SUFFIX, SEAL_SUFFIX
from fhir_dmp.stores.mongo.embedded import Embedded

settings.register_profile("house", deadline=None)
settings.load_profile("house")
"""A machine that does other things as well makes an example slow, not wrong."""

_SHARED = "mongodb-of-the-run"
_SUFFIXES = ("", LOG_SUFFIX, SEAL_SUFFIX)
"""A server's databases: the records, the log and its seals."""

_MANY = 1000
"""Rows from which on it costs less to make their collection anew."""

_UNHEARD = WriteConcern(w=1, j=False)
"""For what need not be on the disk before the next: once a later write is, so is what went before it."""


def _shared_folder(config: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that all workers of a run share."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if hasattr(config, "workerinput") else base) / _SHARED


@pytest.fixture(scope="session")
def mongodb_uri(request, tmp_path_factory):
    """The run's MongoDB: the first worker that needs it starts it, the run's end stops it.

    It removes no row whose time is over: it goes by its own clock, and tests by theirs, which stands long before. Its password is hashed as
    little as MongoDB lets it be: each of some thousand servers proves it anew.
    """
    uri = Embedded.ensure(_shared_folder(request.config, tmp_path_factory)).uri
    with pymongo.MongoClient(uri) as client:
        client.admin.command({"setParameter": 1, "ttlMonitorEnabled": False})
        client.admin.command({"setParameter": 1, "scramSHA256IterationCount": 5000})
        known = parse_uri(uri)
        client.admin.command("updateUser", known["username"], pwd=known["password"])
    return uri


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Have the journeys go first: they take longest, share a server, and must not be what one worker is left with at the end."""
    items.sort(key=lambda item: "journeys" not in item.path.parts)


def pytest_sessionfinish(session):
    """Stop the run's MongoDB, when all workers are done."""
    if hasattr(session.config, "workerinput"):
        return
    factory = getattr(session.config, "_tmp_path_factory", None)
    folder = _shared_folder(session.config, factory) if factory else None
    if folder is not None and (folder / "mongodb" / "mongod.json").exists():
        Embedded.ensure(folder, own=True).stop()


def server_settings(uri, name, folder, **more):
    """Return the settings of a server on these databases."""
    given = {"public_url": "http://127.0.0.1:8000", "log_level": "error", **more}
    return Settings(mongodb_uri=uri, mongodb_database=name, data_dir=Path(folder), **given)


class Databases:
    """This worker's databases: one that a test has done with is emptied for the next, since collections and indexes cost most of a test.

    Two of them take turns, so that the one is emptied while a test has the other: MongoDB lets wait for its disk, and dropping more than that.
    """

    def __init__(self, client):
        self._client = client
        self._emptied, self._dropped = [], []
        self._aside = ThreadPoolExecutor(1)

    def take(self):
        """Return the name of an empty one."""
        return self._emptied.pop(0).result() if len(self._emptied) > 1 else f"test_{secrets.token_hex(6)}"

    def put_back(self, name):
        """Leave nothing of what a test stored, soon."""
        self._emptied.append(self._aside.submit(self._empty, name))

    def drop(self, name):
        """Leave no collection either."""
        self._dropped.append(self._aside.submit(self._drop, name))

    def close(self):
        """Wait for what is under way; raise what went wrong in it."""
        self._aside.shutdown()
        for each in (*self._emptied, *self._dropped):
            each.result()

    def _empty(self, name):
        databases = [self._client.get_database(name + suffix, write_concern=_UNHEARD) for suffix in _SUFFIXES]
        for collection in [each[of] for each in databases for of in each.list_collection_names()]:
            rows = collection.estimated_document_count()
            if rows > _MANY:
                collection.drop()
            elif rows:
                collection.delete_many({})
        self._client["emptied"]["names"].insert_one({"name": name})
        return name

    def _drop(self, name):
        for suffix in _SUFFIXES:
            self._client.drop_database(name + suffix)


@pytest.fixture(scope="session")
def databases(mongodb_uri):
    """The databases of this worker's tests."""
    with pymongo.MongoClient(mongodb_uri) as client:
        made = Databases(client)
        yield made
        made.close()


@pytest.fixture
def database_name(databases):
    """A name of databases that are empty, though they may have their collections already."""
    name = databases.take()
    yield name
    databases.put_back(name)


@pytest.fixture
def new_database_name(databases):
    """A name that no other test ever has: for those that look at the collections, or change them."""
    name = f"test_{secrets.token_hex(6)}"
    yield name
    databases.drop(name)

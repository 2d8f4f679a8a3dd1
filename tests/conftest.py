"""One real MongoDB for the run, a database of its own for each test, and the server's parts on it."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
from hypothesis import settings

from fhir_dmp.stores.mongo.documents import LOG_SUFFIX, SEAL_SUFFIX
from fhir_dmp.stores.mongo.embedded import Embedded

settings.register_profile("house", deadline=None)
settings.load_profile("house")
"""A machine that does other things as well makes an example slow, not wrong."""

_SHARED = "mongodb-of-the-run"


def _shared_folder(config: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that all workers of a run share."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if hasattr(config, "workerinput") else base) / _SHARED


@pytest.fixture(scope="session")
def mongodb_uri(request, tmp_path_factory):
    """The run's MongoDB: the first worker that needs it starts it, the run's end stops it."""
    return Embedded.ensure(_shared_folder(request.config, tmp_path_factory)).uri


def pytest_sessionfinish(session):
    """Stop the run's MongoDB, when all workers are done."""
    if hasattr(session.config, "workerinput"):
        return
    factory = getattr(session.config, "_tmp_path_factory", None)
    folder = _shared_folder(session.config, factory) if factory else None
    if folder is not None and (folder / "mongodb" / "mongod.json").exists():
        Embedded.ensure(folder, own=True).stop()


@pytest.fixture
def database_name():
    """A name that no other test has."""
    return f"test_{secrets.token_hex(6)}"


def drop(client, name):
    """Drop a server's databases: the records, the log and its seals."""
    for suffix in ("", LOG_SUFFIX, SEAL_SUFFIX):
        client.drop_database(name + suffix)

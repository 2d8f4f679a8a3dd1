"""Which database a server takes: one of its own folder, or one that it is told of, if that is fit."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pymongo
import pytest

from fhir_dmp.errors import Unavailable
from fhir_dmp.settings import Settings
from fhir_dmp.stores.mongo import mongod
from fhir_dmp.stores.mongo.data_folder import DatabaseError
from fhir_dmp.stores.mongo.embedded import Embedded, ServerLock
from fhir_dmp.stores.mongo.store import MongoStore
from tests.contract.changes import CLOCK
from tests.journeys.conftest import free_port


def test_a_database_that_does_not_answer_is_unavailable():
    """Quickly, and without a stack trace of the driver."""
    with pytest.raises(Unavailable):
        MongoStore.connect("mongodb://127.0.0.1:1/?directConnection=true", "x", clock=CLOCK, settings=Settings())


def test_without_any_mongod_the_three_ways_to_get_one_are_named(monkeypatch):
    """The package, PATH, or an address."""
    monkeypatch.setattr(mongod, "_packaged", lambda: None)
    monkeypatch.setenv("PATH", "")

    with pytest.raises(DatabaseError, match=r"fhir_dmp\[embedded\].*PATH.*DMP_MONGODB_URI"):
        mongod.find_mongod()


def test_two_servers_cannot_have_one_folder(tmp_path):
    """The lock goes with the process."""
    first = ServerLock(tmp_path)
    with pytest.raises(DatabaseError, match="--data-dir"):
        ServerLock(tmp_path)
    first.release()
    ServerLock(tmp_path).release()


def test_the_secrets_of_the_embedded_database_are_its_owners_alone(tmp_path):
    """Key file, password and place are 0600, the folder 0700; what joins does not stop what it joined."""
    owner = Embedded.ensure(tmp_path)
    try:
        guest = Embedded.ensure(tmp_path)
        guest.stop()
        with pymongo.MongoClient(owner.uri) as client:
            assert client.admin.command("hello")["setName"] == "rs0"
        root = Path(tmp_path) / "mongodb"
        assert root.stat().st_mode & 0o77 == 0
        for name in ("keyfile", "password", "mongod.json"):
            assert (root / name).stat().st_mode & 0o77 == 0
    finally:
        owner.stop()


def test_a_standalone_is_refused_with_the_reason(tmp_path):
    """Transactions need a replica set, and the message says how to have one."""
    port = free_port()
    command = [mongod.find_mongod(), "--dbpath", tmp_path, "--port", str(port), "--bind_ip", "127.0.0.1"]
    process = subprocess.Popen([*command, "--nounixsocket", "--logpath", tmp_path / "log"], stdout=subprocess.DEVNULL)
    try:
        uri = f"mongodb://127.0.0.1:{port}/?directConnection=true"
        with pymongo.MongoClient(uri, serverSelectionTimeoutMS=60_000) as client:
            client.admin.command("ping")
        with pytest.raises(Unavailable, match="replSet"):
            MongoStore.connect(uri, "x", clock=CLOCK, settings=Settings())
    finally:
        process.terminate()
        process.wait(60)

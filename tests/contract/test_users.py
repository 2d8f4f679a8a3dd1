"""What the users of the database may do: the application adds to the log, the one who seals reads it, neither changes it."""

from __future__ import annotations

import json

import pymongo
import pytest
from msgspec.structs import replace
from pymongo.errors import OperationFailure

from fhir_dmp.app.fitness import require_fit
from fhir_dmp.settings import Settings
from fhir_dmp.store.change import Commit
from fhir_dmp.stores.mongo import embedded
from fhir_dmp.stores.mongo.data_folder import DatabaseError
from fhir_dmp.stores.mongo.documents import LOG_SUFFIX, SEAL_SUFFIX
from fhir_dmp.stores.mongo.embedded import Embedded
from fhir_dmp.stores.mongo.store import MongoStore
from fhir_dmp.stores.mongo.users import may_alter_log, roles, script
from tests.contract.changes import CLOCK, create, event

NAME = "fhir_dmp"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data folder with an embedded database of its own."""
    made = tmp_path_factory.mktemp("users")
    database = Embedded.ensure(made)
    yield made
    database.stop()


@pytest.fixture
def app(folder):
    """The database as the application has it, with a row in the log."""
    uri = embedded.uri(folder, "app", NAME)
    store = MongoStore.connect(uri, NAME, clock=CLOCK, settings=Settings())
    store.commit(Commit((create(),), (event(),)))
    store.record(event())
    with pymongo.MongoClient(uri) as client:
        yield client
    store.close()


def month(client):
    log = client[NAME + LOG_SUFFIX]
    return log[max(name for name in log.list_collection_names() if name.startswith("audit_"))]


TAMPERINGS = {
    "update": lambda rows: rows.update_one({}, {"$set": {"b": b""}}),
    "replace": lambda rows: rows.find_one_and_replace({}, {"b": b""}),
    "delete": lambda rows: rows.delete_one({}),
    "drop": lambda rows: rows.drop(),
    "drop the database": lambda rows: rows.database.client.drop_database(rows.database.name),
    "rename": lambda rows: rows.rename("elsewhere"),
    "cap": lambda rows: rows.database.command("convertToCapped", rows.name, size=4096),
    "expire": lambda rows: rows.database.command("collMod", rows.name, validator={}),
    "merge": lambda rows: list(rows.aggregate([{"$merge": {"into": rows.name, "whenMatched": "replace"}}])),
}


@pytest.mark.parametrize("act", TAMPERINGS)
def test_the_application_cannot_change_the_log(app, act):
    """Not by any command that the server has for it."""
    before = list(month(app).find())
    with pytest.raises(OperationFailure) as refused:
        TAMPERINGS[act](month(app))

    assert refused.value.code == 13
    assert list(month(app).find()) == before


@pytest.mark.parametrize("act", TAMPERINGS)
def test_the_one_who_seals_cannot_change_the_log(app, folder, act):
    """Nor add to it."""
    with pymongo.MongoClient(embedded.uri(folder, "sealer", NAME)) as client:
        with pytest.raises(OperationFailure) as refused:
            TAMPERINGS[act](month(client))
        with pytest.raises(OperationFailure):
            month(client).insert_one({"_id": "invented"})

    assert refused.value.code == 13


def test_the_application_cannot_write_what_seals_the_log(app):
    """It reads heads and tiles for proofs."""
    seals = app[NAME + SEAL_SUFFIX]

    assert seals["heads"].find_one({}) is None
    with pytest.raises(OperationFailure):
        seals["heads"].insert_one({"_id": 1})


def test_it_is_told_whether_a_user_may_change_the_log(app, folder):
    """The two users may not, the owner may."""
    with pymongo.MongoClient(embedded.uri(folder, "sealer", NAME)) as sealer:
        assert not may_alter_log(sealer, NAME)
    with pymongo.MongoClient(embedded.uri(folder)) as owner:
        assert may_alter_log(owner, NAME)
    assert not may_alter_log(app, NAME)


def test_a_server_whose_user_may_change_the_log_is_refused(folder, tmp_path):
    """With the way out in words; whoever accepts it says so in a setting."""
    settings = Settings(mongodb_uri=embedded.uri(folder), data_dir=tmp_path, public_url="http://127.0.0.1:8000")
    require_fit(replace(settings, alterable_log=True))
    with pytest.raises(DatabaseError, match=r"fhir-dmp audit users.*DMP_ALTERABLE_LOG"):
        require_fit(settings)


def test_passwords_lie_in_files_of_their_own(app, folder):
    """One for each user, for the server's account alone."""
    files = sorted((folder / "mongodb").glob("password*"))

    assert [file.name for file in files] == ["password", "password-app", "password-sealer"]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert len({file.read_text() for file in files}) == 3


def test_what_a_keeper_runs_names_the_same_rights():
    """The script for mongosh makes the roles that the embedded database has."""
    told = script(NAME)

    for user, role in roles(NAME).items():
        assert f"{NAME}_{user}" in told
        for privilege in role["privileges"]:
            assert all(action in told for action in privilege["actions"])
    assert "passwordPrompt()" in told
    assert json.dumps(told)

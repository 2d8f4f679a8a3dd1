"""Each command that reads or changes records, accounts, clients or the log leaves its event, whether it succeeds or not; each that leaves none says why."""

from __future__ import annotations

import json

import click
import pytest
from click.testing import CliRunner

from fhir_dmp.cli import main
from fhir_dmp.stores.mongo.documents import LOG_SUFFIX, months
from tests.log_rows import rows_of
from tests.oauth_world import jwks, key_pair

PASSWORD = "cheval agrafe pile"
INS = "urn:oid:1.2.250.1.213.1.4.8|279035121518989"

LEAVES_NONE = {
    "serve": "starts what leaves events",
    "demo": "starts what leaves events, and registers its people and clients with theirs",
    "audit users": "prints a script",
    "audit verify-proof": "looks at a file alone",
}
"""Commands that touch neither records nor the log."""


class Operator:
    """Alice at the command line of a database, and the acts that her commands leave in its log."""

    def __init__(self, client, uri, name, folder):
        self.log = client[f"{name}{LOG_SUFFIX}"]
        self.folder = folder
        self._environ = {"DMP_MONGODB_URI": uri, "DMP_MONGODB_DATABASE": name, "DMP_DATA_DIR": str(folder)}
        self._known = set()
        self.ran = set()

    def __call__(self, *words, code=0, sent=None, operator=("--operator", "alice")):
        """Run a command; return the acts that it left and the codes of their outcomes, and what it printed."""
        self.ran.add(" ".join(words[: 1 + (words[0] in GROUPS)]))
        done = CliRunner().invoke(main, [*words, *operator], env=self._environ, input=sent)
        assert done.exit_code == code, done.output
        rows = [json.loads(row.body) for row in rows_of(self.log)]
        new = sorted((row for row in rows if row["id"] not in self._known), key=lambda row: row["recorded"])
        self._known.update(row["id"] for row in new)
        assert {row["agent"].get("operator") for row in new} <= {"alice"}
        return [row["act"] if row["outcome"] == "0" else f"{row['act']}!{row['outcome']}" for row in new], done.output


GROUPS = {
    name: group.commands
    for name in main.list_commands(click.Context(main))
    if isinstance(group := main.get_command(click.Context(main), name), click.Group)
}


@pytest.fixture
def alice(databases, mongodb_uri, new_database_name, tmp_path):
    """An operator of an empty database."""
    return Operator(databases._client, mongodb_uri, new_database_name, tmp_path)


def test_every_command_leaves_its_events(alice):
    """One for each act, done or refused, by the operator's name: the list is that of all commands there are."""
    folder = alice.folder
    (folder / "keys.json").write_text(jwks(key_pair()))
    (folder / "patient.json").write_text(json.dumps({"resourceType": "Patient", "id": "p1"}))
    keys, account = ("--jwks", str(folder / "keys.json")), ("--kind", "patient", "--name", "Anne", "--identifier", INS)
    ehr, export = ("client", "add", "ehr-one", "--role", "ehr", "--scope", "system/*.cruds", *keys), str(folder / "log")

    assert alice(*ehr)[0] == ["client-add"]
    assert alice(*ehr, code=1)[0] == ["client-add!8"]
    assert alice("client", "list")[0] == ["client-list"]
    assert alice("token", "ehr-one")[0] == ["operator-token"]
    assert alice("token", "nobody", code=1)[0] == ["operator-token!8"]
    assert alice("token", "ehr-one", "--patient", "nosuch", code=1)[0] == ["operator-token!8"]
    assert alice("load", "--as", "ehr-one", str(folder / "patient.json"))[0] == ["operator-token", "transaction"]
    added = ("account", "add", "anne", *account, "--resource", "Patient/p1")
    assert alice(*added, sent=f"{PASSWORD}\n")[0] == ["account-add"]
    assert alice(*added, sent=f"{PASSWORD}\n", code=1)[0] == ["account-add!8"]
    assert alice("account", "list")[0] == ["account-list"]
    represent = ("account", "represent", "anne", "RelatedPerson/r", "Patient/p2", "--name", "Paul")
    assert alice(*represent)[0] == ["account-represent"]
    for change in ("disable", "enable", "totp"):
        assert alice("account", change, "anne")[0] == [f"account-{change}"]
        assert alice("account", change, "nobody", code=1)[0] == [f"account-{change}!8"]
    assert alice("account", "password", "anne", sent=f"{PASSWORD} mur\n")[0] == ["account-password"]
    assert alice("access", "explain", "--as", "anne", "--patient", "p1")[0] == ["$explain"]
    assert alice("account", "remove", "anne")[0] == ["account-remove"]
    assert alice("reindex")[0] == ["reindex"]
    assert alice("record", "notices")[0] == ["$due-notices"]
    assert alice("record", "erase")[0] == ["record-erase"]
    assert alice("record", "twins")[0] == ["$twins"]

    assert alice("audit", "rotate-key")[0] == ["audit-rotate-key"]
    assert alice("audit", "verify")[0] == ["audit-verify"]
    assert alice("audit", "export", export)[0] == ["$entries"]
    assert alice("audit", "verify", export)[0] == []
    assert alice("audit", "head")[0] == ["$head"]
    assert alice("audit", "head", "999", code=1)[0] == ["$head!4"]
    assert alice("audit", "consistency", "1")[0] == ["$consistency"]
    event = json.loads((folder / "log").read_bytes().splitlines()[1])["entry"]["id"]
    acts, told = alice("audit", "proof", event)
    assert acts == ["$proof"]
    (folder / "proof").write_text(told)
    assert alice("audit", "verify-proof", str(folder / "proof"), operator=())[0] == []
    assert alice("audit", "users", operator=())[0] == []
    assert alice("audit", "retire", months(alice.log)[-1], "--yes", code=1)[0] == ["audit-retire!8"]
    alice.log[months(alice.log)[-1]].update_one({"_id": event}, {"$set": {"pt": ["Patient/p2"]}})
    assert alice("audit", "verify", code=1)[0] == ["audit-verify!8"]
    assert alice("client", "remove", "ehr-one")[0] == ["client-remove"]
    assert alice("client", "remove", "ehr-one", code=1)[0] == ["client-remove!8"]

    every = {name for name in main.list_commands(click.Context(main)) if name not in GROUPS}
    every |= {f"{group} {name}" for group, commands in GROUPS.items() for name in commands}
    assert alice.ran == every - {"serve", "demo"}
    assert set(LEAVES_NONE) < every


def test_who_verifies_the_database_has_the_public_key_alone(alice, tmp_path_factory):
    """In a folder of their own, without the server's secret or any key that signs; that they looked stands in the log."""
    assert alice("token", "nobody", code=1)[0] == ["operator-token!8"]
    assert alice("audit", "rotate-key")[0] == ["audit-rotate-key"]
    files, elsewhere = alice.folder / "audit", tmp_path_factory.mktemp("verifier")
    trusted = ("--key", str(files / "heads.pub"), "--heads", str(files / "heads.ndjson"))

    acts, told = alice("audit", "verify", *trusted, "--data-dir", str(elsewhere))

    assert acts == ["audit-verify"]
    assert "events verified" in told
    assert list(elsewhere.iterdir()) == []

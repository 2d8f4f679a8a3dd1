"""What a newcomer meets: commands that can be copied, and errors that name the way out."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess

import pymongo
import pytest
import requests
from click.testing import CliRunner

from fhir_dmp.cli import main
from fhir_dmp.stores.mongo.mongod import find_mongod
from tests.journeys.conftest import free_port, start, stop


def _refused(words, **environ):
    """Run the command, which must end with one line and no trace, and return what it says."""
    ended = CliRunner().invoke(main, words, env=environ)
    assert ended.exit_code == 1, ended.output
    assert ended.output.startswith("Error: ")
    assert "Traceback" not in ended.output
    return ended.output


@pytest.fixture
def standalone(tmp_path):
    """The address of a mongod that is no replica set."""
    port, data = free_port(), tmp_path / "standalone"
    data.mkdir()
    words = [find_mongod(), "--dbpath", data, "--port", str(port), "--bind_ip", "127.0.0.1", "--nounixsocket"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    with pymongo.MongoClient("127.0.0.1", port, serverSelectionTimeoutMS=60_000) as client:
        client.admin.command("ping")
    yield f"mongodb://127.0.0.1:{port}"
    process.terminate()
    process.wait(60)


def test_a_demonstration_prints_commands_that_work_from_anywhere(tmp_path):
    """In a folder with a blank in its name, called from another: the token and both curl lines do what they say."""
    folder = tmp_path / "my data"
    folder.mkdir()
    running = start(folder, verb="demo", more=("--patients", "2"))
    try:
        told = (folder / "server.log").read_text()
        token = re.search(r"TOKEN=\$\((.+)\)", told)[1]
        bearer = subprocess.run(shlex.split(token), capture_output=True, text=True, check=True, cwd=tmp_path).stdout
        urls = re.findall(r'curl -H "Authorization: Bearer \$TOKEN" "(http\S+)"', told)
        answers = [
            requests.get(url, headers={"Authorization": f"Bearer {bearer.strip()}"}, timeout=30).json() for url in urls
        ]
        assert [answer["entry"][0]["resource"]["resourceType"] for answer in answers] == ["Patient", "Observation"]
        assert requests.get(re.search(r"Open\s+(\S+)", told)[1], timeout=30).status_code == 200
        assert "WARNING" not in told
    finally:
        stop(running)


def test_a_port_that_is_taken_is_told_before_anything_starts(tmp_path):
    """No database is started for a server that cannot listen."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        said = _refused(["serve", "--port", str(other.getsockname()[1]), "--data-dir", str(tmp_path / "data")])

    assert "give another --port" in said
    assert not (tmp_path / "data").exists()


def test_a_folder_that_cannot_be_is_told_with_its_option(tmp_path):
    """A data folder below a file: which path, and which option."""
    (tmp_path / "file").touch()
    said = _refused(["serve", "--port", str(free_port()), "--data-dir", str(tmp_path / "file" / "data")])

    assert str(tmp_path / "file") in said
    assert "--data-dir" in said


def test_a_server_on_all_addresses_says_which_setting_tells_its_own(tmp_path):
    """Tokens and links are made for the address that clients reach, which nobody can know here."""
    (tmp_path / "file").touch()
    words = ["serve", "--host", "0.0.0.0", "--port", str(free_port()), "--data-dir", str(tmp_path / "file" / "data")]

    assert "set DMP_PUBLIC_URL" in CliRunner().invoke(main, words).output
    assert "DMP_PUBLIC_URL" not in CliRunner().invoke(main, words, env={"DMP_PUBLIC_URL": "https://x.example"}).output


def test_a_standalone_database_is_refused_with_the_reason(tmp_path, standalone):
    """Why a replica set, and how one is made."""
    said = _refused(["client", "list", "--data-dir", str(tmp_path)], DMP_MONGODB_URI=standalone)

    assert "is a standalone" in said
    assert "rs.initiate()" in said


@pytest.mark.parametrize(
    ("uri", "way_out"),
    [
        ("mongodb://127.0.0.1:1/", "No MongoDB answers at DMP_MONGODB_URI"),
        ("postgres://somebody:pass-word@localhost/", "write mongodb://HOST"),
        ("mongodb://somebody:pass:word@localhost/", "percent-encoded"),
    ],
)
def test_a_database_that_is_not_there_is_told_without_its_password(tmp_path, uri, way_out):
    """An address that nobody answers at, and two that are none."""
    said = _refused(["client", "list", "--data-dir", str(tmp_path)], DMP_MONGODB_URI=uri)

    assert way_out in said
    assert "somebody" not in said
    assert "word" not in said.replace("password", "")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DMP_THREADS", "many"),
        ("DMP_THREADS", "0"),
        ("DMP_LIMIT_PAGE", "-1"),
        ("DMP_LOG_LEVEL", "loud"),
        ("DMP_TIME_ZONE", "Nowhere"),
        ("DMP_RULE_BREAK_GLASS_PROFESSIONS", "doctors"),
        ("DMP_RULE_EMERGENCY_MASKED", "perhaps"),
        ("DMP_RULE_AUTHORIZATION_DAYS", "0"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(tmp_path, name, value):
    """The variable and what it holds, before anything starts."""
    said = _refused(["serve", "--data-dir", str(tmp_path / "data")], **{name: value})

    assert name in said
    assert value in said
    assert not (tmp_path / "data").exists()


def test_a_list_of_clients_is_a_line_each_however_long(server):
    """Tabs and whole lines, for other programs to read."""
    scopes = " ".join(f"system/{each}.cruds" for each in ("Patient", "Observation", "Encounter", "DocumentReference"))
    server.register("ehr-of-many-scopes", scope=scopes)

    lines = server.command("client", "list").stdout.splitlines()

    assert ["ehr-of-many-scopes", "backend", "ehr", scopes, ""] in [line.split("\t") for line in lines]

"""A real server in processes of its own, for stories told through the network."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from fhir_dmp.cli import main
from fhir_dmp.oauth.rfc7523 import ASSERTION_TYPE, make_assertion
from fhir_dmp.stores.mongo import mongod
from tests.oauth_world import jwks, key_pair

COMMAND = [sys.executable, "-m", "fhir_dmp.cli"]


@dataclass
class Running:
    """A server process, its folder and its URL."""

    url: str
    folder: Path
    process: subprocess.Popen

    @property
    def fhir(self):
        return f"{self.url}/fhir"

    def command(self, *words, typed=None, check=True):
        """Run a command beside the server, without the second that a process of its own costs; ``typed`` is what it reads."""
        words = [*words, "--data-dir", str(self.folder)]
        done = CliRunner().invoke(main, words, input=typed, catch_exceptions=False)
        assert done.exit_code == 0 or not check, done.output
        return done

    def register(self, client_id, role="ehr", scope="system/*.cruds"):
        """Register a backend client at the command line."""
        keys = self.folder / "keys.json"
        keys.write_text(jwks(key_pair()))
        self.command("client", "add", client_id, "--role", role, "--scope", scope, "--jwks", str(keys))

    def token(self, client_id):
        """Return a token as SMART Backend Services get it."""
        answer = requests.post(
            f"{self.url}/oauth/token",
            data={
                "grant_type": "client_credentials",
                "client_assertion_type": ASSERTION_TYPE,
                "client_assertion": make_assertion(key_pair(), client_id, f"{self.url}/oauth/token"),
            },
            timeout=60,
        )
        assert answer.status_code == 200, answer.text
        return answer.json()["access_token"]


def free_port():
    """Return a port that nobody listens on, and that the system gives to no connection meanwhile."""
    return mongod.free_port(None)


def start(folder, *, port=None, verb="serve", more=()):
    """Start a server and wait until it is ready; one that does not come up is not left behind."""
    port = port or free_port()
    words = [*COMMAND, verb, "--port", str(port), "--workers", "2", "--data-dir", str(folder), *more]
    with (Path(folder) / "server.log").open("a") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
    running = Running(f"http://127.0.0.1:{port}", Path(folder), process)
    try:
        wait_until_ready(running)
    except BaseException:
        stop(running)
        raise
    return running


def wait_until_ready(running, seconds=60):
    """Return once the server takes work."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        assert running.process.poll() is None, (running.folder / "server.log").read_text()
        try:
            if requests.get(f"{running.url}/readyz", timeout=5).status_code == 200:
                return
        except requests.RequestException:
            pass
        time.sleep(0.1)
    raise AssertionError((running.folder / "server.log").read_text())


def stop(running):
    """Stop the server and what it started."""
    running.process.terminate()
    running.process.wait(30)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One server for all stories that leave it as it was: what they count is their own, or what came since."""
    running = start(tmp_path_factory.mktemp("server"))
    running.register("ehr-one")
    running.register("auditor-one", role="auditor", scope="system/AuditEvent.rs")
    yield running
    stop(running)


def database_process(running):
    """Return the pid of the server's mongod."""
    return json.loads((running.folder / "mongodb" / "mongod.json").read_text())["pid"]

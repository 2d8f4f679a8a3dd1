"""What happens when processes die: nothing acknowledged is lost, and nobody has to restart anything by hand."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from contextlib import suppress
from urllib.parse import urlsplit

import requests

from fhir_dmp.stores.mongo.embedded import Embedded
from tests.journeys.conftest import COMMAND, database_process, start, stop, wait_until_ready

CONTAINER_SECONDS = 10
"""After so long a container is killed that was told to stop."""

PATIENT = {"resourceType": "Patient", "name": [{"family": "Durand"}]}


def headers(server):
    return {"Authorization": f"Bearer {server.token('ehr-one')}", "Content-Type": "application/fhir+json"}


def wait_until_nobody_listens(server):
    """Return once the last worker of a server is gone too: one that was about to begin may still take a call and end with it."""
    at, ends = urlsplit(server.url), time.monotonic() + 30
    with suppress(ConnectionRefusedError):
        while time.monotonic() < ends:
            socket.create_connection((at.hostname, at.port), timeout=30).close()
            time.sleep(0.05)
        raise AssertionError("its workers go on without it")


def test_a_killed_database_answers_503_and_comes_back_by_itself(tmp_path):
    """kill -9 of mongod under writers: every acknowledged create is there afterwards, with its event."""
    server = start(tmp_path)
    try:
        server.register("ehr-one")
        server.register("auditor-one", role="auditor", scope="system/AuditEvent.rs")
        sent = headers(server)
        made, statuses, over = [], set(), threading.Event()

        def write():
            while not over.is_set():
                answer = requests.post(f"{server.fhir}/Patient", json=PATIENT, headers=sent, timeout=30)
                statuses.add(answer.status_code)
                if answer.status_code == 201:
                    made.append(answer.json()["id"])

        threads = [threading.Thread(target=write) for _ in range(4)]
        for thread in threads:
            thread.start()
        ends = time.monotonic() + 60
        while len(made) < 50:
            assert time.monotonic() < ends, statuses
            time.sleep(0.1)
        killed = database_process(server)
        os.kill(killed, signal.SIGKILL)
        while database_process(server) == killed:
            assert time.monotonic() < ends, "nobody starts another"
            time.sleep(0.1)
        wait_until_ready(server)
        before = len(made)
        ends = time.monotonic() + 60
        while len(made) == before and time.monotonic() < ends:
            time.sleep(0.1)
        over.set()
        for thread in threads:
            thread.join()

        assert len(made) > before, "writes go on without a restart"
        assert statuses <= {201, 503, 401}
        sent = headers(server)
        for each in made:
            assert requests.get(f"{server.fhir}/Patient/{each}", headers=sent, timeout=30).status_code == 200
        auditor = {"Authorization": f"Bearer {server.token('auditor-one')}"}
        counted = requests.get(
            f"{server.fhir}/AuditEvent?date=ge2000&subtype=create&outcome=0&_summary=count", headers=auditor, timeout=30
        ).json()["total"]
        assert counted >= len(made)
    finally:
        stop(server)


def test_a_killed_server_leaves_a_database_that_the_next_one_takes_over(tmp_path):
    """kill -9 of the server ends its workers too and leaves mongod; the next one on the port adopts it and has the records."""
    first = start(tmp_path)
    first.register("ehr-one")
    made = requests.post(f"{first.fhir}/Patient", json=PATIENT, headers=headers(first), timeout=30).json()
    first.process.kill()
    first.process.wait(10)
    wait_until_nobody_listens(first)
    second = start(tmp_path, port=int(first.url.rsplit(":", 1)[1]))
    try:
        read = requests.get(f"{second.fhir}/Patient/{made['id']}", headers=headers(second), timeout=30)
        assert read.json() == made
    finally:
        stop(second)


def test_a_server_stops_in_time_while_its_database_is_away(tmp_path, monkeypatch):
    """A mongod that takes connections and answers none: calls end, and so do the workers, by themselves, before containers are killed."""
    database = Embedded.ensure(tmp_path / "elsewhere")
    monkeypatch.setenv("DMP_MONGODB_URI", database.uri)
    monkeypatch.setenv("DMP_ALTERABLE_LOG", "true")
    monkeypatch.setenv("DMP_ANONYMOUS_PER_MINUTE", "1")
    (tmp_path / "server").mkdir()
    server = start(tmp_path / "server")
    away = json.loads((tmp_path / "elsewhere" / "mongodb" / "mongod.json").read_text())["pid"]
    statuses = []

    def ask():
        statuses.append(requests.get(f"{server.fhir}/Patient", timeout=30).status_code)

    def ask_late():
        with suppress(requests.ConnectionError):  # whoever comes once it stops finds nobody
            ask()

    try:
        for _ in range(30):
            ask()
        assert statuses.count(429) > 20
        os.kill(away, signal.SIGSTOP)
        askers = [threading.Thread(target=ask_late) for _ in range(8)]
        for each in askers:
            each.start()
        began = time.monotonic()
        stop(server)
        took = time.monotonic() - began
        for each in askers:
            each.join()
    finally:
        os.kill(away, signal.SIGCONT)
        server.process.kill()
        database.stop()

    assert took < CONTAINER_SECONDS
    told = [
        json.loads(line)["event"]
        for line in (tmp_path / "server" / "server.log").read_text().splitlines()
        if line[0] == "{"
    ]
    assert {"not-closed", "refusals-untold"}.intersection(told), "what could not be written down any more is said"


def test_two_servers_on_one_folder_is_a_clear_error(server):
    """The second says what to do instead of harming the first."""
    second = subprocess.run(
        [*COMMAND, "serve", "--port", "1", "--data-dir", str(server.folder)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert second.returncode == 1
    assert "--data-dir" in second.stderr
    assert "Traceback" not in second.stderr


def test_commands_work_beside_the_running_server(server):
    """A token from the command line is good at the server, and a removed client's is not."""
    server.register("short-lived")
    words = [*COMMAND, "token", "short-lived", "--data-dir", str(server.folder)]
    token = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True).stdout.strip()
    sent = {"Authorization": f"Bearer {token}"}

    assert requests.get(f"{server.fhir}/Patient", headers=sent, timeout=30).status_code == 200
    server.command("client", "remove", "short-lived")
    assert requests.get(f"{server.fhir}/Patient", headers=sent, timeout=30).status_code == 401

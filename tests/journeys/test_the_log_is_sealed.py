"""The log of a running server, sealed by its workers and verified at the command line with the public key alone."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime

import pymongo
import requests
from click.testing import CliRunner

from fhir_dmp.cli import main
from fhir_dmp.clock import FixedClock
from fhir_dmp.settings import Settings
from fhir_dmp.stores.mongo import embedded
from fhir_dmp.stores.mongo.embedded import Embedded
from fhir_dmp.stores.mongo.packing import unpack
from fhir_dmp.stores.mongo.store import MongoStore
from tests.journeys.conftest import start, stop
from tests.unit.audit.world import SUCCESSES, context, describe, salt

PATIENT = {"resourceType": "Patient", "name": [{"family": "Durand"}]}


def create(server, count):
    sent = {"Authorization": f"Bearer {server.token('ehr-one')}", "Content-Type": "application/fhir+json"}
    for _ in range(count):
        assert requests.post(f"{server.fhir}/Patient", json=PATIENT, headers=sent, timeout=30).status_code == 201


def sealed(server):
    """Return how many events the last published head holds; none before the first is there, a second or so after the start."""
    heads = server.folder / "audit" / "heads.ndjson"
    lines = heads.read_text().splitlines() if heads.exists() else []
    return int(json.loads(lines[-1])["note"].splitlines()[1]) if lines else 0


def wait_until_sealed(server, more_than=0):
    ends = time.monotonic() + 60
    while not (sealed(server) > more_than and "wait for" not in server.command("audit", "verify").stdout):
        assert time.monotonic() < ends
        time.sleep(0.2)


def test_a_running_server_seals_its_log_and_anybody_verifies_it(tmp_path):
    """Within a second or so; an edit straight in the database is named; another server takes up the same tree."""
    server = start(tmp_path)
    try:
        server.register("ehr-one")
        create(server, 10)
        wait_until_sealed(server, 9)
    finally:
        stop(server)
    before = sealed(server)
    server = start(tmp_path)
    try:
        create(server, 3)
        wait_until_sealed(server, before)
        told = server.command("audit", "verify").stdout
        assert int(re.match(r"(\d+) events verified", told)[1]) > before

        old = tmp_path / "old.pub"
        old.write_bytes((tmp_path / "audit" / "heads.pub").read_bytes())
        assert "signs from now on" in server.command("audit", "rotate-key").stdout
        before = sealed(server)
        create(server, 2)
        wait_until_sealed(server, before)
        assert "verified" in server.command("audit", "verify", "--key", str(old)).stdout
        assert (tmp_path / "audit" / "heads.pub").read_bytes() != old.read_bytes()

        file = tmp_path / "log.ndjson"
        server.command("audit", "export", str(file))
        begun = file.read_bytes()
        file.write_bytes(begun[: len(begun) * 2 // 3])
        server.command("audit", "export", str(file))
        offline = ["--key", str(tmp_path / "audit" / "heads.pub"), "--heads", str(tmp_path / "audit" / "heads.ndjson")]
        assert "events verified" in server.command("audit", "verify", str(file), *offline, check=False).stdout
        event = json.loads(begun.splitlines()[5])["entry"]["id"]
        (tmp_path / "proof.json").write_text(server.command("audit", "proof", event).stdout)
        assert event in server.command("audit", "verify-proof", str(tmp_path / "proof.json")).stdout
        (tmp_path / "grown.json").write_text(server.command("audit", "consistency", "2").stdout)
        assert "begin head" in server.command("audit", "verify-proof", str(tmp_path / "grown.json")).stdout

        with pymongo.MongoClient(embedded.uri(tmp_path)) as client:
            log = client["fhir_dmp_log"]
            month = max(name for name in log.list_collection_names() if name.startswith("audit_"))
            edited = log[month].find_one({"n": 2})
            log[month].update_one({"_id": edited["_id"]}, {"$set": {"pt": ["Patient/another"]}})
            closed = log["epochs"].count_documents({"closed": {"$exists": True}})
        refused = server.command("audit", "verify", check=False)
        assert refused.exit_code == 1
        assert edited["_id"] in refused.stdout
        assert closed >= 4, "the workers that were stopped closed their epochs"
    finally:
        stop(server)


def test_a_long_log_leaves_by_pages_and_is_whole(server):
    """Over the network, each page on from the last line of the one before; anybody verifies what came."""
    asked = {"Authorization": f"Bearer {server.token('ehr-one')}"}
    with requests.Session() as session:
        for number in range(300):
            url = f"{server.fhir}/Patient/nobody-{number}"
            assert session.get(url, headers=asked, timeout=30).status_code == 404
    wait_until_sealed(server, 300)

    reader = {"Authorization": f"Bearer {server.token('auditor-one')}", "Accept": "application/x-ndjson"}
    file, told, asked, pages = server.folder / "came.ndjson", {"leaf": 0, "size": 1}, {"_count": 100}, 0
    with requests.Session() as session, file.open("wb") as came:
        while told["leaf"] < told["size"]:
            answer = session.get(f"{server.fhir}/AuditEvent/$entries", params=asked, headers=reader, timeout=30)
            assert answer.status_code == 200
            came.write(answer.content)
            told, pages = json.loads(answer.content.splitlines()[-1]), pages + 1
            asked = {"_count": 100, "from": told["leaf"], "head": told["head"]}
    keys = ("--key", str(server.folder / "audit" / "heads.pub"))
    told = server.command("audit", "verify", str(file), *keys, "--heads", str(server.folder / "audit" / "heads.ndjson"))

    assert pages > 3
    assert int(re.match(r"(\d+) events verified", told.stdout)[1]) > 300


def test_no_process_outlives_a_verification_that_was_killed():
    """Those that look beside it hear of its end, and close what they hold: its output ends."""
    words = "import os, signal\nfrom fhir_dmp.service.audit_verify import lookers\n"
    words += "with lookers(2): print(os.getpid(), flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    killed = subprocess.Popen([sys.executable, "-c", words], stdout=subprocess.PIPE, start_new_session=True)

    said, _ = killed.communicate(timeout=20)
    assert int(said) == killed.pid
    assert killed.returncode == -signal.SIGKILL


def write_a_month_of_last_year(folder, count):
    """Leave events of January 2025 in the folder's database, as its server would have."""
    clock = FixedClock(datetime(2025, 1, 20, tzinfo=UTC))
    database = Embedded.ensure(folder)
    store = MongoStore.connect(database.uri, "fhir_dmp", clock=clock, settings=Settings())
    for number in range(count):
        event_id = f"0194822a-0000-7000-8000-{number:012}"
        store.record(describe(SUCCESSES["read"], context(), event_id, clock.micros(), salt))
    store.close()
    return database


def test_a_month_is_retired_at_the_command_line_and_what_was_removed_stays_proven(tmp_path):
    """Asked twice, told what went, refused for what is not over; the act has its event, and the log and its export verify."""
    database = write_a_month_of_last_year(tmp_path, 5)

    def run(*words, answer=None):
        return CliRunner().invoke(main, [*words, "--data-dir", str(tmp_path)], input=answer)

    try:
        kept = run("audit", "retire", "audit_2025_01", "--operator", "alice", answer="n\n")
        assert (kept.exit_code, "removed for good" in kept.output) == (1, True)
        young = run("audit", "retire", "audit_2025_01", "--yes")
        assert (young.exit_code, "is kept until 2035-02-01" in young.output) == (1, True)
        done = run("audit", "retire", "audit_2025_01", "--operator", "alice", "--yes", "--early", "a trial")
        assert done.exit_code == 0, done.output
        assert re.match(r"5 events of audit_2025_01 are removed; head \d+ of \d{4}-", done.output)

        again = run("audit", "retire", "audit_2025_01", "--yes")
        assert (again.exit_code, "removed already; a signed head" in again.output) == (1, True)
        unknown = run("audit", "retire", "audit_2024_01", "--yes")
        now = re.search(r"keeps no period .*; it keeps (audit_\d{4}_\d\d)\.", unknown.output)[1]
        early = run("audit", "retire", now, "--yes")
        assert (early.exit_code, "is not over" in early.output) == (1, True)

        export = str(tmp_path / "log.ndjson")
        assert run("audit", "export", export, "--operator", "alice").exit_code == 0
        for words in ((), ("--index",), (export,)):
            told = run("audit", "verify", *words)
            assert (told.exit_code, "events verified" in told.output) == (0, True), told.output
            assert "5 of them are not there" in told.output
        lines = [json.loads(line) for line in (tmp_path / "log.ndjson").read_bytes().splitlines()]
        assert [line["period"] for line in lines if "entry" in line and line["entry"] is None] == ["audit_2025_01"] * 5
        with pymongo.MongoClient(embedded.uri(tmp_path)) as client:
            stored = client["fhir_dmp_log"][now].find().sort("rec")
            rows = [json.loads(unpack(row["b"])) for row in stored]
        told = [row for row in rows if row["act"].startswith("audit-retire")]
        outcomes = [(row["act"], row.get("error", {}).get("code")) for row in told]
        refused = [("audit-retire", code) for code in ("conflict", "not-found", "not-found", "conflict")]
        assert outcomes == [refused[0], ("audit-retire-start", None), ("audit-retire", None), *refused[1:]]
        assert [row["outcome"] for row in rows if row["act"] == "audit-verify"] == ["0", "0"], "an export has no log"
        for row in told[1:3]:
            assert row["agent"]["operator"] == "alice"
            assert row["why"] == ["audit_2025_01, before its time: a trial"]
    finally:
        database.stop()

"""The log of a running server, sealed by its workers and verified at the command line with the public key alone."""

from __future__ import annotations

import json
import re
import time

import pymongo
import requests

from fhir_dmp.stores.mongo import embedded
from tests.journeys.conftest import start, stop

PATIENT = {"resourceType": "Patient", "name": [{"family": "Durand"}]}


def create(server, count):
    sent = {"Authorization": f"Bearer {server.token('ehr-one')}", "Content-Type": "application/fhir+json"}
    for _ in range(count):
        assert requests.post(f"{server.fhir}/Patient", json=PATIENT, headers=sent, timeout=10).status_code == 201


def sealed(server):
    """Return how many events the last published head holds."""
    lines = (server.folder / "audit" / "heads.ndjson").read_text().splitlines()
    return int(json.loads(lines[-1])["note"].splitlines()[1])


def wait_until_sealed(server, more_than=0):
    ends = time.monotonic() + 15
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
        assert refused.returncode == 1
        assert edited["_id"] in refused.stdout
        assert "Traceback" not in refused.stderr
        assert closed >= 4, "the workers that were stopped closed their epochs"
    finally:
        stop(server)

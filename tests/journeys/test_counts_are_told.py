"""A server that is stopped in the midst of a flood tells how many it refused before it ends."""

from __future__ import annotations

import requests

from tests.journeys.conftest import start, stop


def test_a_flood_is_told_when_its_server_is_stopped(tmp_path, monkeypatch):
    """By each of its workers, which count for themselves; what is told is sealed by the next one on the folder."""
    monkeypatch.setenv("DMP_ANONYMOUS_PER_MINUTE", "2")
    server = start(tmp_path)
    try:
        server.register("auditor-one", role="auditor", scope="system/AuditEvent.rs")
        statuses = [requests.get(f"{server.fhir}/Patient", timeout=30).status_code for _ in range(12)]
    finally:
        stop(server)
    server = start(tmp_path)
    try:
        asked = {"Authorization": f"Bearer {server.token('auditor-one')}"}
        url = f"{server.fhir}/AuditEvent?date=ge2000&subtype=flood"
        found = [entry["resource"] for entry in requests.get(url, headers=asked, timeout=30).json().get("entry", ())]
    finally:
        stop(server)

    counted = [int(event["outcomeDesc"].partition("; ")[2].split()[0]) for event in found]
    assert 1 <= len(found) <= 2
    assert sum(counted) == statuses.count(429) > 0
    assert {event["outcome"] for event in found} == {"8"}

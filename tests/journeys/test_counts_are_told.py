"""A server tells by itself what nobody asks it for: how many it refused when it is stopped in the midst of a flood, and that an emergency is over."""

from __future__ import annotations

import time

import requests

from fhir_dmp.access.model import Person, Subject
from fhir_dmp.app.running import open_server
from fhir_dmp.service.announce import announcer
from fhir_dmp.settings import Settings
from fhir_dmp.token_act import TokenAct
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


def test_the_end_of_an_emergency_is_told_by_a_server_that_nobody_asks(tmp_path):
    """Whose authorization holds no more, within seconds and once, though each worker looks."""
    doctor = Person("professional", "a-1", "urn:x|1", "Practitioner/p1", patient="Patient/p", purpose="BTG", reason="x")
    subject = Subject("phone", "app", ("patient/*.rs",), None, "a-1.gone", person=doctor)
    server = start(tmp_path)
    try:
        server.register("auditor-one", role="auditor", scope="system/AuditEvent.rs")
        with open_server(Settings(data_dir=tmp_path)) as parts:
            act = TokenAct("authorize", "phone", scopes=subject.scopes, subject=subject, family=subject.token_id)
            announcer(parts.env, parts.refusals)(act, parts.operator_context("tester", "test"))
        asked = {"Authorization": f"Bearer {server.token('auditor-one')}"}
        url = f"{server.fhir}/AuditEvent?date=ge2000&subtype=break-glass-end&patient=Patient/p&_summary=count"
        ends = time.monotonic() + 60
        while not (told := requests.get(url, headers=asked, timeout=30).json()["total"]) and time.monotonic() < ends:
            time.sleep(0.5)
    finally:
        stop(server)

    assert told == 1

"""Clients that go away, never end, or ask for much at once, and a server that is told to stop while it answers."""

from __future__ import annotations

import json
import re
import resource
import socket
import threading
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
import requests

from fhir_dmp.serve import SILENT_SECONDS
from tests.journeys.conftest import start, stop

SILENT = 2500
PATIENT = b'{"resourceType":"Patient","name":[{"family":"Durand"}]}'


def connect(server):
    """Return a connection to the server."""
    at = urlsplit(server.url)
    return socket.create_connection((at.hostname, at.port), timeout=30)


def bearer(server, client="ehr-one"):
    """Return the header of a client."""
    return {"Authorization": f"Bearer {server.token(client)}"}


def create(sent, *, close=False):
    """Return the bytes of a create."""
    lines = [
        "POST /fhir/Patient HTTP/1.1",
        "Host: x",
        f"Authorization: {sent['Authorization']}",
        "Content-Type: application/fhir+json",
        f"Content-Length: {len(PATIENT)}",
        *(["Connection: close"] if close else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + PATIENT


def counted(server, path, sent):
    """Return how many a search finds."""
    return requests.get(f"{server.fhir}/{path}&_summary=count", headers=sent, timeout=30).json()["total"]


def creates_in_the_log(server, auditor):
    """Return how many creates the log tells of."""
    return counted(server, "AuditEvent?date=ge2000&subtype=create&outcome=0", auditor)


def test_requests_that_come_in_one_piece_are_answered_in_their_order(server):
    """Without waiting for each answer; the last of them ends the connection."""
    sent = bearer(server)
    with connect(server) as wire:
        wire.sendall(create(sent) * 9 + create(sent, close=True))
        came = b""
        while piece := wire.recv(65536):
            came += piece

    assert came.count(b"HTTP/1.1 201 ") == 10
    locations = re.findall(rb"location: \S+/Patient/(\S+)/_history/1", came, re.IGNORECASE)
    assert len(set(locations)) == 10
    for each in locations:
        assert requests.get(f"{server.fhir}/Patient/{each.decode()}", headers=sent, timeout=30).ok


def test_whoever_goes_away_before_the_answer_has_done_what_was_asked_and_left_its_event(server):
    """A hundred creates whose senders hang up at once: each is made and logged, or neither, and nobody waits for them."""
    sent, auditor = bearer(server), bearer(server, "auditor-one")
    requests.get(f"{server.fhir}/Patient?_count=1", headers=sent, timeout=30)
    made, logged = counted(server, "Patient?family=durand", sent), creates_in_the_log(server, auditor)
    for _ in range(100):
        with connect(server) as wire:
            wire.sendall(create(sent))

    ends, new, before = time.monotonic() + 60, (0, 0), None
    while (new != before or not new[0]) and time.monotonic() < ends:
        time.sleep(1)
        before, new = (
            new,
            (counted(server, "Patient?family=durand", sent) - made, creates_in_the_log(server, auditor) - logged),
        )
    assert 0 < new[0] == new[1] <= 100


def test_heads_that_never_end_and_connections_that_say_nothing_keep_nobody(server):
    """Two hundred of each: readers are answered at once."""
    sent = bearer(server)
    with ExitStack() as others:
        for _ in range(200):
            others.enter_context(connect(server))
            others.enter_context(connect(server)).sendall(b"GET /fhir/Patient HTTP/1.1\r\nHost: x\r\nX-Slow: ")

        for _ in range(20):
            assert requests.get(f"{server.fhir}/Patient?_count=1", headers=sent, timeout=15).status_code == 200


@pytest.fixture
def many_files():
    """Let this process have as many connections as the test wants."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < SILENT + 500:
        pytest.skip(f"this machine lets a process open {before[1]} files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], SILENT + 500), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_thousands_that_say_nothing_keep_nobody_out(server, many_files):
    """More than a worker of a common server lets in; whoever comes behind them is answered before the first of them is let go."""
    sent = bearer(server)
    with ExitStack() as others:
        for _ in range(SILENT):
            others.enter_context(connect(server))

        for _ in range(10):
            assert requests.get(f"{server.fhir}/Patient?_count=1", headers=sent, timeout=SILENT_SECONDS / 2).ok


@pytest.mark.parametrize("kind", ["length", "chunks"])
def test_whoever_never_ends_a_form_keeps_no_other_stranger_from_a_token(server, kind):
    """More of them than there are turns for strangers' bodies."""
    told = "Content-Length: 60000" if kind == "length" else "Transfer-Encoding: chunked"
    head = f"POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n{told}\r\n\r\n"
    with ExitStack() as others:
        for _ in range(80):
            others.enter_context(connect(server)).sendall(head.encode())

        for _ in range(10):
            assert server.token("ehr-one")


def test_a_server_that_is_told_to_stop_has_done_what_it_said(tmp_path):
    """Writers without pause while it ends: each create that was acknowledged is there afterwards, with its event."""
    server = start(tmp_path)
    made, others, over = [], set(), threading.Event()
    try:
        server.register("ehr-one")
        server.register("auditor-one", role="auditor", scope="system/AuditEvent.rs")
        sent = {**bearer(server), "Content-Type": "application/fhir+json"}

        def write():
            session = requests.Session()
            while not over.is_set():
                try:
                    answer = session.post(f"{server.fhir}/Patient", data=PATIENT, headers=sent, timeout=30)
                except requests.ConnectionError:
                    return
                if answer.status_code == 201:
                    made.append(answer.json()["id"])
                else:
                    others.add(answer.status_code)

        threads = [threading.Thread(target=write) for _ in range(16)]
        for thread in threads:
            thread.start()
        while len(made) < 200:
            assert all(thread.is_alive() for thread in threads)
            time.sleep(0.01)
    finally:
        stop(server)
        over.set()
    for thread in threads:
        thread.join()

    server = start(tmp_path)
    try:
        sent, auditor = bearer(server), bearer(server, "auditor-one")
        batch = [{"request": {"method": "GET", "url": f"Patient/{each}"}} for each in made]
        answer = requests.post(
            server.fhir,
            data=json.dumps({"resourceType": "Bundle", "type": "batch", "entry": batch}),
            headers={**sent, "Content-Type": "application/fhir+json"},
            timeout=60,
        ).json()
        assert {entry["response"]["status"][:3] for entry in answer["entry"]} == {"200"}
        assert creates_in_the_log(server, auditor) == counted(server, "Patient?family=durand", sent) >= len(made)
        assert others <= {503}
        assert "WARNING" not in (tmp_path / "server.log").read_text()
    finally:
        stop(server)

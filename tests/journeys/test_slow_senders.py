"""Senders that begin and never end: they hold no thread that another caller needs, and no server that shall stop."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from urllib.parse import urlsplit

import pymongo
import pytest
import requests

from fhir_dmp.stores.mongo.embedded import Embedded
from tests.journeys.conftest import start, stop

MORE_THAN_ALL_THREADS = 140


def _connected(server):
    """Open a connection."""
    at = urlsplit(server.url)
    return socket.create_connection((at.hostname, at.port), timeout=30)


def _begin(server, head):
    """Open a connection, send a head that promises a body, and a little of the body."""
    sender = _connected(server)
    sender.sendall(f"{head}\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{{".encode())
    return sender


@pytest.mark.parametrize("path", ["/oauth/token", "/fhir/Patient"])
def test_bodies_that_never_end_leave_others_served(server, path):
    """Two workers of 64 threads, 140 senders that stop in the middle: probes and readers are answered at once."""
    headers = {"Authorization": f"Bearer {server.token('ehr-one')}"}
    kind = "application/x-www-form-urlencoded" if path == "/oauth/token" else "application/fhir+json"
    head = f"POST {path} HTTP/1.1\r\nContent-Type: {kind}\r\nAuthorization: {headers['Authorization']}"
    with ExitStack() as senders:
        for _ in range(MORE_THAN_ALL_THREADS):
            senders.enter_context(_begin(server, head))

        assert requests.get(f"{server.url}/healthz", timeout=15).status_code == 200
        assert requests.get(f"{server.fhir}/Patient?_count=1", headers=headers, timeout=15).status_code == 200
    made = requests.post(f"{server.fhir}/Patient", json={"resourceType": "Patient"}, headers=headers, timeout=30)
    assert made.status_code == 201


def test_a_server_that_stops_waits_for_nothing_that_was_begun(tmp_path):
    """Bodies that were half sent are answered, halves of heads are let go; the log ends as after any stop, not as after a crash."""
    server = start(tmp_path)
    head = "POST /oauth/token HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded"
    with ExitStack() as senders:
        try:
            for _ in range(20):
                assert requests.get(f"{server.fhir}/Patient", timeout=30).status_code == 401
            bodies = [senders.enter_context(_begin(server, head)) for _ in range(10)]
            for _ in range(10):
                senders.enter_context(_connected(server)).sendall(b"GET /healthz HTTP/1.1\r\nHo")
        finally:
            stop(server)
        assert {body.recv(12) for body in bodies} == {b"HTTP/1.1 400"}

    database = Embedded.ensure(tmp_path)
    try:
        with pymongo.MongoClient(database.uri) as client:
            epochs = list(client["fhir_dmp_log"]["epochs"].find())
    finally:
        database.stop()
    ended = {each["_id"] for each in epochs if "closed" in each}
    assert ended == {f"{each['_id']}/closed" for each in epochs if "closed" not in each}
    assert ended

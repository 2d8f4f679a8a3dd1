"""Senders that begin and never end: they hold no thread that another caller needs."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
import requests

MORE_THAN_ALL_THREADS = 140


def _begin(server, head):
    """Open a connection, send a head that promises a body, and a little of the body."""
    at = urlsplit(server.url)
    sender = socket.create_connection((at.hostname, at.port), timeout=10)
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

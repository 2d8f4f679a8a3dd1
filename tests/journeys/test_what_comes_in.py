"""Requests as clients of all kinds write them, byte by byte, to a server of two workers."""

from __future__ import annotations

import json
import socket
import time
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
import requests

PATIENT = b'{"resourceType":"Patient"}'


@pytest.fixture(scope="module")
def ehr(server):
    """An EHR that only these stories know."""
    server.register("ehr-of-bytes")
    return "ehr-of-bytes"


@pytest.fixture
def bearer(server, ehr):
    """The header of the EHR."""
    return f"Authorization: Bearer {server.token(ehr)}"


@contextmanager
def sent(server, line, *headers, body=b""):
    """Write a request, and yield its connection."""
    at = urlsplit(server.url)
    lines = [line, f"Host: {at.netloc}", "Connection: close", *headers, "", ""]
    with socket.create_connection((at.hostname, at.port), timeout=30) as wire:
        wire.sendall("\r\n".join(lines).encode() + body)
        yield wire


def received(wire):
    """Return all that comes back until the server closes the connection."""
    came = b""
    while piece := wire.recv(65536):
        came += piece
    return came


def send(server, line, *headers, body=b""):
    """Write a request, and return its status and all that came back."""
    with sent(server, line, *headers, body=body) as wire:
        came = received(wire)
    return int(came.split(b" ", 2)[1]), came


def chunks(body, size):
    """Return the body in chunks."""
    pieces = [body[place : place + size] for place in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize("length", [26, 300_000])
def test_a_body_in_chunks_is_read_to_its_end(server, bearer, length):
    """A short one and one that a thread reads while it comes."""
    kind = ("Content-Type: application/fhir+json", "Transfer-Encoding: chunked")

    status, came = send(server, "POST /fhir/Patient HTTP/1.1", bearer, *kind, body=chunks(PATIENT.ljust(length), 9000))

    assert status == 201, came


CUTS = {
    "length": lambda body: ((f"Content-Length: {len(body) + 1}",), body),
    "chunks": lambda body: (("Transfer-Encoding: chunked",), chunks(body, 9000)[: -len(b"0\r\n\r\n")]),
    "within a chunk": lambda body: (("Transfer-Encoding: chunked",), chunks(body, 9000)[: -len(b"  \r\n0\r\n\r\n")]),
}
"""How a body may be cut though all of what it says has come; the headers and what is sent of it."""


def refusals(server):
    """Return how many requests of the EHR the log says were refused."""
    auditor = {"Authorization": f"Bearer {server.token('auditor-one')}"}
    url = f"{server.fhir}/AuditEvent?date=ge2000&agent=ehr-of-bytes&outcome=4&_summary=count"
    return requests.get(url, headers=auditor, timeout=30).json()["total"]


@pytest.mark.parametrize("gone", [False, True], ids=["half closed", "gone"])
@pytest.mark.parametrize("length", [200, 300_000])
@pytest.mark.parametrize("cut", CUTS)
def test_a_body_that_is_cut_is_not_taken_as_whole(server, bearer, cut, length, gone):
    """Whoever can still hear it is told so, nothing is stored, and the refusal leaves its event, whether anybody hears it or not."""
    who = f"cut-{cut.replace(' ', '-')}-{length}-{gone}"
    told, body = CUTS[cut](json.dumps({"resourceType": "Patient", "id": who}).encode().ljust(length))
    before, heard = refusals(server), b""

    with sent(
        server, f"PUT /fhir/Patient/{who} HTTP/1.1", bearer, "Content-Type: application/fhir+json", *told, body=body
    ) as wire:
        if not gone:
            wire.shutdown(socket.SHUT_WR)
            heard = received(wire)

    ends = time.monotonic() + 30
    while refusals(server) == before:
        assert time.monotonic() < ends, "the refusal leaves no event"
        time.sleep(0.05)
    assert heard[:13] in (b"", b"HTTP/1.1 400 ")
    assert send(server, f"GET /fhir/Patient/{who} HTTP/1.1", bearer)[0] == 404


def test_a_form_that_is_cut_is_not_taken_as_whole(server):
    """A token that was cut is none, whatever the rest of it says."""
    form = b"grant_type=client_credentials&client_id=ehr-one"
    kind = "Content-Type: application/x-www-form-urlencoded"
    for told, body in (make(form) for make in CUTS.values()):
        with sent(server, "POST /oauth/token HTTP/1.1", kind, *told, body=body) as wire:
            wire.shutdown(socket.SHUT_WR)
            heard = received(wire)
        assert heard == b"" or json.loads(heard.split(b"\r\n\r\n", 1)[1])["error"] == "invalid_request"


def test_lengths_that_lie_change_nothing_and_end_the_connection(server, bearer):
    """Too long to be taken, below zero, both kinds at once, more than was told."""
    kind = "Content-Type: application/fhir+json"
    for told, expected in (
        (("Content-Length: 99999999999",), 413),
        (("Content-Length: -5",), 400),
        (("Content-Length: 26", "Transfer-Encoding: chunked"), 400),
        (("Content-Length: 10",), 400),
    ):
        status, came = send(server, "POST /fhir/Patient HTTP/1.1", bearer, kind, *told, body=PATIENT)
        assert status == expected, came
    assert requests.get(f"{server.url}/readyz", timeout=30).ok


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/fhir/Patient/%ff", 404),
        ("/fhir/Patient/%00", 404),
        ("/fhir/Patient/%C3%A9", 404),
        ("//fhir//Patient", 404),
        ("/fhir/Patient?name=%ff&_count=1", 200),
        ("http://elsewhere.example/fhir/Patient?_count=1", 200),
    ],
)
def test_odd_targets_are_answered_for_what_they_are(server, bearer, target, expected):
    """Bytes that are no text, text that is no ASCII, a whole URL."""
    status, came = send(server, f"GET {target} HTTP/1.1", bearer)

    assert status == expected, came
    assert json.loads(came.split(b"\r\n\r\n", 1)[1])["resourceType"] in ("OperationOutcome", "Bundle")


def test_no_other_protocol_is_spoken(server, bearer):
    """Who asks for a web socket gets the plain answer."""
    asked = ("Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13")

    status, came = send(server, "GET /fhir/Patient?_count=1 HTTP/1.1", bearer, *asked)

    assert status == 200, came


def test_head_tells_the_length_and_sends_nothing(server, bearer):
    """As GET would, without its body."""
    status, came = send(server, "HEAD /fhir/Patient?_count=1 HTTP/1.1", bearer)
    head, body = came.split(b"\r\n\r\n", 1)

    assert (status, body) == (200, b"")
    assert b"content-length: " in head
    assert b"content-length: 0" not in head

"""Requests as clients of all kinds write them, byte by byte, to a server of two workers."""

from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

import pytest
import requests

PATIENT = b'{"resourceType":"Patient"}'


@pytest.fixture
def bearer(server):
    """The header of an EHR."""
    return f"Authorization: Bearer {server.token('ehr-one')}"


def send(server, line, *headers, body=b""):
    """Write a request, and return its status and all that came back until the server closed the connection."""
    at = urlsplit(server.url)
    lines = [line, f"Host: {at.netloc}", "Connection: close", *headers, "", ""]
    with socket.create_connection((at.hostname, at.port), timeout=30) as wire:
        wire.sendall("\r\n".join(lines).encode() + body)
        came = b""
        while piece := wire.recv(65536):
            came += piece
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
    assert requests.get(f"{server.url}/readyz", timeout=10).ok


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

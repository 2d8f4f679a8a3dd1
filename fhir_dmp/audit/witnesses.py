"""Outsiders who acknowledge signed heads: an HTTPS endpoint of another organisation, a timestamp authority.

Until one of them has acknowledged a head, the log is sealed: whoever holds the key and the only copy of the heads could write another
history. From then on it is witnessed up to that head.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from cryptography.x509 import load_pem_x509_certificates
from msgspec import Struct
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder, VerifierBuilder, decode_timestamp_response

from fhir_dmp.audit.heads import SignedHead
from fhir_dmp.outside import OutsideError, ask, is_loopback

SECONDS = 10.0
MOST_BYTES = 64 * 1024
"""Of a receipt."""


class WitnessError(Exception):
    """The witness did not acknowledge the head; the message says why."""


class Witness(Protocol):
    """Somebody outside; ``name`` is its URL."""

    @property
    def name(self) -> str:
        """Return what receipts call it by."""
        ...

    def acknowledge(self, signed: SignedHead) -> bytes:
        """Return the witness's receipt for the head; raise ``WitnessError`` if it gives none."""
        ...


class Endpoint(Struct, frozen=True):
    """Takes a head by POST, as the line of the heads' file (``application/json``), and acknowledges it by any 2xx."""

    name: str

    def acknowledge(self, signed: SignedHead) -> bytes:
        """Return the body of the answer."""
        return _post(self.name, signed.line() + b"\n", "application/json")


class TimestampAuthority(Struct, frozen=True):
    """Signs when it saw the note's bytes (SHA-512). https://www.rfc-editor.org/rfc/rfc3161.

    ``roots`` is a PEM file of certificates, one of which must stand behind the authority's.
    """

    name: str
    roots: Path

    def acknowledge(self, signed: SignedHead) -> bytes:
        """Return the timestamp response in DER, checked."""
        note = signed.note.encode()
        asked = TimestampRequestBuilder().data(note).hash_algorithm(HashAlgorithm.SHA512).build()
        answer = _post(self.name, asked.as_bytes(), "application/timestamp-query")
        try:
            response = decode_timestamp_response(answer)
            verifier = VerifierBuilder.from_request(asked)
            for root in load_pem_x509_certificates(self.roots.read_bytes()):
                verifier = verifier.add_root_certificate(root)
            verifier.build().verify_message(response, note)
        except Exception as fault:  # noqa: BLE001 - the library has no one class for answers that are no timestamps
            raise WitnessError(f"{self.name} gave no good timestamp: {fault}") from None
        return answer


def witnesses(endpoint: str, authority: str, roots: str) -> list[Witness]:
    """Return the witnesses that the settings name; raise ``ValueError`` for a URL that others can read on the way."""
    for url in (endpoint, authority if roots else ""):
        parts = urlsplit(url)
        if url and parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            raise ValueError(f"A witness is reached by https: {url}")
    if authority and not roots:
        raise ValueError(
            "DMP_AUDIT_TIMESTAMP_URL needs DMP_AUDIT_TIMESTAMP_ROOTS: a timestamp that nobody checks is none."
        )
    found: list[Witness] = [Endpoint(endpoint)] if endpoint else []
    return [*found, TimestampAuthority(authority, Path(roots))] if authority else found


class ReceiptsFile:
    """The receipts, a line of JSON each: ``head``, ``witness``, ``time``, ``receipt`` (base64); 0600, only appended to."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, number: int, witness: str, time: str, receipt: bytes) -> None:
        """Keep a receipt, on disk before this returns."""
        told = {"head": number, "witness": witness, "time": time, "receipt": base64.b64encode(receipt).decode()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(json.dumps(told).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def _post(url: str, body: bytes, content_type: str) -> bytes:
    try:
        answer = ask("POST", url, most=MOST_BYTES, seconds=SECONDS, headers={"Content-Type": content_type}, data=body)
    except OutsideError as fault:
        raise WitnessError(f"{url} does not answer: {fault}") from None
    if answer.status // 100 != 2:
        raise WitnessError(f"{url} answered {answer.status}")
    return answer.body

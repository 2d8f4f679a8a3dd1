"""Authenticated encryption of small texts: page tokens that clients carry, keys that the database keeps.

AES-256-GCM (NIST SP 800-38D) under keys derived for each use from one secret by HKDF (RFC 5869).
"""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SECRET_BYTES = 32
_NONCE = 12


class BrokenSealError(ValueError):
    """The text was not sealed by this secret for this use, or was changed since."""


class Seal:
    """Seals bytes into URL-safe text for one use (``page``, ``keys``) and opens them again."""

    def __init__(self, secret: bytes, use: str) -> None:
        key = HKDF(SHA256(), SECRET_BYTES, salt=None, info=f"fhir-dmp {use}".encode()).derive(secret)
        self._cipher = AESGCM(key)

    def seal(self, content: bytes) -> str:
        """Return text that only this Seal opens."""
        nonce = os.urandom(_NONCE)
        return base64.urlsafe_b64encode(nonce + self._cipher.encrypt(nonce, content, None)).decode().rstrip("=")

    def open(self, text: str) -> bytes:
        """Return what was sealed; raise ``BrokenSealError`` for anything else."""
        try:
            sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], None)
        except (InvalidTag, binascii.Error, ValueError):
            raise BrokenSealError("the seal is broken") from None


def read_secret(path: Path) -> bytes:
    """Return the secret in the file, made (0600) if the file is not there yet.

    Raises ``ValueError`` for a file that is too short to be a secret.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        secret = path.read_bytes()
    else:
        secret = base64.b64encode(os.urandom(SECRET_BYTES)) + b"\n"
        with os.fdopen(handle, "wb") as file:
            file.write(secret)
    if len(secret.strip()) < SECRET_BYTES:
        raise ValueError(f"{path} holds fewer than {SECRET_BYTES} bytes: it is no secret.")
    return secret.strip()

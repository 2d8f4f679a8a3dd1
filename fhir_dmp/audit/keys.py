"""The key that signs heads, in a file outside of the database (0600), and its successor while one waits.

``heads.key`` holds the key, ``heads.key.next`` one that the next head introduces, ``heads.pub`` the public half for whoever verifies.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from fhir_dmp.audit.heads import PublicKey, SigningKey


class KeyFile:
    """The files of the signing key."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._next = path.with_name(f"{path.name}.next")
        self.public_path = path.with_suffix(".pub")

    def current(self) -> SigningKey:
        """Return the key that signs, made if there is none; raise ``ValueError`` for a file that holds no key."""
        self._make(self.path)
        key = SigningKey.from_pem(self.path.read_bytes())
        if not self.public_path.exists() or self.public_path.read_bytes() != key.public.pem():
            self._tell(key.public)
        return key

    def public(self) -> PublicKey:
        """Return the public half; raise ``ValueError`` for a file that holds none."""
        return PublicKey.from_pem(self.public_path.read_bytes())

    def successor(self) -> SigningKey | None:
        """Return the key that is to be introduced, if one waits."""
        try:
            return SigningKey.from_pem(self._next.read_bytes())
        except FileNotFoundError:
            return None

    def prepare_successor(self) -> PublicKey:
        """Make a key that the next head introduces; return its public half. One that waits already is kept."""
        self._make(self._next)
        return SigningKey.from_pem(self._next.read_bytes()).public

    def succeed(self) -> None:
        """Let the successor sign from now on, and forget the key before it."""
        self._next.replace(self.path)
        self._tell(self.current().public)

    def _tell(self, key: PublicKey) -> None:
        fresh = self.public_path.with_name(f"{self.public_path.name}.new")
        fresh.write_bytes(key.pem())
        fresh.chmod(0o644)
        fresh.replace(self.public_path)

    def _make(self, path: Path) -> None:
        """Write a new key where there is none; whoever reads the file finds it whole."""
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(SigningKey.generate().pem())
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(fresh, path)
        fresh.unlink()

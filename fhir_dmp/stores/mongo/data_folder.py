"""The files of one embedded database, and where its mongod is. What starts and ends that is ``mongod``'s."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from msgspec import Struct

from fhir_dmp.stores.mongo.processes import is_mongod

OWNER = "fhir_dmp"
"""The user who may do everything, and makes the others."""

_LINES = 3
"""Of what a mongod said, how many are told again."""

_MOST_BYTES = 600
"""Bytes of these: the file grows for as long as the mongod lives."""


class DatabaseError(Exception):
    """The embedded database cannot be started; the message names the way out."""


class Place(Struct, frozen=True):
    """Where a running mongod is."""

    pid: int
    port: int


class Folder:
    """The files of one embedded database."""

    def __init__(self, data_dir: Path) -> None:
        self.root = (data_dir / "mongodb").absolute()
        self.data = self.root / "data"
        self.log = self.root / "mongod.log"
        self.said = self.root / "mongod.said"
        self.key_file = self.root / "keyfile"
        self.password_file = self.root / "password"
        self.pid_file = self.root / "mongod.pid"
        self.place_file = self.root / "mongod.json"

    def prepare(self) -> None:
        """Make the folder, the key file and the password, if they are not there yet."""
        self.data.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)
        _secret(self.key_file, base64.b64encode(os.urandom(96)))
        _secret(self.password_file, secrets.token_urlsafe(32).encode())

    def last(self) -> Place | None:
        """Return where the mongod is, or was, that was started last."""
        try:
            return Place(**json.loads(self.place_file.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def place(self) -> Place | None:
        """Return where the mongod is that was started last, if its process still runs."""
        last = self.last()
        return last if last is not None and is_mongod(last.pid, self.data) else None

    def record(self, place: Place) -> None:
        """Write down where the mongod is."""
        write(self.place_file, json.dumps({"pid": place.pid, "port": place.port}))

    def words(self) -> str:
        """Return where to look for why the mongod that was started last ended: its last words, and its log, as far as there are any."""
        last = " ".join(_end_of(self.said).splitlines()[-_LINES:])
        told = f" It said: {last.rstrip('.')}." if last else ""
        return told + (f" Its log is {self.log}." if self.log.exists() else "")

    def uri(self, port: int) -> str:
        """Return the address with the password in it; not for logs."""
        password = quote(self.password_file.read_text().strip())
        return f"mongodb://{OWNER}:{password}@{self._host(port)}/?directConnection=true&authSource=admin"

    def uri_of(self, port: int, name: str, user: str) -> str:
        """Return the address for one of the users of the databases of that name (``users``); not for logs."""
        password = quote(self.password(user))
        return f"mongodb://{name}_{user}:{password}@{self._host(port)}/?directConnection=true&authSource=admin"

    def _host(self, port: int) -> str:
        """Return where the mongod listens: its socket, which costs a command a fifth less than TCP, or its port where it has none."""
        path = self.root / f"mongodb-{port}.sock"
        return quote(str(path), safe="") if path.is_socket() else f"127.0.0.1:{port}"

    def password(self, user: str) -> str:
        """Return the password of a user, made (0600) at the first time."""
        path = self.root / f"password-{user}"
        _secret(path, secrets.token_urlsafe(32).encode())
        return path.read_text().strip()

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Hold a lock file for as long as something is started."""
        with (self.root / name).open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _secret(path: Path, content: bytes) -> None:
    with (
        contextlib.suppress(FileExistsError),
        os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file,
    ):
        file.write(content)


def write(path: Path, text: str) -> None:
    """Replace the file in one step, so that no reader meets half of it."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.chmod(0o600)
    fresh.replace(path)


def _end_of(path: Path) -> str:
    """Return the end of a text, nothing where it cannot be read."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _MOST_BYTES))
        return file.read(_MOST_BYTES).decode(errors="replace").strip()
    return ""

"""A MongoDB of our own for trying and for one machine: a real mongod, as a replica set of one node on loopback.

Everything lives under ``<data_dir>/mongodb``: the data, the key file and the password (made at the first start, 0600), the
log, and ``mongod.json`` that says where the running one is. Any process on the same folder joins the mongod that is up, or
starts it (``mongod``).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import structlog
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from fhir_dmp.stores.mongo import mongod
from fhir_dmp.stores.mongo.data_folder import OWNER, DatabaseError, Folder, Place, write
from fhir_dmp.stores.mongo.mongod import START_SECONDS
from fhir_dmp.stores.mongo.processes import END_SECONDS, is_mongod
from fhir_dmp.stores.mongo.users import make_users, roles

_log = structlog.get_logger(__name__)

NOTICE = "The embedded MongoDB is for trying and for one machine; set DMP_MONGODB_URI for more."


class ServerLock:
    """One server at a time on a data folder; the lock goes with the process, however that ends."""

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self._handle = (data_dir / "server.lock").open("a+")
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._handle.close()
            raise DatabaseError(
                f"Another fhir-dmp server runs on {data_dir.absolute()}. Stop it, or give this one a --data-dir of its own."
            ) from None

    def release(self) -> None:
        """Let another server have the folder."""
        self._handle.close()


class Embedded:
    """A running embedded database. ``stop`` ends it only if this process started it or owns it."""

    def __init__(self, folder: Folder, place: Place, *, owned: bool) -> None:
        self._folder = folder
        self._place = place
        self._owned = owned
        self._stopping = threading.Event()
        self._supervisor: threading.Thread | None = None

    @classmethod
    def ensure(cls, data_dir: Path, *, own: bool = False) -> Embedded:
        """Join the mongod of the folder, or start it. A server owns it (``own``) even if another process left it running.

        Raises ``DatabaseError`` if there is no mongod to start or it does not come up.
        """
        folder = Folder(data_dir)
        started, ends = False, time.monotonic() + START_SECONDS
        while True:
            place, here = mongod.ensure(folder)
            started |= here
            with folder.locked("start.lock"):
                if _becomes_primary(folder, place, ends):
                    return cls(folder, place, owned=started or own)

    @property
    def uri(self) -> str:
        """The address with the password in it; not for logs."""
        return self._folder.uri(self._place.port)

    def supervise(self) -> None:
        """Start the mongod again whenever it ends before we stop it, in a thread of our own."""
        self._supervisor = threading.Thread(target=self._watch, name="mongod-supervisor", daemon=True)
        self._supervisor.start()

    def stop(self) -> None:
        """End the mongod cleanly, if it is ours; one that is being started again is waited for."""
        self._stopping.set()
        if self._supervisor is not None:
            self._supervisor.join(START_SECONDS)
        if not self._owned or self._folder.place() is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._place.pid, signal.SIGTERM)
        ends = time.monotonic() + END_SECONDS
        while is_mongod(self._place.pid, self._folder.data) and time.monotonic() < ends:
            time.sleep(0.02)

    def _watch(self) -> None:
        told = ""
        while not self._stopping.wait(0.5):
            if not is_mongod(self._place.pid, self._folder.data) and not self._stopping.is_set():
                wrong = self._start_again()
                if wrong and wrong != told:
                    _log.error("database-not-started", reason=wrong)
                told = wrong

    def _start_again(self) -> str:
        """Start the mongod, and return what kept it from starting."""
        last = self._folder.last()
        try:
            self._place, _ = mongod.ensure(self._folder)
            if last is not None and last.port != self._place.port:
                _move(self._folder, self._place)
        except DatabaseError as fault:
            return str(fault)
        except PyMongoError as fault:
            return type(fault).__name__
        return ""


def uri(data_dir: Path, user: str | None = None, name: str = "") -> str:
    """Return the address of the mongod that runs on the folder, for its owner or for a user of the databases of that name.

    Raises ``DatabaseError`` if none runs, or if the users cannot be made.
    """
    folder = Folder(data_dir)
    place = folder.place()
    if place is None:
        raise DatabaseError(f"No embedded MongoDB runs on {data_dir.absolute()}.")
    if user is None:
        return folder.uri(place.port)
    _ensure_users(folder, place, name)
    return folder.uri_of(place.port, name, user)


def _ensure_users(folder: Folder, place: Place, name: str) -> None:
    """Make the users of the databases of that name, once, and again when their rights are others than before."""
    marker = folder.root / f"users-{name}"
    rights = hashlib.sha256(json.dumps(roles(name), sort_keys=True).encode()).hexdigest()
    if marker.exists() and marker.read_text() == rights:
        return
    with folder.locked("users.lock"):
        try:
            with MongoClient[dict[str, Any]](folder.uri(place.port), serverSelectionTimeoutMS=10_000) as owner:
                make_users(owner, name, {user: folder.password(user) for user in roles(name)})
        except PyMongoError as fault:
            raise DatabaseError(f"The database's users cannot be made: {type(fault).__name__}.") from fault
        write(marker, rights)


def _becomes_primary(folder: Folder, place: Place, ends: float) -> bool:
    """Return True once the node takes writes, False if it is gone; the first time, make the replica set and the user."""
    open_door: MongoClient[dict[str, Any]] = MongoClient(
        f"mongodb://127.0.0.1:{place.port}/?directConnection=true", serverSelectionTimeoutMS=2000
    )
    with open_door:
        while time.monotonic() < ends:
            try:
                hello = open_door.admin.command("hello")
                if hello.get("isWritablePrimary"):
                    _ensure_user(folder, place, open_door)
                    return True
                if "setName" not in hello and not _initiate(place, open_door):
                    _move(folder, place)
            except OperationFailure as refusal:
                raise DatabaseError(
                    f"The database on {folder.root} does not know our password: {refusal.details}"
                ) from refusal
            except PyMongoError:
                if not is_mongod(place.pid, folder.data):
                    return False
            time.sleep(0.02)
    raise DatabaseError(f"mongod did not become ready within {START_SECONDS:.0f} s.{folder.words()}")


def _initiate(place: Place, open_door: MongoClient[dict[str, Any]]) -> bool:
    """Make the replica set, and tell whether there was none."""
    config = {"_id": "rs0", "members": [{"_id": 0, "host": f"127.0.0.1:{place.port}"}]}
    already, unauthorised = 23, 13
    try:
        open_door.admin.command("replSetInitiate", config)
    except OperationFailure as refusal:
        if refusal.code not in (already, unauthorised):
            raise
        return False
    return True


def _ensure_user(folder: Folder, place: Place, open_door: MongoClient[dict[str, Any]]) -> None:
    """Make the user while the localhost exception lasts: until there is one. https://www.mongodb.com/docs/manual/core/localhost-exception/."""
    marker = folder.root / "user"
    if marker.exists():
        return
    password = folder.password_file.read_text().strip()
    unauthorised = 13
    try:
        open_door.admin.command("createUser", OWNER, pwd=password, roles=["root"])
    except OperationFailure as refusal:
        if refusal.code != unauthorised:
            raise
        with MongoClient[dict[str, Any]](folder.uri(place.port)) as known:
            known.admin.command("ping")
    marker.touch(mode=0o600)


def _move(folder: Folder, place: Place) -> None:
    """Tell the replica set that its one node has a new port, since the old one was taken; it knows nothing before it has loaded."""
    host, not_loaded_yet = f"127.0.0.1:{place.port}", 94
    with MongoClient[dict[str, Any]](folder.uri(place.port), serverSelectionTimeoutMS=10_000) as client:
        try:
            config = client.admin.command("replSetGetConfig")["config"]
            if config["members"][0]["host"] == host:
                return
            config["version"] += 1
            config["members"][0]["host"] = host
            client.admin.command("replSetReconfig", config, force=True)
        except OperationFailure as refusal:
            if refusal.code != not_loaded_yet:
                raise

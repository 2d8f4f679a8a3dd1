"""Serving: worker processes that share one port. https://github.com/emmett-framework/granian."""

from __future__ import annotations

import errno
import ipaddress
import multiprocessing
import os
import resource
import socket
import time
from pathlib import Path

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels

from fhir_dmp.metrics import FOLDER
from fhir_dmp.settings import Settings
from fhir_dmp.stopping import WORKER_SECONDS

APPLICATION = "fhir_dmp.wsgi:create_front"
"""What makes the application of a worker."""

ORPHAN_SECONDS = 1.0
CONNECTIONS = 2048
"""Connections that a worker keeps at once; whoever comes then waits until one ends.

Each needs a file, and may make the worker keep a head and a short body: 400 MB if all of them do.
"""

FILES = 512
"""Files that a worker has open beside its connections, at most."""

SILENT_SECONDS = 30
"""How long a connection may say nothing, or take to say what it asks for: until its headers are whole."""

HEAD_BYTES = 64 * 1024
"""What a connection makes a worker keep before its call begins: those of all connections have room in memory."""

ARENAS = "2"
"""Pools that the C library keeps a worker's memory in: its own default, eight for each core, holds on to 8 % more after a load (148 MB to
137, measured). What fewer cost in speed could not be told from the noise of the machine: one thread at a time runs Python."""


class PortError(Exception):
    """The address cannot be listened on; the message names the way out."""


def require_port(host: str, port: int) -> None:
    """Raise ``PortError`` if a server cannot listen there: better before anything is started than after.

    Workers of a server that was killed end a moment after it.
    """
    ends = time.monotonic() + ORPHAN_SECONDS
    while (fault := _refused(host, port)) is not None:
        if fault.errno == errno.EADDRINUSE and time.monotonic() < ends:
            time.sleep(0.05)
            continue
        raise PortError(
            f"Port {port} of {host} cannot be listened on ({fault.strerror}): stop what listens there, or give another --port."
        )


def reached_at(host: str, port: int) -> str:
    """Return the URL by which this machine reaches a server that listens there; one that listens everywhere is on the loopback too."""
    if listens_everywhere(host):
        host = "::1" if ":" in host else "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def listens_everywhere(host: str) -> bool:
    """Tell whether that is no address of its own, but all that the machine has."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _refused(host: str, port: int) -> OSError | None:
    """Return why nobody can listen there, or None if one can."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as fault:
        return fault
    return None


def serve(
    settings: Settings,
    *,
    host: str,
    port: int,
    workers: int,
    application: str = APPLICATION,
    counted: Path | None = None,
) -> None:
    """Serve until told to stop. Workers are spawned, not forked: a database client does not survive a fork.

    The benchmark alone gives another ``application``, which it compares with ours in the same surroundings, and a folder of its own
    for what that one's workers count.
    """
    multiprocessing.set_start_method("spawn", force=True)
    files = _allow_files(CONNECTIONS + FILES)
    os.environ.update(settings.to_env(), MALLOC_ARENA_MAX=ARENAS, **{FOLDER: str(counted or settings.metrics_dir)})
    Granian(
        application,
        factory=True,
        address=host,
        port=port,
        interface=Interfaces.RSGI,
        workers=workers,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        websockets=False,
        http1_settings=HTTP1Settings(header_read_timeout=SILENT_SECONDS * 1000, max_buffer_size=HEAD_BYTES),
        backlog=2048,
        backpressure=max(files - FILES, FILES // 4),
        respawn_failed_workers=True,
        workers_kill_timeout=WORKER_SECONDS,
        log_level=LogLevels.error,
    ).serve()


def _allow_files(wanted: int) -> int:
    """Let this process and its workers open so many files, if the system lets us, and return how many they may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted

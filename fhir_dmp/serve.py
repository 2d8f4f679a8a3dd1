"""Serving: worker processes that share one port. https://github.com/emmett-framework/granian."""

from __future__ import annotations

import errno
import multiprocessing
import os
import socket
import time

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops
from granian.log import LogLevels

from fhir_dmp.metrics import FOLDER
from fhir_dmp.settings import Settings

ORPHAN_SECONDS = 1.0


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


def serve(settings: Settings, *, host: str, port: int, workers: int) -> None:
    """Serve until told to stop. Workers are spawned, not forked: a database client does not survive a fork."""
    multiprocessing.set_start_method("spawn", force=True)
    os.environ.update(settings.to_env(), **{FOLDER: str(settings.metrics_dir)})
    Granian(
        "fhir_dmp.wsgi:create_front",
        factory=True,
        address=host,
        port=port,
        interface=Interfaces.RSGI,
        workers=workers,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        websockets=False,
        backlog=2048,
        respawn_failed_workers=True,
        workers_kill_timeout=10,
        log_level=LogLevels.error,
    ).serve()

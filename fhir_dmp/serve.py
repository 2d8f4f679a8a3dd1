"""Serving: worker processes that share one port. https://github.com/emmett-framework/granian."""

from __future__ import annotations

import multiprocessing
import os

from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

from fhir_dmp.settings import Settings


def serve(settings: Settings, *, host: str, port: int, workers: int) -> None:
    """Serve until told to stop. Workers are spawned, not forked: a database client does not survive a fork."""
    multiprocessing.set_start_method("spawn", force=True)
    os.environ.update(settings.to_env())
    Granian(
        "fhir_dmp.wsgi:create",
        factory=True,
        address=host,
        port=port,
        interface=Interfaces.WSGI,
        workers=workers,
        blocking_threads=settings.threads,
        backlog=2048,
        respawn_failed_workers=True,
        workers_kill_timeout=10,
        log_level=LogLevels.warning,
    ).serve()

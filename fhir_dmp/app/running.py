"""A data folder in use: by the one server on it, or by a command beside that server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fhir_dmp.app.database import uri_of
from fhir_dmp.metrics import exposed
from fhir_dmp.settings import Settings
from fhir_dmp.stores.mongo import embedded, users
from fhir_dmp.stores.mongo.embedded import Embedded, ServerLock
from fhir_dmp.stores.mongo.sizes import LogSizes

if TYPE_CHECKING:
    from fhir_dmp.app.server import Server

_PUBLIC_URL = "public-url"


@dataclass(frozen=True, slots=True)
class Running:
    """A data folder that this process serves: its lock, and its embedded database if the settings name no other."""

    settings: Settings
    notice: str

    @classmethod
    @contextmanager
    def start(cls, settings: Settings, listens: str) -> Iterator[Running]:
        """Hold the folder for as long as the server runs; raise ``DatabaseError`` if another server does.

        ``listens`` is the URL that clients reach the server at, if the settings name none; commands on the folder find it there.
        """
        lock = ServerLock(settings.data_dir)
        settings = replace(settings, public_url=settings.public_url or listens)
        (settings.data_dir / _PUBLIC_URL).write_text(settings.public_url)
        database = None if settings.mongodb_uri else _start_database(settings.data_dir)
        try:
            if database is not None:
                database.supervise()
            yield cls(settings, embedded.NOTICE if database else "")
        finally:
            if database is not None:
                database.stop()
            lock.release()


def _start_database(data_dir: Path) -> Embedded:
    """Start the embedded database, and load the parts meanwhile: both take a second, and neither needs the other."""
    with ThreadPoolExecutor(1) as beside:
        database = beside.submit(Embedded.ensure, data_dir, own=True)
        _maker()
        return database.result()


def _maker() -> Callable[[Settings], Server]:
    """Return what puts the parts together. It is most of the program, so nobody loads it before it is needed."""
    from fhir_dmp.app.server import create_server  # noqa: PLC0415 - as above

    return create_server


@contextmanager
def open_server(settings: Settings) -> Iterator[Server]:
    """Yield the parts for one command: joined to the database that is up, or on one that ends with the command."""
    database = None if settings.mongodb_uri else Embedded.ensure(settings.data_dir)
    settings = replace(settings, public_url=settings.public_url or _served_at(settings.data_dir))
    try:
        server = _maker()(settings)
        try:
            yield server
        finally:
            server.close()
    finally:
        if database is not None:
            database.stop()


def _served_at(data_dir: Path) -> str:
    """Return the URL of the server that ran last on the folder."""
    known = data_dir / _PUBLIC_URL
    return known.read_text() if known.exists() else "http://127.0.0.1:8000"


@contextmanager
def telling_metrics(settings: Settings) -> Iterator[None]:
    """Tell what the workers count, and how large the log is, on a port of its own."""
    sizes = LogSizes(uri_of(settings, users.APP), settings.mongodb_database)
    try:
        with exposed(settings.metrics_host, settings.metrics_port, settings.metrics_dir, sizes):
            yield
    finally:
        sizes.close()

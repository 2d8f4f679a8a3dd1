"""A data folder in use: by the one server on it, or by a command beside that server."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from fhir_dmp.app.database import uri_of
from fhir_dmp.metrics import exposed
from fhir_dmp.settings import Settings
from fhir_dmp.stores.mongo import embedded, users
from fhir_dmp.stores.mongo.embedded import Embedded, ServerLock
from fhir_dmp.stores.mongo.sizes import LogSizes

if TYPE_CHECKING:
    from fhir_dmp.app.server import Server

_PUBLIC_URL = "public-url"


class Running(Struct, frozen=True):
    """A data folder that this process serves: its lock, and its embedded database if the settings name no other."""

    settings: Settings
    database: Future[Embedded] | None

    @classmethod
    @contextmanager
    def start(cls, settings: Settings, listens: str) -> Iterator[Running]:
        """Hold the folder for as long as the server runs; raise ``DatabaseError`` if another server does.

        ``listens`` is the URL that clients reach the server at, if the settings name none; commands on the folder find it there.
        The embedded database starts meanwhile: what is loaded before ``wait`` costs no time of its own.
        """
        lock = ServerLock(settings.data_dir)
        settings = replace(settings, public_url=settings.public_url or listens)
        (settings.data_dir / _PUBLIC_URL).write_text(settings.public_url)
        beside, database = ThreadPoolExecutor(1), None
        if not settings.mongodb_uri:
            database = beside.submit(Embedded.ensure, settings.data_dir, own=True)
        try:
            yield cls(settings, database)
        finally:
            if database is not None and database.exception() is None:
                database.result().stop()
            beside.shutdown()
            lock.release()

    def wait(self) -> str:
        """Return what is to be said of the database, once it takes work; raise ``DatabaseError`` if it does not come up."""
        if self.database is None:
            return ""
        self.database.result().supervise()
        return embedded.NOTICE


@contextmanager
def open_server(settings: Settings, *, signs: bool = True) -> Iterator[Server]:
    """Yield the parts for one command, joined to the database that is up, or on one that ends with it; ``signs`` as ``create_server`` says."""
    database = None if settings.mongodb_uri else Embedded.ensure(settings.data_dir)
    settings = replace(settings, public_url=settings.public_url or _served_at(settings.data_dir))
    try:
        from fhir_dmp.app.server import create_server  # noqa: PLC0415 - most of the program, and who starts workers needs none of it

        server = create_server(settings, signs=signs)
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

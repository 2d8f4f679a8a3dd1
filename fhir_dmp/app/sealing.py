"""What seals the log, proves it and keeps it, put together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from msgspec import Struct

from fhir_dmp.app.database import uri_of
from fhir_dmp.app.running import open_server
from fhir_dmp.app.server import Server
from fhir_dmp.audit.keys import KeyFile
from fhir_dmp.audit.sinks import HeadsFile
from fhir_dmp.audit.witnesses import ReceiptsFile, WitnessError, witnesses
from fhir_dmp.clock import Clock, Ids, RandomIds, SystemClock
from fhir_dmp.errors import FhirError, Unavailable
from fhir_dmp.service.handing import HANDING_SECONDS, Handing
from fhir_dmp.service.log_keeping import Keeper
from fhir_dmp.service.repeated import Repeated, repeating
from fhir_dmp.service.seal_state import SealError
from fhir_dmp.service.sealer import SECONDS, Sealer
from fhir_dmp.service.witnessing import Witnessing
from fhir_dmp.settings import Settings
from fhir_dmp.store.ledger import Recent
from fhir_dmp.stores.mongo import embedded, users
from fhir_dmp.stores.mongo.ledger import MongoLedger, remove_month
from fhir_dmp.token_act import Announce


class Sealing(Struct, frozen=True):
    """What seals the log and proves it, on a connection of its own."""

    ledger: MongoLedger
    keys: KeyFile
    sink: HeadsFile
    sealer: Sealer

    def close(self) -> None:
        """Let another seal, and let go of the database."""
        with suppress(FhirError):
            self.sealer.release()
        self.ledger.close()


def audit_files(settings: Settings) -> tuple[KeyFile, HeadsFile]:
    """Return the files of the signing key and of the published heads."""
    folder = settings.data_dir / "audit"
    keys = Path(settings.audit_key_file) if settings.audit_key_file else folder / "heads.key"
    heads = Path(settings.audit_heads_file) if settings.audit_heads_file else folder / "heads.ndjson"
    return KeyFile(keys), HeadsFile(heads)


def create_sealing(settings: Settings, clock: Clock | None = None, ids: Ids | None = None) -> Sealing:
    """Return the parts, connected to the database that the settings name; made once for each process, after any fork."""
    ledger = MongoLedger.connect(uri_of(settings, users.SEALER), settings.mongodb_database)
    keys, sink = audit_files(settings)
    return Sealing(ledger, keys, sink, Sealer(ledger, keys, sink, clock or SystemClock(), ids or RandomIds()))


@contextmanager
def sealing(settings: Settings, recent: Recent) -> Iterator[None]:
    """Seal, and have others witness, beside whatever else this process does; another worker may lead.

    ``recent`` is what this process writes to the log.
    """
    outside = witnesses(settings.audit_witness_url, settings.audit_timestamp_url, settings.audit_timestamp_roots)
    parts = create_sealing(settings)
    receipts = ReceiptsFile(parts.sink.path.with_suffix(".receipts"))
    witnessing = Witnessing(parts.sealer, parts.ledger, outside, receipts, SystemClock())
    handing = Handing(parts.ledger, recent)
    threads = [
        Repeated("handing", handing.tick, HANDING_SECONDS),
        Repeated("sealer", parts.sealer.tick, SECONDS, (SealError, Unavailable)),
    ]
    if outside:
        foreseen = (WitnessError, Unavailable)
        threads.append(Repeated("witnesses", witnessing.tick, settings.audit_witness_seconds, foreseen))
    try:
        with repeating(*threads):
            yield
    finally:
        parts.close()


@contextmanager
def open_keeper(settings: Settings) -> Iterator[tuple[Server, Keeper]]:
    """Yield the server's parts and the log's keeper for one command."""
    with open_server(settings, signs=False) as server:
        parts = create_sealing(settings)
        try:
            yield server, _keeper(settings, parts, server.announce)
        finally:
            parts.close()


def _keeper(settings: Settings, sealing: Sealing, announce: Announce) -> Keeper:
    """Return the door of what is done to the log as a whole; what it removes, it removes as the database's owner."""
    owner = settings.mongodb_owner_uri or settings.mongodb_uri or embedded.uri(settings.data_dir)
    remove = partial(remove_month, owner, settings.mongodb_database)
    years = settings.audit_retention_years
    return Keeper(sealing.ledger, sealing.sealer, sealing.keys, SystemClock(), announce, remove, years)

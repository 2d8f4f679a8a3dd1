"""What the tests of proofs stand on: writers, sealers and verifiers on one real database, and a clock that is told."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pymongo

from fhir_dmp.audit.heads import SignedHead
from fhir_dmp.audit.index import index_of
from fhir_dmp.audit.keys import KeyFile
from fhir_dmp.audit.sinks import HeadsFile
from fhir_dmp.clock import FixedClock, RandomIds, instant
from fhir_dmp.fhir import codec
from fhir_dmp.service.audit_verify import Published, verify_database
from fhir_dmp.service.handing import Handing
from fhir_dmp.service.sealer import Sealer
from fhir_dmp.settings import Settings
from fhir_dmp.store.change import Event
from fhir_dmp.stores.mongo.ledger import MongoLedger
from fhir_dmp.stores.mongo.store import MongoStore

IDS = RandomIds()
NOON = datetime(2026, 10, 20, 12, tzinfo=UTC)


@dataclass
class World:
    """One database and one folder of keys and heads."""

    uri: str
    name: str
    folder: Path
    clock: FixedClock = field(default_factory=lambda: FixedClock(NOON))
    opened: list = field(default_factory=list)
    stores: list = field(default_factory=list)
    leader: Sealer | None = None

    def writer(self):
        """Return a worker's store, with chains of its own."""
        made = MongoStore.connect(self.uri, self.name, clock=self.clock, settings=Settings())
        self.opened.append(made)
        return made

    def ledger(self):
        """Return a connection to the sealed log."""
        made = MongoLedger.connect(self.uri, self.name)
        self.opened.append(made)
        return made

    @property
    def keys(self):
        """The files of the signing key."""
        return KeyFile(self.folder / "heads.key")

    @property
    def sink(self):
        """The file of published heads."""
        return HeadsFile(self.folder / "heads.ndjson")

    def sealer(self, ledger=None):
        """Return one more worker's sealer."""
        return Sealer(ledger or self.ledger(), self.keys, self.sink, self.clock, IDS)

    def handing(self, store):
        """Return what hands in the leaves of a worker's store."""
        made = Handing(self.ledger(), store.recent)
        made.tick()
        return made

    def event(self, text="x", patient="Patient/p", **terms):
        """Return an event of this moment, found by what it says; ``terms`` are put in as if a writer had made them up."""
        recorded, ident = self.clock.micros(), IDS.new()
        row = {
            "v": 1,
            "id": ident,
            "recorded": instant(recorded),
            "act": "read",
            "on": "Observation/o/1",
            "outcome": "0",
        }
        row |= {"request": f"GET /Observation/{text}", "for": [patient]}
        return Event(ident, recorded, codec.dumps(row), {**index_of(row), **terms})

    def write(self, store, count=10):
        """Record events; return their ids."""
        events = [self.event(str(number)) for number in range(count)]
        for each in events:
            store.record(each)
        return [each.id for each in events]

    def begin(self):
        """Have two writers record forty events, under five heads of a leader."""
        self.stores, self.leader = [self.writer(), self.writer()], self.sealer()
        for _ in range(4):
            for store in self.stores:
                self.write(store, 5)
            self.leader.tick()

    def later(self, **more):
        """Move the clock on."""
        self.clock.set(self.clock.now() + timedelta(**more))

    def look_again(self, sealer, **later):
        """Move the clock on, and seal with a look at what has been quiet."""
        self.later(**(later or {"minutes": 2}))
        assert sealer.tick()

    def heads(self):
        """Return the published heads."""
        return [SignedHead.from_line(line).head for line in self.sink.lines()]

    def published(self, key=None):
        """Return the heads as a verifier has them."""
        return Published(self.sink.lines, key or self.keys.public())

    def verify(self, key=None, *looking, index=False):
        """Return what a verification of the database finds."""
        return verify_database(self.ledger(), self.published(key), lambda _: lambda _: None, *looking, index=index)

    def found(self):
        """Return the kinds of what a verification finds."""
        return [finding.kind for finding in self.verify().findings]

    @property
    def database(self):
        """The server, for whoever tampers with it."""
        client = pymongo.MongoClient(self.uri)
        self.opened.append(client)
        return client

    @property
    def rows(self):
        """The rows of the present month, for whoever tampers with them."""
        return self.database[f"{self.name}_log"][f"audit_{self.clock.now():%Y_%m}"]

    @property
    def seals(self):
        """The seals, for whoever tampers with them."""
        return self.database[f"{self.name}_seal"]


@contextmanager
def sealed_world(uri, name, folder):
    """An empty world on databases of that name."""
    world = World(uri, name, folder)
    try:
        yield world
    finally:
        for each in world.opened:
            each.close()

"""A log whose rows lie together, as groups of calls lay them, for tests that look at its documents."""

from __future__ import annotations

from fhir_dmp.store.query import EVERYTHING
from fhir_dmp.stores.mongo.chain import Chain, Epochs
from fhir_dmp.stores.mongo.months import Months
from fhir_dmp.stores.mongo.recent import RecentRows

MONTH = "audit_2026_10"
ROWS = 12


class Log:
    """One writer's rows, laid together as a group of calls lays them, in a world that seals and verifies."""

    def __init__(self, world):
        self.world, self.store, self.recent = world, world.writer(), RecentRows()
        self.recent.take()
        self.chain = Chain("7r", self.recent)
        self.months = Months(self.store.log)
        epochs = Epochs(self.store.log, world.seals, world.clock)
        epochs.begin(self.chain)
        self.written = 0
        self.ids = [self.write(ROWS), self.write(1), self.write(ROWS)]

    def __getattr__(self, name):
        """Be the world besides."""
        return getattr(self.world, name)

    def put(self, events):
        """Have the events become durable together."""
        rows = self.chain.rows(events)
        self.months.prepare({row.period for row in rows})
        assert self.months.insert_alone(rows)
        self.chain.advance(rows)
        return rows

    def write(self, count):
        """Record so many events, a few microseconds after each other, each about a patient of its own; return their ids."""
        events = []
        for _ in range(count):
            self.world.later(microseconds=3)
            events.append(self.world.event(str(self.written), f"Patient/{self.written}"))
            self.written += 1
        return [row.id for row in self.put(events)]


def blocks(world):
    """Return the documents of the log that hold several rows."""
    return list(world.rows.find({"rows": {"$exists": True}}).sort("n"))


def found(world, query=EVERYTHING, size=5, **order):
    """Return the ids of all pages."""
    ids, after = [], None
    while True:
        parts, after = world.store.search_events(query, size, after, **order)
        ids += [part.event.id for part in parts]
        if after is None:
            return ids

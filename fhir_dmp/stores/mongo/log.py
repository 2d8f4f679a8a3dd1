"""The log as the port tells it: found row by row, paged, and counted, one month after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.read_concern import ReadConcern

from fhir_dmp.store.change import Event
from fhir_dmp.store.port import EventPart, Tally
from fhir_dmp.store.query import Or, Query
from fhir_dmp.stores.mongo.blocks import row_of
from fhir_dmp.stores.mongo.documents import months, months_of
from fhir_dmp.stores.mongo.faults import answering
from fhir_dmp.stores.mongo.log_counts import count, ids, tallies
from fhir_dmp.stores.mongo.log_events import event_of
from fhir_dmp.stores.mongo.log_pages import Keys, Order, page_of
from fhir_dmp.stores.mongo.reading import readable

_Row = dict[str, Any]


class MongoLog:
    """The AuditEvents of the log's database, as ``store.port.Store`` tells them; whoever calls waits."""

    def __init__(self, database: Database[_Row]) -> None:
        self._database = readable(database)

    def find(self, event_id: str) -> Event | None:
        """Return one row."""
        with answering():
            for name in months_of(self._database, event_id):
                row = row_of(self._month(name), event_id)
                if row:
                    return event_of(row)
        return None

    def search(
        self, query: Query, limit: int, after: Keys | None, *, oldest_first: bool
    ) -> tuple[tuple[EventPart, ...], tuple[Any, ...] | None]:
        """Return up to ``limit`` AuditEvents, newest first or the other way round, and the keys of the last if more follow."""
        found: list[EventPart] = []
        order = Order(after, back=oldest_first)
        with answering():
            for month in self._months()[:: -1 if oldest_first else 1]:
                found += page_of(month, _branches(query), limit + 1 - len(found), order)
                if len(found) > limit:
                    last = found[limit - 1]
                    return tuple(found[:limit]), (last.event.recorded, last.event.id, last.number)
        return tuple(found), None

    def count(self, query: Query) -> int:
        """Return how many AuditEvents meet the query."""
        with answering():
            return sum(count(month, branch) for month in self._months() for branch in _branches(query))

    def ids(self, query: Query, limit: int) -> tuple[str, ...]:
        """Return the ids of up to ``limit`` rows that hold an AuditEvent which meets the query."""
        with answering():
            found = dict.fromkeys(
                each for month in self._months() for branch in _branches(query) for each in ids(month, branch, limit)
            )
        return tuple(found)[:limit]

    def tally(self, query: Query) -> tuple[Tally, ...]:
        """Return how many AuditEvents meet the query for each day and actor: the first agent that a row names."""
        counted: dict[tuple[int, str], int] = {}
        with answering():
            for month in self._months():
                for branch in _branches(query):
                    for day, actor, number in tallies(month, branch):
                        counted[day, actor] = counted.get((day, actor), 0) + number
        order = sorted(counted, key=lambda each: (-each[0], each[1]))
        return tuple(Tally(day, actor, counted[day, actor]) for day, actor in order)

    def _months(self) -> list[Collection[_Row]]:
        """Return the months of the log, newest first."""
        return [self._month(name) for name in months(self._database)[::-1]]

    def _month(self, name: str) -> Collection[_Row]:
        return self._database.get_collection(name, read_concern=ReadConcern("majority"))


def _branches(query: Query) -> Sequence[Query]:
    return query.parts if isinstance(query, Or) and query.parts else (query,)

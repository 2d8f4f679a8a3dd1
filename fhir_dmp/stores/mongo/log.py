"""The log as the port tells it: found row by row, paged, and counted, one month after the other."""

from __future__ import annotations

from typing import Any, NamedTuple

from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.read_concern import ReadConcern

from fhir_dmp.store.change import Event
from fhir_dmp.store.port import EventPart, Tally
from fhir_dmp.store.query import NOTHING, Between, Not, Or, Query, both, span
from fhir_dmp.stores.mongo.blocks import row_of
from fhir_dmp.stores.mongo.compile import compile_query
from fhir_dmp.stores.mongo.connect import QUERY_MILLIS
from fhir_dmp.stores.mongo.documents import months, months_of, span_of
from fhir_dmp.stores.mongo.faults import answering
from fhir_dmp.stores.mongo.in_blocks import gathered
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
                branches = _branches(query, both(month.within, order.reach))
                found += page_of(month.rows, branches, limit + 1 - len(found), order)
                if len(found) > limit:
                    last = found[limit - 1]
                    return tuple(found[:limit]), (last.event.recorded, last.event.id, last.number)
        return tuple(found), None

    def count(self, query: Query) -> int:
        """Return how many AuditEvents meet the query."""
        with answering():
            return sum(
                count(month.rows, branch) for month in self._months() for branch in _branches(query, month.within)
            )

    def lost(self, query: Query, limit: int) -> tuple[int, tuple[str, ...]]:
        """Return how many AuditEvents meet the query whose rows stand nowhere in time, and the ids of up to ``limit`` of the rows."""
        number, named = 0, dict[str, None]()
        with answering():
            for month in self._months():
                if month.has_lost():
                    for branch in _branches(query, month.outside):
                        number += count(month.rows, branch)
                        named |= dict.fromkeys(ids(month.rows, branch, limit))
        return number, tuple(named)[:limit]

    def tally(self, query: Query, limit: int) -> tuple[Tally, ...] | None:
        """Return how many AuditEvents meet the query for each day and actor: the first agent that a row names. None for more than ``limit``."""
        counted: dict[tuple[int, str], int] = {}
        with answering():
            for month in self._months():
                for branch in _branches(query, month.within):
                    for day, actor, number in tallies(month.rows, branch, limit + 1):
                        counted[day, actor] = counted.get((day, actor), 0) + number
                    if len(counted) > limit:
                        return None
        order = sorted(counted, key=lambda each: (-each[0], each[1]))
        return tuple(Tally(day, actor, counted[day, actor]) for day, actor in order)

    def _months(self) -> list[_Month]:
        """Return the months of the log, newest first."""
        return [_Month(self._month(name), *span_of(name)) for name in months(self._database)[::-1]]

    def _month(self, name: str) -> Collection[_Row]:
        return self._database.get_collection(name, read_concern=ReadConcern("majority"))


class _Month(NamedTuple):
    """The rows of a month, from its first moment until, without, that of the next."""

    rows: Collection[_Row]
    since: int
    until: int

    @property
    def within(self) -> Query:
        """The rows that stand in the month, as all do that nobody damaged: no others are told or counted."""
        return Between("rec", self.since, self.until)

    @property
    def outside(self) -> Query:
        """The others, said so that an index finds them: at its two ends."""
        return Or((Not(Between("rec", self.since)), Between("rec", self.until)))

    def has_lost(self) -> bool:
        """Tell whether there may be rows outside: nearly always there are none, and one look is enough."""
        ends = compile_query(gathered(self.outside))
        return self.rows.count_documents(ends, limit=1, maxTimeMS=QUERY_MILLIS) > 0


def _branches(query: Query, rows: Query) -> list[Query]:
    """Return the parts of a union, each of these ``rows`` alone; those that none of them can meet are left out."""
    parts = query.parts if isinstance(query, Or) else (query,)
    asked = [both(part, rows) for part in parts]
    return [each for each in asked if each != NOTHING and _is_of_time(*span(each, "rec"))]


def _is_of_time(since: int | None, until: int | None) -> bool:
    return since is None or until is None or since < until

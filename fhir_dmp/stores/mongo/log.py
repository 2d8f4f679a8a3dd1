"""The log as the port tells it: found row by row, paged, and counted, one month after the other."""

from __future__ import annotations

from itertools import product
from typing import Any

from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.read_concern import ReadConcern

from fhir_dmp.store.change import Event
from fhir_dmp.store.period import span_of
from fhir_dmp.store.port import Counted, EventPart, Tally
from fhir_dmp.store.query import NOTHING, Or, Query, both
from fhir_dmp.stores.mongo.block_rows import row_of
from fhir_dmp.stores.mongo.documents import months, months_of
from fhir_dmp.stores.mongo.faults import answering
from fhir_dmp.stores.mongo.log_counts import count, is_of, lost, tallies
from fhir_dmp.stores.mongo.log_events import event_of
from fhir_dmp.stores.mongo.log_pages import Keys, Order, page_of
from fhir_dmp.stores.mongo.moments import Month
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
        """Return up to ``limit`` AuditEvents, newest first or the other way round, and the keys of the last if more follow.

        More only if somebody copied one, and it would be the last: the next page goes on after its keys, and would leave out the copy.
        """
        most = limit + 1
        while len(found := self._found(query, most, Order(after, back=oldest_first))) == most:
            end = next((at for at in range(limit, most) if _keys(found[at]) != _keys(found[at - 1])), None)
            if end is not None:
                return tuple(found[:end]), _keys(found[end - 1])
            most *= 2
        return tuple(found), None

    def _found(self, query: Query, most: int, order: Order) -> list[EventPart]:
        found: list[EventPart] = []
        with answering():
            for month in self._months()[:: -1 if order.back else 1]:
                branches = [each for each in _branches(query, month.within, order.reach) if is_of(month, each)]
                found += page_of(month.rows, branches, most - len(found), order)
                if len(found) == most:
                    break
        return found

    def count(self, query: Query, limit: int) -> Counted:
        """Return how many AuditEvents meet the query, how many of them are lost, and the ids of up to ``limit`` of the rows of these."""
        told, gone, named = 0, 0, dict[str, None]()
        with answering():
            for month, branch in product(self._months(), _branches(query)):
                of_month = count(month, branch)
                told, gone = told + of_month[0], gone + of_month[1]
                if of_month[1] and len(named) < limit:
                    named |= dict.fromkeys(lost(month, branch, limit))
        return Counted(told, gone, tuple(named)[:limit])

    def tally(self, query: Query, limit: int) -> tuple[Tally, ...] | None:
        """Return how many AuditEvents meet the query for each day and actor: the first agent that a row names. None for more than ``limit``."""
        counted: dict[tuple[int, str], int] = {}
        with answering():
            for month in self._months():
                for branch in [each for each in _branches(query) if is_of(month, each)]:
                    for day, actor, number in tallies(month, branch, limit + 1):
                        counted[day, actor] = counted.get((day, actor), 0) + number
                    if len(counted) > limit:
                        return None
        order = sorted(counted, key=lambda each: (-each[0], each[1]))
        return tuple(Tally(day, actor, counted[day, actor]) for day, actor in order)

    def _months(self) -> list[Month]:
        """Return the months of the log, newest first."""
        return [Month(self._month(name), *span_of(name)) for name in months(self._database)[::-1]]

    def _month(self, name: str) -> Collection[_Row]:
        return self._database.get_collection(name, read_concern=ReadConcern("majority"))


def _keys(part: EventPart) -> tuple[Any, ...]:
    return part.event.recorded, part.event.id, part.number


def _branches(query: Query, *rows: Query) -> list[Query]:
    """Return the parts of a union, each of these ``rows`` alone; those that nothing meets are left out."""
    parts = query.parts if isinstance(query, Or) else (query,)
    return [each for part in parts if (each := both(part, *rows)) != NOTHING]

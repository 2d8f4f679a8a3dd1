"""Pages of the log: the AuditEvents of one month that meet a query, in the order of time.

A document is fetched if any of its AuditEvents may be meant; those of one that holds several are judged one by one, by ``matches``.
The database gives documents in the order of their moments alone, as its indexes have them: what is of one moment is put in order here.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from bson.errors import InvalidBSON
from pymongo.collection import Collection
from pymongo.errors import ExecutionTimeout, OperationFailure

from fhir_dmp.store.chain import Row
from fhir_dmp.store.change import Event
from fhir_dmp.store.log import indexes_of, loosened
from fhir_dmp.store.matching import matches
from fhir_dmp.store.port import EventPart
from fhir_dmp.store.query import EVERYTHING, Between, Query
from fhir_dmp.stores.mongo.blocks import BLOCK, MOST_ROWS, SINGLE, SPAN
from fhir_dmp.stores.mongo.compile import compile_query
from fhir_dmp.stores.mongo.connect import QUERY_MILLIS
from fhir_dmp.stores.mongo.in_blocks import alone, gathered, holding
from fhir_dmp.stores.mongo.log_events import ONE, SEVERAL, event_of
from fhir_dmp.stores.mongo.moments import IS_MOMENT, moment_of
from fhir_dmp.stores.mongo.reading import read_as_found, read_more
from fhir_dmp.stores.mongo.told import Contradicted, Told

_MORE_THAN_BLOCKS = 4
"""Documents that are fetched at first beside those that a page of full blocks takes."""

_Row = dict[str, Any]
Keys = Sequence[Any]
"""When an AuditEvent was recorded, the id of its row, and its number there."""


class Order:
    """An order of AuditEvents, newest first or ``back`` from its end, from what comes ``after`` some keys on."""

    def __init__(self, after: Keys | None, *, back: bool) -> None:
        self.back = back
        self._after: tuple[Any, ...] | None = _of_time(after) if after else None
        self.reach = EVERYTHING if after is None else _reaching(after[0], back=back)
        """The query for what may come after the keys."""

    def comes(self, keys: Keys) -> bool:
        """Tell whether an AuditEvent comes after the keys."""
        if self._after is None:
            return True
        return _of_time(keys) < self._after if self.back else _of_time(keys) > self._after


class _Way(NamedTuple):
    """How documents are asked for: whether the database judges their rows, and whether they are read as it finds them, which costs more."""

    judged: bool
    as_found: bool


_WAYS = (_Way(judged=True, as_found=False), _Way(judged=True, as_found=True), _Way(judged=False, as_found=True))


def page_of(month: Collection[_Row], branches: Sequence[Query], limit: int, order: Order) -> list[EventPart]:
    """Return up to ``limit`` AuditEvents of the month that meet one of the queries, in the order.

    What somebody damaged is asked for anew in another way, and the page begun again: what was recorded meanwhile has its turn.
    """
    for way in _WAYS[:-1]:
        try:
            return _page_of(month, branches, limit, order, way)
        except ExecutionTimeout:
            raise
        except (InvalidBSON, Contradicted, OperationFailure):
            continue
    return _page_of(month, branches, limit, order, _WAYS[-1])


def _page_of(
    month: Collection[_Row], branches: Sequence[Query], limit: int, order: Order, way: _Way
) -> list[EventPart]:
    found = [_events(month, branch, limit, order, way) for branch in branches]
    return list(islice(heapq.merge(*found, key=_place, reverse=order.back), limit))


def _events(month: Collection[_Row], query: Query, limit: int, order: Order, way: _Way) -> Iterator[EventPart]:
    """Yield the AuditEvents of one branch in the order."""
    found = _documents(month, _wanted(query, judged=way.judged), limit, way, back=order.back)
    for row, single in _in_order(_timed(found), month.name, back=order.back):
        event = event_of(row)
        told = single and "m" not in row.terms
        for number, index in _numbered(event, back=order.back):
            if order.comes((event.recorded, event.id, number)) and (
                told or matches(query, {**index, "_id": event.id, "rec": event.recorded})
            ):
                yield EventPart(event, number)


def _wanted(query: Query, *, judged: bool) -> _Row:
    """Return what documents meet that may have an AuditEvent which meets the query: a row alone that holds one does.

    Blocks that have no such row are many where two things are asked of which each is common: the database leaves them out if ``judged``.
    """
    exact, loose = compile_query(query), compile_query(loosened(query))
    kinds = [(exact, SINGLE)] if exact == loose else [(exact, ONE), (loose, SEVERAL)]
    wanted: list[_Row] = [{"$and": [meets, kind]} for meets, kind in kinds]
    if not alone(query):
        wanted.append(holding(query) if judged else BLOCK)
    return {"$and": [compile_query(gathered(query)), IS_MOMENT, {"$or": wanted}]}


def _documents(month: Collection[_Row], wanted: _Row, limit: int, way: _Way, *, back: bool) -> Iterator[Told]:
    """Yield the documents by their moments. Raises ``Contradicted`` for one that says more than one thing, unless read ``as_found``."""
    stages: list[_Row] = [{"$match": wanted}, {"$sort": {"rec": 1 if back else -1}}]
    if way.as_found:
        return (Told(each, plain=False) for each in read_as_found(month, stages, maxTimeMS=QUERY_MILLIS))
    found = read_more(month, stages, limit // MOST_ROWS + _MORE_THAN_BLOCKS, maxTimeMS=QUERY_MILLIS)
    return (Told.once(*each) for each in found)


def _timed(documents: Iterable[Told]) -> Iterator[tuple[Told, int]]:
    """Yield those of the documents that have a moment, with it."""
    return ((told, moment) for told in documents if (moment := moment_of(told.document)) is not None)


def _in_order(documents: Iterable[tuple[Told, int]], month: str, *, back: bool) -> Iterator[tuple[Row, bool]]:
    """Yield the rows of documents that come in the order of their latest ones, each with whether it stands alone, in their own order."""
    waiting: list[tuple[Row, bool]] = []
    for told, moment in documents:
        single = "rows" not in told.document
        rows = told.rows(month)
        waiting.sort(key=_moment_and_id, reverse=back)
        ready = 0
        while ready < len(waiting) and _precedes(waiting[ready][0].recorded, moment, back=back):
            ready += 1
        yield from waiting[:ready]
        del waiting[:ready]
        waiting += [(row._replace(recorded=moment) if len(rows) == 1 else row, single) for row in rows]
    yield from sorted(waiting, key=_moment_and_id, reverse=back)


def _precedes(recorded: int, moment: int, *, back: bool) -> bool:
    """Tell whether nothing of documents whose latest row is of that moment, or of those that follow them, comes before this row."""
    return recorded < moment - SPAN if back else recorded > moment


def _moment_and_id(row: tuple[Row, bool]) -> tuple[int, str]:
    return -row[0].recorded, row[0].id


def _numbered(event: Event, *, back: bool) -> Iterable[tuple[int, _Row]]:
    numbered = list(enumerate(indexes_of(event.index), 1))
    return reversed(numbered) if back else numbered


def _reaching(recorded: int, *, back: bool) -> Query:
    return Between("rec", recorded) if back else Between("rec", None, recorded + 1)


def _of_time(keys: Keys) -> tuple[Any, ...]:
    return -keys[0], *keys[1:]


def _place(part: EventPart) -> tuple[int, str, int]:
    return -part.event.recorded, part.event.id, part.number

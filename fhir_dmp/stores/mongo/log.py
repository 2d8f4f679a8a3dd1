"""Searching the log: a document holds a row or a block of them, a row one AuditEvent or several; each is found, counted and paged by itself.

A document is fetched if any of its AuditEvents may be meant; those of one that holds several are judged one by one, in the
same words: by ``matches`` for a page, by the database for a count.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import ExecutionTimeout, OperationFailure
from pymongo.read_concern import ReadConcern

from fhir_dmp.store.change import Event
from fhir_dmp.store.ledger import Row
from fhir_dmp.store.log import indexes_of, loosened
from fhir_dmp.store.port import EventPart, Tally
from fhir_dmp.store.query import Or, Query, matches
from fhir_dmp.stores.mongo.blocks import BLOCK, SINGLE, SPAN, row_of, rows_in
from fhir_dmp.stores.mongo.compile import compile_query
from fhir_dmp.stores.mongo.connect import QUERY_MILLIS
from fhir_dmp.stores.mongo.documents import months, months_of
from fhir_dmp.stores.mongo.faults import answering
from fhir_dmp.stores.mongo.in_blocks import counting, each_row, each_several, gathered, left_of_damaged

_DAY = 86_400_000_000
_LATEST = 253_402_300_799_999_999
"""The last moment that a date can tell."""

_TEXTS, _NUMBERS = ("t", "u", "pt", "sec", "c", "cu"), ("m", "at", "ps")
_ONE = {"m": {"$exists": False}, **SINGLE}
_SEVERAL = {"m": {"$exists": True}, **SINGLE}
_COUNT: list[dict[str, Any]] = [{"$count": "n"}]
_Row = dict[str, Any]
_Keys = Sequence[Any]
"""When an AuditEvent was recorded, the id of its row, and its number there."""


def _listed(field: str) -> _Row:
    """Return the expression for a list that may not be there, or be none."""
    return {"$cond": [{"$isArray": [field]}, field, []]}


_APART: list[_Row] = [
    {
        "$set": {
            "ev": {"$ifNull": ["$x", {"$map": {"input": _listed("$pt"), "as": "p", "in": {"pt": ["$$p"]}}}]},
            "t": {"$ifNull": ["$c", "$t"]},
            "u": {"$ifNull": ["$cu", "$u"]},
        }
    },
    {"$unwind": {"path": "$ev", "includeArrayIndex": "k"}},
    {
        "$set": {
            "pt": "$ev.pt",
            "k": {"$add": ["$k", 1]},
            "t": {"$concatArrays": [_listed("$t"), _listed("$ev.t")]},
            "u": {"$concatArrays": [_listed("$u"), _listed("$ev.u")]},
        }
    },
]
"""Stages that make one document of each AuditEvent of a row, as ``store.log.indexes_of`` does."""

_ACTORS = {"$filter": {"input": _listed("$t"), "as": "x", "cond": {"$eq": [{"$substrCP": ["$$x", 0, 2]}, "g="]}}}
_BY_DAY_AND_ACTOR: list[_Row] = [
    {"$match": {"rec": {"$gte": 0, "$lte": _LATEST}}},
    {
        "$group": {
            "_id": {
                "d": {"$floor": {"$divide": ["$rec", _DAY]}},
                "g": {"$ifNull": [{"$arrayElemAt": [_ACTORS, 0]}, "g="]},
            },
            "n": {"$sum": 1},
        }
    },
]
_BY_ROW: _Row = {"$group": {"_id": "$_id"}}


def event_of(row: Row) -> Event:
    """Return a row of the log as the port tells it.

    Of one that somebody damaged all that makes no sense is left out: it is told as damaged by whoever cannot read it, and hides no other.
    """
    terms = row.terms
    index = {name: terms[name] for name in _TEXTS if _are_texts(terms.get(name))}
    index |= {name: terms[name] for name in _NUMBERS if isinstance(terms.get(name), int)}
    if isinstance(terms.get("x"), list):
        index["x"] = terms["x"]
    if "m" in index and not _is_apart(index):
        index = {}
    return Event(row.id, row.recorded, row.body, index, row.secret if isinstance(row.secret, bytes) else None)


def _is_apart(index: _Row) -> bool:
    """Tell whether the index is that of as many AuditEvents as it says."""
    try:
        events = indexes_of(index)
        return len(events) == index["m"] and all(_are_texts(each[name]) for each in events for name in ("t", "u", "pt"))
    except (LookupError, TypeError, AttributeError):
        return False


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _moment(document: _Row) -> int | None:
    """Return when the last of its rows was recorded; None for what stands nowhere in the order of time, and so on no page."""
    recorded = document.get("rec")
    return int(recorded) if isinstance(recorded, int | float) and 0 <= recorded <= _LATEST else None


class MongoLog:
    """The AuditEvents of the log's database, as ``store.port.Store`` tells them; whoever calls waits."""

    def __init__(self, database: Database[_Row]) -> None:
        self._database = database

    def find(self, event_id: str) -> Event | None:
        """Return one row."""
        with answering():
            for name in months_of(self._database, event_id):
                row = row_of(self._month(name), event_id)
                if row:
                    return event_of(row)
        return None

    def search(
        self, query: Query, limit: int, after: _Keys | None, *, oldest_first: bool
    ) -> tuple[tuple[EventPart, ...], tuple[Any, ...] | None]:
        """Return up to ``limit`` AuditEvents, newest first or the other way round, and the keys of the last if more follow."""
        found: list[EventPart] = []
        with answering():
            for month in self._months()[:: -1 if oldest_first else 1]:
                branches = [_events(month, branch, limit, after, back=oldest_first) for branch in _branches(query)]
                merged = heapq.merge(*branches, key=_order, reverse=oldest_first) if len(branches) > 1 else branches[0]
                found.extend(islice(merged, limit + 1 - len(found)))
                if len(found) > limit:
                    last = found[limit - 1]
                    return tuple(found[:limit]), (last.event.recorded, last.event.id, last.number)
        return tuple(found), None

    def count(self, query: Query) -> int:
        """Return how many AuditEvents meet the query."""
        with answering():
            return sum(row["n"] for row in self._each(query, _COUNT))

    def ids(self, query: Query, limit: int) -> tuple[str, ...]:
        """Return the ids of up to ``limit`` rows that hold an AuditEvent which meets the query."""
        with answering():
            found = dict.fromkeys(row["_id"] for row in self._each(query, [_BY_ROW, {"$limit": limit}]))
        return tuple(found)[:limit]

    def tally(self, query: Query) -> tuple[Tally, ...]:
        """Return how many AuditEvents meet the query for each day and actor: the first agent that a row names."""
        counted: dict[tuple[int, str], int] = {}
        with answering():
            for row in self._each(query, _BY_DAY_AND_ACTOR):
                key = int(row["_id"]["d"]), row["_id"]["g"][2:]
                counted[key] = counted.get(key, 0) + row["n"]
        order = sorted(counted, key=lambda each: (-each[0], each[1]))
        return tuple(Tally(day, actor, counted[day, actor]) for day, actor in order)

    def _each(self, query: Query, stages: list[_Row]) -> Iterator[_Row]:
        """Yield what the stages make of the AuditEvents that meet the query: month by month, and by how they are stored."""
        for month in self._months():
            for branch in _branches(query):
                yield from _aggregated(month, branch, stages)

    def _months(self) -> list[Collection[_Row]]:
        """Return the months of the log, newest first."""
        return [self._month(name) for name in months(self._database)[::-1]]

    def _month(self, name: str) -> Collection[_Row]:
        return self._database.get_collection(name, read_concern=ReadConcern("majority"))


def _aggregated(month: Collection[_Row], query: Query, last: list[_Row]) -> Iterator[_Row]:
    """Yield what the last stages make of the AuditEvents that meet one branch."""
    yield from month.aggregate([*_singles(query), *last], maxTimeMS=QUERY_MILLIS)
    yield from month.aggregate([*_several(query), *last], maxTimeMS=QUERY_MILLIS)
    exact = {"$match": compile_query(query)}
    one = counting(query) if last == _COUNT else [*each_row(query), *last]
    several = [*each_several(query), *_APART, exact, *last]
    try:
        made = [row for stages in (one, several) for row in month.aggregate(stages, maxTimeMS=QUERY_MILLIS)]
    except ExecutionTimeout:
        raise
    except OperationFailure:
        one = [*left_of_damaged(query, several=False), exact, *last]
        several = [*left_of_damaged(query, several=True), *_APART, exact, *last]
        made = [row for stages in (one, several) for row in month.aggregate(stages, maxTimeMS=QUERY_MILLIS)]
    yield from made


def _branches(query: Query) -> Sequence[Query]:
    return query.parts if isinstance(query, Or) and query.parts else (query,)


def _singles(query: Query) -> list[_Row]:
    return [{"$match": {"$and": [compile_query(query), _ONE]}}]


def _several(query: Query) -> list[_Row]:
    wanted = {"$and": [compile_query(loosened(query)), _SEVERAL]}
    return [{"$match": wanted}, {"$unset": "b"}, *_APART, {"$match": compile_query(query)}]


def _events(
    month: Collection[_Row], query: Query, limit: int, after: _Keys | None, *, back: bool
) -> Iterator[EventPart]:
    """Yield the AuditEvents of one branch in their order, or ``back`` from its end, those after the keys."""
    loose = loosened(query)
    exact = loose == query
    wanted: _Row = {"$and": [compile_query(gathered(query)), {"$or": [compile_query(loose), BLOCK]}]}
    if after is not None:
        wanted["$and"] += [_reaching(after[0], back=back), {"$or": [_beyond(after, back=back), BLOCK]}]
    documents = month.find(wanted, batch_size=limit + 2).sort(
        [("rec", 1), ("_id", -1)] if back else [("rec", -1), ("_id", 1)]
    )
    for row, alone in _in_order(documents.max_time_ms(QUERY_MILLIS), month.name, back=back):
        event = event_of(row)
        told = exact and alone and "m" not in row.terms
        for number, index in _numbered(event, back=back):
            keys = event.recorded, event.id, number
            if (after is None or _comes(keys, after, back=back)) and (
                told or matches(query, {**index, "_id": event.id, "rec": event.recorded})
            ):
                yield EventPart(event, number)


def _in_order(documents: Iterable[_Row], month: str, *, back: bool) -> Iterator[tuple[Row, bool]]:
    """Yield the rows of documents that come in the order of their latest ones, each with whether it is alone, in their own order."""
    waiting: list[tuple[Row, bool]] = []
    for document in documents:
        moment = _moment(document)
        if moment is None:
            continue
        alone = "rows" not in document
        rows = rows_in(document, month)
        waiting.sort(key=_moment_and_id, reverse=back)
        ready = 0
        while ready < len(waiting) and _precedes(waiting[ready][0].recorded, moment, back=back):
            ready += 1
        yield from waiting[:ready]
        del waiting[:ready]
        waiting += [(row._replace(recorded=moment) if len(rows) == 1 else row, alone) for row in rows]
    yield from sorted(waiting, key=_moment_and_id, reverse=back)


def _precedes(recorded: int, moment: int, *, back: bool) -> bool:
    """Tell whether nothing of documents whose latest row is of that moment, or of those that follow them, comes before this row."""
    return recorded < moment - SPAN if back else recorded > moment


def _moment_and_id(row: tuple[Row, bool]) -> tuple[int, str]:
    return -row[0].recorded, row[0].id


def _numbered(event: Event, *, back: bool) -> Iterable[tuple[int, _Row]]:
    numbered = list(enumerate(indexes_of(event.index), 1))
    return reversed(numbered) if back else numbered


def _comes(keys: _Keys, after: _Keys, *, back: bool) -> bool:
    """Tell whether an AuditEvent comes after another, in their order or ``back``."""
    own, other = (-keys[0], *keys[1:]), (-after[0], *after[1:])
    return own < other if back else own > other


def _reaching(recorded: int, *, back: bool) -> _Row:
    """Return what documents meet that have rows from this moment on."""
    return {"rec": {"$gte": recorded} if back else {"$lte": recorded + SPAN}}


def _beyond(after: _Keys, *, back: bool) -> _Row:
    """Return what stands after the keys; of their own row, whose events have numbers, it is told apart by whoever reads it."""
    recorded, event_id, _ = after
    later, other = ("$gt", "$lt") if back else ("$lt", "$gt")
    return {
        "$or": [
            {"rec": {later: recorded}},
            {"rec": recorded, "_id": {other: event_id}},
            {"rec": recorded, "_id": event_id, **_SEVERAL},
        ]
    }


def _order(part: EventPart) -> tuple[int, str, int]:
    return -part.event.recorded, part.event.id, part.number

"""Counts of the log: stages by which the database makes something of the AuditEvents of one month that meet a query.

They are asked for by how they are stored: alone or in blocks, one to a row or several.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from pymongo.collection import Collection
from pymongo.errors import ExecutionTimeout, OperationFailure

from fhir_dmp.store.log import loosened
from fhir_dmp.store.query import Query, end_of
from fhir_dmp.stores.mongo.compile import compile_query
from fhir_dmp.stores.mongo.connect import QUERY_MILLIS
from fhir_dmp.stores.mongo.in_blocks import alone, counting, each_row, each_several, left_of_damaged
from fhir_dmp.stores.mongo.log_events import ONE, SEVERAL

_DAY = 86_400_000_000
_Row = dict[str, Any]


def _listed(field: Any) -> _Row:
    """Return the expression for a list that may not be there, or be none."""
    return {"$cond": [{"$isArray": [field]}, field, []]}


_EVENTS = {"$ifNull": ["$x", {"$map": {"input": _listed("$pt"), "as": "p", "in": {"pt": ["$$p"]}}}]}
_WHOLE = {
    "$and": [
        {"$in": [{"$type": "$m"}, ["int", "long"]]},
        {"$isArray": "$ev"},
        {"$eq": [{"$size": _listed("$ev")}, "$m"]},
    ]
}
_APART: list[_Row] = [
    {"$set": {"ev": _EVENTS}},
    {"$set": {"whole": {"$and": [_WHOLE, {"$gt": ["$m", 0]}]}}},
    {"$set": {"ev": {"$cond": ["$whole", "$ev", [{}]]}}},
    {"$unwind": {"path": "$ev", "includeArrayIndex": "k"}},
    {
        "$set": {
            "pt": _listed("$ev.pt"),
            "k": {"$add": ["$k", 1]},
            "t": {"$cond": ["$whole", {"$concatArrays": [_listed({"$ifNull": ["$c", "$t"]}), _listed("$ev.t")]}, []]},
            "u": {"$cond": ["$whole", {"$concatArrays": [_listed({"$ifNull": ["$cu", "$u"]}), _listed("$ev.u")]}, []]},
        }
    },
]
"""Stages that make one document of each AuditEvent of a row, as ``store.log.indexes_of`` does.

A row that has not as many as it says is one that is found by nothing, as ``log_events`` tells it.
"""

_AGENT = "g="
_IS_AGENT = {"$and": [{"$gte": ["$$x", _AGENT]}, {"$lt": ["$$x", end_of(_AGENT)]}]}
"""Compared, and not taken apart: of what is no text the database would take nothing, and refuse all."""

_ACTORS = {"$filter": {"input": _listed("$t"), "as": "x", "cond": _IS_AGENT}}
_BY_DAY_AND_ACTOR: _Row = {
    "$group": {
        "_id": {
            "d": {"$floor": {"$divide": ["$rec", _DAY]}},
            "g": {"$ifNull": [{"$arrayElemAt": [_ACTORS, 0]}, _AGENT]},
        },
        "n": {"$sum": 1},
    }
}


def count(month: Collection[_Row], query: Query) -> int:
    """Return how many AuditEvents of the month meet the query."""
    return sum(row["n"] for row in _made(month, query, [{"$count": "n"}], counting(query)))


def ids(month: Collection[_Row], query: Query, limit: int) -> list[str]:
    """Return the ids of rows of the month that hold an AuditEvent which meets the query: up to ``limit`` for each way they are stored."""
    stages: list[_Row] = [{"$group": {"_id": "$_id"}}, {"$limit": limit}]
    return [str(row["_id"]) for row in _made(month, query, stages, [*each_row(query), *stages])]


def tallies(month: Collection[_Row], query: Query, limit: int) -> Iterator[tuple[int, str, int]]:
    """Yield a day, who acted on it, and how many of the AuditEvents that meet the query.

    They come more than once if they are stored in several ways, up to ``limit`` for each way.
    """
    stages = [_BY_DAY_AND_ACTOR, {"$limit": limit}]
    for row in _made(month, query, stages, [*each_row(query), *stages]):
        yield int(row["_id"]["d"]), row["_id"]["g"].removeprefix(_AGENT), row["n"]


def _made(month: Collection[_Row], query: Query, last: list[_Row], of_blocks: list[_Row]) -> Iterator[_Row]:
    """Yield what the ``last`` stages make of the AuditEvents that meet the query; ``of_blocks`` make it of rows of blocks that hold one."""
    exact = {"$match": compile_query(query)}
    if alone(query) and not _any(month, query):
        return
    yield from _asked(month, _singles(query), last)
    yield from _asked(month, _several(query), last)
    if alone(query):
        return
    try:
        made = [*_asked(month, of_blocks), *_asked(month, each_several(query), _APART, [exact], last)]
    except ExecutionTimeout:
        raise
    except OperationFailure:
        one, several = (left_of_damaged(query, several=each) for each in (False, True))
        made = [*_asked(month, one, [exact], last), *_asked(month, several, _APART, [exact], last)]
    yield from made


def _any(month: Collection[_Row], query: Query) -> bool:
    """Tell whether the month may have what meets the query: of what clients report most have nothing, and one look is enough."""
    return month.count_documents(compile_query(loosened(query)), limit=1, maxTimeMS=QUERY_MILLIS) > 0


def _asked(month: Collection[_Row], *stages: list[_Row]) -> Iterable[_Row]:
    return month.aggregate([*chain.from_iterable(stages)], maxTimeMS=QUERY_MILLIS)


def _singles(query: Query) -> list[_Row]:
    return [{"$match": {"$and": [compile_query(query), ONE]}}]


def _several(query: Query) -> list[_Row]:
    wanted = {"$and": [compile_query(loosened(query)), SEVERAL]}
    return [{"$match": wanted}, *_APART, {"$match": compile_query(query)}]

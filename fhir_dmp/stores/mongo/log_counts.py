"""Counts of the log: stages by which the database makes something of the AuditEvents of one month that meet a query.

They are asked for by how they are stored: alone or in blocks, one to a row or several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

from pymongo.errors import ExecutionTimeout, OperationFailure

from fhir_dmp.clock import DAY
from fhir_dmp.store.log import loosened
from fhir_dmp.store.query import Query, both, end_of, span
from fhir_dmp.stores.mongo.compile import compile_query
from fhir_dmp.stores.mongo.connect import QUERY_MILLIS
from fhir_dmp.stores.mongo.in_blocks import alone, counting, each_row, each_several, gathered, left_of_damaged
from fhir_dmp.stores.mongo.log_events import ONE, SEVERAL
from fhir_dmp.stores.mongo.moments import Month

_DAY = {"$floor": {"$divide": ["$rec", DAY]}}
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
            "sec": _listed({"$ifNull": ["$ev.sec", "$sec"]}),
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
_ACTOR = {"$ifNull": [{"$arrayElemAt": [_ACTORS, 0]}, _AGENT]}


def count(month: Month, query: Query) -> tuple[int, int]:
    """Return how many AuditEvents of the month meet the query and stand in time, and how many meet it and are lost.

    What is counted is told apart while it is: a look of its own whether anything is lost would cost as much again.
    """
    last: list[_Row] = [{"$group": {"_id": None, "n": {"$sum": 1}, "lost": {"$sum": _one_if(_is_lost(month))}}}]
    made = [*_made(month, query, last, counting(query, month), lambda made: any(row["several"] for row in made))]
    left = sum(row["lost"] for row in made)
    return sum(row["n"] for row in made) - left, left


def lost(month: Month, query: Query, limit: int) -> list[str]:
    """Return the ids of rows that hold an AuditEvent which meets the query and is lost: up to ``limit`` for each way they are stored."""
    stages: list[_Row] = [{"$match": {"$expr": _is_lost(month)}}, {"$group": {"_id": "$_id"}}, {"$limit": limit}]
    return [str(row["_id"]) for row in _made(month, query, stages, [*each_row(query), *stages])]


def tallies(month: Month, query: Query, limit: int) -> Iterator[tuple[int, str, int]]:
    """Yield a day, who acted on it, and how many of the AuditEvents that meet the query and stand in time.

    They come more than once if they are stored in several ways, up to ``limit`` for each way.
    """
    most: _Row = {"$limit": limit}
    last = [_by_day_and_actor({"$cond": [month.has("$rec"), _DAY, None]}), {"$match": {"_id.d": {"$ne": None}}}, most]
    for row in _made(month, query, last, [*each_row(query, month), _by_day_and_actor(_DAY), most]):
        yield int(row["_id"]["d"]), row["_id"]["g"].removeprefix(_AGENT), row["n"]


def _by_day_and_actor(day: _Row) -> _Row:
    return {"$group": {"_id": {"d": day, "g": _ACTOR}, "n": {"$sum": 1}}}


def is_of(month: Month, query: Query) -> bool:
    """Tell whether rows that stand in the month may meet the query."""
    since, until = span(both(query, month.within), "rec")
    return since is None or until is None or since < until


def _is_lost(month: Month) -> _Row:
    return {"$not": [month.has("$rec")]}


def _one_if(expression: _Row) -> _Row:
    return {"$cond": [expression, 1, 0]}


def _made(
    month: Month,
    query: Query,
    last: list[_Row],
    of_blocks: list[_Row],
    has_several: Callable[[list[_Row]], bool] = lambda _: True,
) -> Iterator[_Row]:
    """Yield what the ``last`` stages make of the AuditEvents that meet the query; ``of_blocks`` make it of rows of blocks that hold one.

    Whether ``has_several`` is told by what they make: most often no row of a block holds several, and the blocks need not be gone through again.
    """
    exact = {"$match": compile_query(query)}
    if (alone(query) or not is_of(month, query)) and not _any(month, query):
        return
    yield from _asked(month, _singles(query), last)
    yield from _asked(month, _several(query), last)
    if alone(query):
        return
    try:
        made = [*_asked(month, of_blocks)]
        made += _asked(month, each_several(query), _APART, [exact], last) if has_several(made) else ()
    except ExecutionTimeout:
        raise
    except OperationFailure:
        one, several = (left_of_damaged(query, several=each) for each in (False, True))
        made = [*_asked(month, one, [exact], last), *_asked(month, several, _APART, [exact], last)]
    yield from made


def _any(month: Month, query: Query) -> bool:
    """Tell whether the month may have what meets the query: of most things that clients report, and of another time, it has nothing.

    One look is enough.
    """
    return month.rows.count_documents(compile_query(gathered(query)), limit=1, maxTimeMS=QUERY_MILLIS) > 0


def _asked(month: Month, *stages: list[_Row]) -> Iterable[_Row]:
    return month.rows.aggregate([*chain.from_iterable(stages)], maxTimeMS=QUERY_MILLIS)


def _singles(query: Query) -> list[_Row]:
    return [{"$match": {"$and": [compile_query(query), ONE]}}]


def _several(query: Query) -> list[_Row]:
    wanted = {"$and": [compile_query(loosened(query)), SEVERAL]}
    return [{"$match": wanted}, *_APART, {"$match": compile_query(query)}]

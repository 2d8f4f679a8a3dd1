"""Rows in the order of a token, read from the index of tokens: a page of many costs as much as a page.

A row stands in that index once for each of its tokens, so it is met first at the smallest of those that begin alike, which is the
one that it is sorted by. The database gives no order by an index of lists itself; it is told where to begin and where to end
(``min``, ``max``), and what was met on an earlier page is left out. Rows without such a token come last, as they do where keys are computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bson.min_key import MinKey
from pymongo.collection import Collection

from fhir_dmp.store.port import Order
from fhir_dmp.store.query import end_of
from fhir_dmp.stores.mongo.connect import QUERY_MILLIS

MANY = 1000
"""Rows from which on it may be shorter to walk past others than to fetch all and sort them."""

FARTHEST = 2000
"""Rows that are walked past for a page: whoever wants few among more has them sorted."""

INDEX = [("t", 1), ("co", 1)]

_Row = dict[str, Any]
_Place = Mapping[str, Any]


def start_of(order: Sequence[Order]) -> str | None:
    """Return how the tokens begin that this order goes by, upwards and by nothing else beside creation; None: by no such."""
    match order:
        case (Order(field, False), Order("co", False)) if field.startswith("t:"):
            return field.removeprefix("t:")
        case _:
            return None


def are_many(rows: Collection[_Row], wanted: _Row) -> bool:
    """Tell whether at least ``MANY`` rows are wanted."""
    return rows.count_documents(wanted, limit=MANY, maxTimeMS=QUERY_MILLIS) == MANY


def walk(
    rows: Collection[_Row], wanted: _Row, start: str, after: Sequence[Any] | None, limit: int, fields: Mapping[str, int]
) -> list[_Row] | None:
    """Return up to ``limit`` rows by their smallest token that begins so, then by creation, after these keys; None: it is too far to them.

    Each row carries its own keys in ``_k``.
    """
    found: list[_Row] = []
    key, created = after or (start, None)
    shown = {**fields, "t": 1} if fields else {}
    options: _Row = {"max_time_ms": QUERY_MILLIS, "batch_size": limit + 1}
    if key is not None:
        first = {"t": key, "co": MinKey() if created is None else created}
        last = _farthest(rows, first, end_of(start))
        unmet = {"$and": [wanted, *_unmet(start, key, created)]}
        ends = last or {"t": end_of(start), "co": MinKey()}
        found += rows.find(unmet, shown, hint=INDEX, min=first, max=ends, limit=limit, **options)
        if last is not None and len(found) < limit:
            return None
        created = None
    if len(found) < limit:
        without = {"$and": [wanted, _none_of(start, end_of(start)), *([{"co": {"$gt": created}}] if created else [])]}
        found += rows.find(without, shown, sort=[("co", 1)], limit=limit - len(found), **options)
    for row in found:
        row["_k"] = [min((token for token in row["t"] if token.startswith(start)), default=None), row["co"]]
        if fields:
            del row["t"]
    return found


def _farthest(rows: Collection[_Row], first: _Place, end: str) -> _Place | None:
    """Return the place to which the index may be walked from the first one; None: to the end."""
    place = rows.find(
        {}, hint=INDEX, min=first, max={"t": end, "co": MinKey()}, return_key=True, skip=FARTHEST, limit=1
    )
    return next(iter(place.max_time_ms(QUERY_MILLIS)), None)


def _unmet(start: str, key: str, created: str | None) -> Sequence[_Row]:
    """Return what holds of rows that no earlier page has met, though one of their later tokens comes after it."""
    if created is None:
        return ()
    return _none_of(start, key), {"$or": [{"co": {"$gt": created}}, {"t": {"$ne": key}}]}


def _none_of(low: str, high: str) -> _Row:
    return {"$nor": [{"t": {"$elemMatch": {"$gte": low, "$lt": high}}}]}

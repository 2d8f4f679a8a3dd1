"""Rows in the order of a token, read from the index of tokens: a page of many costs as much as a page.

A row stands in that index once for each of its tokens, so it is met first at the smallest of those that begin alike, which is the
one that it is sorted by. The database gives no order by an index of lists itself; it is told where to begin and where to end
(``min``, ``max``), and what was met on an earlier page is left out. Rows without such a token come last, as they do where keys are computed.

That index is read upwards alone, and by one token. For an order downwards, or by more behind the token, it tells between which tokens the page
lies (``windows``): what lies there is fetched and sorted, and not all that match. So it does by the main date and more behind that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from pymongo.collection import Collection

from fhir_dmp.store.port import Order
from fhir_dmp.store.query import end_of
from fhir_dmp.stores.mongo.connect import QUERY_MILLIS

MANY = 1000
"""Rows from which on it may be shorter to walk past others than to fetch all and sort them."""

FARTHEST = 2000
"""Rows that are walked past for a page: whoever wants few among more has them sorted."""

LEAPS = 50
"""How often so many rows are walked past to find the end of an order downwards: to see more than these costs as much as to sort them."""

ROOM = 2
"""Pages that a window has room for: not all that lies between its tokens is wanted, and some rows are met twice."""

STEPS = 8
"""How often less is walked past, from the last of those places on: each question costs as much as some rows more of a window."""

_EARLIEST, _LATEST = Int64(-(2**63)), Int64(2**63 - 1)
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


def leads_to_places(order: Sequence[Order]) -> bool:
    """Tell whether an index knows where the rows of a page lie: it goes by a token, or by the main date, before anything else."""
    return order[0].field.startswith("t:") or order[0].field == "ds"


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


def windows(
    rows: Collection[_Row], wanted: _Row, order: Sequence[Order], after: Sequence[Any] | None, limit: int
) -> Iterator[_Row]:
    """Yield filters, the narrower first, for the rows among which a page of an order is that leads to places.

    What else is wanted lies behind all rows of a window, or before the page: who finds ``limit`` rows in one has the page. Who does
    not, in any, has to look at all.
    """
    start = order[0].field.removeprefix("t:")
    key = after[0] if after else None
    if order[0].field == "ds":
        yield from _by_date(rows, wanted, order[0], after, limit)
    elif after and key is None:
        yield _none_of(start, end_of(start))
    elif order[0].descending:
        yield from _downwards(rows, start, key, limit)
    else:
        yield from _upwards(rows, wanted, start, key, limit)


def _upwards(rows: Collection[_Row], wanted: _Row, start: str, key: str | None, limit: int) -> Iterator[_Row]:
    """Yield the filter for rows from the key on to the one whose first token comes ``limit`` rows behind all that have it."""
    first: _Place = {"t": start, "co": MinKey()} if key is None else {"t": key, "co": MaxKey()}
    last = _farthest(rows, first, end_of(start))
    before = [] if key is None else [_none_of(start, key), {"t": {"$ne": key}}]
    place = rows.find(
        {"$and": [wanted, *before]},
        {"t": 1},
        hint=INDEX,
        min=first,
        max=last or {"t": end_of(start), "co": MinKey()},
        skip=limit - 1,
        limit=1,
    )
    for row in place.max_time_ms(QUERY_MILLIS):
        high = min(token for token in row["t"] if token.startswith(start))
        yield _some_of({"$gte": key or start, "$lte": high})


def _downwards(rows: Collection[_Row], start: str, key: str | None, limit: int) -> Iterator[_Row]:
    """Yield filters for rows from the key on downwards, first to a token that a few pages lie above of, then to one far below that."""
    end = {"t": end_of(start) if key is None else key, "co": MinKey()}
    far = _places(rows, {"t": start, "co": MinKey()}, end, FARTHEST, LEAPS)
    if far is None:
        return
    near = _places(rows, far[-1], end, max(ROOM * limit, FARTHEST // STEPS), STEPS) or far
    until = {"$lt": end_of(start)} if key is None else {"$lte": key}
    for low in dict.fromkeys(places[-2:][0]["t"] for places in (near, far)):
        yield _some_of({"$gte": low, **until})


def _by_date(
    rows: Collection[_Row], wanted: _Row, order: Order, after: Sequence[Any] | None, limit: int
) -> Iterator[_Row]:
    """Yield the filter for rows from the date of the keys on to that which comes ``limit`` rows behind all that have it."""
    if after and after[0] is None:
        yield {"ds": None}
        return
    since, to = ("$lte", "$gte") if order.descending else ("$gte", "$lte")
    first = _LATEST if order.descending else _EARLIEST
    beyond = {since.removesuffix("e"): after[0]} if after else {since: first}
    sort = [("ds", -1 if order.descending else 1)]
    place = rows.find({"$and": [wanted, {"ds": beyond}]}, {"ds": 1}, sort=sort, skip=limit - 1, limit=1)
    for row in place.max_time_ms(QUERY_MILLIS):
        yield {"ds": {since: after[0] if after else first, to: row["ds"]}}


def _places(rows: Collection[_Row], first: _Place, end: _Place, step: int, most: int) -> list[_Place] | None:
    """Return the first place and each that lies so many steps behind the one before; None if there are more of them."""
    found = [first]
    while (after := _farther(rows, found[-1], end, step)) is not None:
        if len(found) > most:
            return None
        found.append(after)
    return found


def _farthest(rows: Collection[_Row], first: _Place, end: str) -> _Place | None:
    """Return the place to which the index may be walked from the first one; None: to the end."""
    return _farther(rows, first, {"t": end, "co": MinKey()}, FARTHEST)


def _farther(rows: Collection[_Row], first: _Place, end: _Place, steps: int) -> _Place | None:
    """Return the place in the index that is so many steps behind the first one, if that is before the end."""
    place = rows.find({}, hint=INDEX, min=first, max=end, return_key=True, skip=steps, limit=1)
    return next(iter(place.max_time_ms(QUERY_MILLIS)), None)


def _unmet(start: str, key: str, created: str | None) -> Sequence[_Row]:
    """Return what holds of rows that no earlier page has met, though one of their later tokens comes after it."""
    if created is None:
        return ()
    return _none_of(start, key), {"$or": [{"co": {"$gt": created}}, {"t": {"$ne": key}}]}


def _none_of(low: str, high: str) -> _Row:
    return {"$nor": [_some_of({"$gte": low, "$lt": high})]}


def _some_of(bounds: _Row) -> _Row:
    return {"t": {"$elemMatch": bounds}}

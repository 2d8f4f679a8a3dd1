"""Paging by keys: the next page begins after the last row's keys, however deep it is.

Sorts on fields of the row use its indexes. A sort on tokens or ranges computes each row's key first: the smallest (ascending)
or largest (descending) of its values, the long intervals of a date (``key~``) among them. A row without a value comes last in either direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bson.int64 import Int64

from fhir_dmp.store.port import Order

UNIQUE = frozenset({"co", "lu", "_id"})
"""Fields that no two rows share; an index gives the order by each of them, as it is."""

Stage = dict[str, Any]


def plain_sort(order: Sequence[Order]) -> bool:
    """Tell whether an index can give this order as it is."""
    return all(each.field in UNIQUE or (each.field == "ds" and each.descending) for each in order)


RISING = (Order("ds"), Order("co", descending=True))
"""By main date upwards: an index of the opposite order gives it backwards, but for rows without one, which it has on the wrong side."""

_EARLIEST = Int64(-(2**63))


def dated(after: Sequence[Any] | None) -> Stage:
    """Return the filter for rows that have a main date, from that of the keys on."""
    return {"ds": {"$gte": after[0] if after else _EARLIEST}}


def undated(after: Sequence[Any] | None) -> Stage:
    """Return the filter for rows that have no main date, after the keys of another one of them if they tell none either."""
    return {"ds": None, **({"co": {"$lt": after[1]}} if after and after[0] is None else {})}


def after_filter(order: Sequence[Order], after: Sequence[Any]) -> Stage:
    """Return the filter for rows that come after the keys, in a plain order."""
    steps = []
    for place, each in enumerate(order):
        same = {order[before].field: after[before] for before in range(place)}
        beyond = _beyond(each, after[place])
        if beyond is not None:
            steps.append({**same, each.field: beyond})
    return {"$or": steps}


def _beyond(order: Order, value: Any) -> Any:
    """Return the condition for later values; nothing comes after a missing one, which is last."""
    if value is None:
        return None
    if order.descending:
        return {"$not": {"$gte": value}} if order.field == "ds" else {"$lt": value}
    return {"$gt": value}


def sort_stages(order: Sequence[Order], after: Sequence[Any] | None) -> list[Stage]:
    """Return the stages that compute, filter and sort by the keys, which each row then carries in ``_k``."""
    keys = {f"k{place}": _key(each) for place, each in enumerate(order)}
    stages: list[Stage] = [{"$set": keys}]
    stages.append({"$set": {f"m{place}": {"$lte": [f"$k{place}", None]} for place in range(len(order))}})
    if after is not None:
        stages.append({"$match": {"$or": _after(order, after)}})
    sort: Stage = {}
    for place, each in enumerate(order):
        sort[f"m{place}"] = 1
        sort[f"k{place}"] = -1 if each.descending else 1
    stages.append({"$sort": sort})
    stages.append({"$set": {"_k": [{"$ifNull": [f"$k{place}", None]} for place in range(len(order))]}})
    stages.append({"$unset": [name for place in range(len(order)) for name in (f"k{place}", f"m{place}")]})
    return stages


def _after(order: Sequence[Order], after: Sequence[Any]) -> list[Stage]:
    steps: list[Stage] = []
    same: Stage = {}
    for place, each in enumerate(order):
        value = after[place]
        if value is not None:
            beyond = {"$lt": value} if each.descending else {"$gt": value}
            steps.append({**same, f"m{place}": False, f"k{place}": beyond})
            steps.append({**same, f"m{place}": True})
            same = {**same, f"m{place}": False, f"k{place}": value}
        else:
            same = {**same, f"m{place}": True}
    return steps


def _key(order: Order) -> Any:
    kind, _, prefix = order.field.partition(":")
    pick = "$max" if order.descending else "$min"
    if kind == "t" and prefix:
        begins = {"$eq": [{"$indexOfBytes": ["$$x", prefix]}, 0]}
        return {pick: {"$filter": {"input": {"$ifNull": ["$t", []]}, "as": "x", "cond": begins}}}
    if kind == "r" and prefix:
        own = {
            "$filter": {
                "input": {"$ifNull": ["$r", []]},
                "as": "x",
                "cond": {"$in": ["$$x.k", [prefix, prefix + "~"]]},
            }
        }
        end = "$$y.hi" if order.descending else "$$y.lo"
        return {pick: {"$map": {"input": own, "as": "y", "in": end}}}
    return f"${order.field}"

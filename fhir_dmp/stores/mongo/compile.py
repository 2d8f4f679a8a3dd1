"""From the query algebra to a MongoDB filter: what ``store.query.matches`` means, said to the database."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from bson.decimal128 import Decimal128

from fhir_dmp.store.query import And, Between, Eq, In, Like, Not, Or, Query, Range

Filter = dict[str, Any]

_LISTS = frozenset({"t", "r", "pt", "w", "au", "sec"})
_NEVER: Filter = {"_id": {"$in": []}}


def compile_query(query: Query) -> Filter:  # noqa: PLR0911 - one line for each word of the algebra
    """Return the filter for the query; an empty ``Or`` or ``In`` finds nothing."""
    match query:
        case Eq(field, value):
            return {field: to_value(value)}
        case In(field, values):
            return {field: {"$in": [to_value(value) for value in values]}}
        case Between(field, low, high):
            bounds = _bounds(low, high) or {"$exists": True}
            return {field: {"$elemMatch": bounds} if field in _LISTS else bounds}
        case Like(field, prefix, part):
            return {field: {"$regex": f"^{re.escape(prefix)}.*{re.escape(part)}", "$options": "s"}}
        case Range(key, low, high):
            item: Filter = {"k": key}
            item.update({name: bounds for name, ends in (("lo", low), ("hi", high)) if (bounds := _bounds(*ends))})
            return {"r": {"$elemMatch": item}}
        case And(parts):
            return _and([compile_query(part) for part in parts])
        case Or(parts):
            return {"$or": [compile_query(part) for part in parts]} if parts else _NEVER
        case Not(part):
            return {"$nor": [compile_query(part)]}


def _and(filters: list[Filter]) -> Filter:
    """Return one filter; parts on different fields are laid side by side, which the planner reads best."""
    merged: Filter = {}
    rest: list[Filter] = []
    for each in filters:
        if any(name in merged for name in each):
            rest.append(each)
        else:
            merged.update(each)
    return {**merged, "$and": rest} if rest else merged


def _bounds(low: Any, high: Any) -> Filter:
    bounds: Filter = {}
    if low is not None:
        bounds["$gte"] = to_value(low)
    if high is not None:
        bounds["$lt"] = to_value(high)
    return bounds


def to_value(value: Any) -> Any:
    """Return the value as BSON can hold it."""
    return Decimal128(value) if isinstance(value, Decimal) else value


def to_row(index: Mapping[str, Any]) -> dict[str, Any]:
    """Return the index part as BSON can hold it: decimals keep their digits."""
    if not index.get("r"):
        return dict(index)
    return {**index, "r": [{name: to_value(value) for name, value in item.items()} for item in index["r"]]}


def from_row(row: dict[str, Any]) -> dict[str, Any]:
    """Return the index part as ``to_row`` was given it."""
    for item in row.get("r") or ():
        for name in ("lo", "hi"):
            if isinstance(item[name], Decimal128):
                item[name] = item[name].to_decimal()
    return row

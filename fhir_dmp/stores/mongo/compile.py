"""From the query algebra to a MongoDB filter: what ``store.query.matches`` means, said to the database."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from struct import Struct
from typing import Any

from bson.decimal128 import Decimal128

from fhir_dmp.store.query import EARTH, Among, And, Between, Eq, In, Lasts, Like, Near, Not, Or, Query, Range

Filter = dict[str, Any]

_LISTS = frozenset({"t", "r", "pt", "w", "au", "sec"})
_NEVER: Filter = {"_id": {"$in": []}}
_MOST_DIGITS, _LEAST, _GREATEST = 34, -6176, 6111
"""What a decimal of 128 bits holds: digits, and the exponents of the last of them."""

_LOW_BITS = (1 << 64) - 1
_BITS = Struct("<QQ")


def compile_query(query: Query) -> Filter:  # noqa: C901, PLR0911 - one line for each word of the algebra
    """Return the filter for the query; an empty ``Or`` or ``In`` finds nothing."""
    match query:
        case Eq(field, value):
            return {field: to_value(value)}
        case In(field, values):
            return {field: {"$in": [to_value(value) for value in values]}}
        case Among(field, values):
            among = [to_value(value) for value in values]
            return {field: {"$in": among, "$not": {"$elemMatch": {"$nin": among}}}}
        case Between(field, low, high):
            bounds = _bounds(low, high) or {"$exists": True}
            return {field: {"$elemMatch": bounds} if field in _LISTS else bounds}
        case Like(field):
            return {field: {"$regex": pattern_of(query), "$options": "s"}}
        case Range(key, low, high):
            item: Filter = {"k": key}
            item.update({name: bounds for name, ends in (("lo", low), ("hi", high)) if (bounds := _bounds(*ends))})
            return {"r": {"$elemMatch": item}}
        case Lasts(after):
            goes_on: Filter = {"$and": [{"$eq": ["$$x.lo", "$ds"]}, {"$gt": ["$$x.hi", after]}]}
            spans: Filter = {"$map": {"input": {"$ifNull": ["$r", []]}, "as": "x", "in": goes_on}}
            return {"$expr": {"$anyElementTrue": [spans]}}
        case Near():
            return _near(query)
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
    return {**merged, "$and": [*merged.get("$and", ()), *rest]} if rest else merged


def pattern_of(like: Like) -> str:
    """Return the regular expression of the texts meant, for the option ``s``."""
    end = r"\z" if like.last else ""
    return f"^{re.escape(like.prefix)}.*{re.escape(like.part)}{end}"


def _near(near: Near) -> Filter:
    """Return the haversine formula of ``store.matching.metres_between``, said to the database."""
    south = math.radians(near.latitude)
    north = {"$degreesToRadians": {"$toDouble": "$$x.lo"}}
    east = {"$degreesToRadians": {"$subtract": [{"$toDouble": "$$x.hi"}, near.longitude]}}
    chord = {
        "$add": [
            {"$pow": [{"$sin": {"$divide": [{"$subtract": [north, south]}, 2]}}, 2]},
            {"$multiply": [math.cos(south), {"$cos": north}, {"$pow": [{"$sin": {"$divide": [east, 2]}}, 2]}]},
        ]
    }
    metres = {"$multiply": [2 * EARTH, {"$asin": {"$min": [1, {"$sqrt": chord}]}}]}
    places = {"$filter": {"input": {"$ifNull": ["$r", []]}, "as": "x", "cond": {"$eq": ["$$x.k", near.key]}}}
    within = {"$map": {"input": places, "as": "x", "in": {"$lte": [metres, near.metres]}}}
    return {"$expr": {"$anyElementTrue": [within]}}


def _bounds(low: Any, high: Any) -> Filter:
    bounds: Filter = {}
    if low is not None:
        bounds["$gte"] = to_value(low)
    if high is not None:
        bounds["$lt"] = to_value(high)
    return bounds


def to_value(value: Any) -> Any:
    """Return the value as BSON can hold it."""
    return decimal128(value) if isinstance(value, Decimal) else value


def decimal128(value: Decimal) -> Decimal128:
    """Return the decimal as BSON's, with all its digits; the driver's own way takes six times as long.

    The bits are those of IEEE 754-2008 in its binary encoding: sign, biased exponent, coefficient.
    https://en.wikipedia.org/wiki/Decimal128_floating-point_format.
    """
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int) or len(digits) > _MOST_DIGITS or not _LEAST <= exponent <= _GREATEST:
        return Decimal128(value)
    coefficient = int(Decimal((0, digits, 0)))
    high = sign << 63 | exponent - _LEAST << 49 | coefficient >> 64
    return Decimal128.from_bid(_BITS.pack(coefficient & _LOW_BITS, high))


def to_row(index: Mapping[str, Any]) -> dict[str, Any]:
    """Return the index part as BSON can hold it: decimals keep their digits."""
    if not index.get("r"):
        return dict(index)
    made: dict[int, Any] = {}  # one number is most often kept under several keys
    return {**index, "r": [_range(item, made) for item in index["r"]]}


def _range(item: Mapping[str, Any], made: dict[int, Any]) -> dict[str, Any]:
    low, high = item["lo"], item["hi"]
    first = made.get(id(low))
    if first is None:
        first = made[id(low)] = to_value(low)
    return {"k": item["k"], "lo": first, "hi": first if high is low else to_value(high)}


def from_row(row: dict[str, Any]) -> dict[str, Any]:
    """Return the index part as ``to_row`` was given it."""
    for item in row.get("r") or ():
        for name in ("lo", "hi"):
            if isinstance(item[name], Decimal128):
                item[name] = _decimal(item[name].bid)
    return row


@lru_cache(maxsize=4096)
def _decimal(bits: bytes) -> Decimal:
    """Return the decimal that is kept as these bits; one number stands under several keys of a row, at both ends."""
    return Decimal128.from_bid(bits).to_decimal()

"""What a query of the algebra (``store.query``) means over a row: rules ask it of single rows, and contract tests of what the database finds."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fhir_dmp.store.query import (
    EARTH,
    EVERYTHING,
    NOTHING,
    Among,
    And,
    Between,
    Eq,
    In,
    Lasts,
    Like,
    Near,
    Not,
    Or,
    Query,
    Range,
    Row,
    Scalar,
    both,
    either,
)

_SEVERAL = (list, tuple)


def matches(query: Query, row: Row) -> bool:
    """Tell whether the row meets the query."""
    return _MEANING[type(query)](query, row)


def _eq(query: Eq, row: Row) -> bool:
    return query.value in _items(row, query.field)


def _in(query: In, row: Row) -> bool:
    values = query.values
    return any([item in values for item in _items(row, query.field)])  # noqa: C419 - a generator costs as much as what it asks


def _among(query: Among, row: Row) -> bool:
    items, values = _items(row, query.field), query.values
    return bool(items) and all([item in values for item in items])  # noqa: C419 - as above


def _between(query: Between, row: Row) -> bool:
    return any([_within(item, query.low, query.high) for item in _items(row, query.field)])  # noqa: C419 - as above


def _like(query: Like, row: Row) -> bool:
    end = r"\Z" if query.last else ""
    pattern = re.compile(re.escape(query.prefix) + ".*" + re.escape(query.part) + end, re.DOTALL)
    return any(pattern.match(item) for item in _items(row, query.field))


def _range(query: Range, row: Row) -> bool:
    return any(
        item["k"] == query.key and _within(item["lo"], *query.low) and _within(item["hi"], *query.high)
        for item in row.get("r") or ()
    )


def _lasts(query: Lasts, row: Row) -> bool:
    return any(item["lo"] == row.get("ds") and item["hi"] > query.after for item in row.get("r") or ())


def _near(query: Near, row: Row) -> bool:
    places = (item for item in row.get("r") or () if item["k"] == query.key)
    return any(metres_between(query, item) <= query.metres for item in places)


def _and(query: And, row: Row) -> bool:
    for part in query.parts:  # noqa: SIM110 - as above
        if not _MEANING[type(part)](part, row):
            return False
    return True


def _or(query: Or, row: Row) -> bool:
    for part in query.parts:  # noqa: SIM110 - as above
        if _MEANING[type(part)](part, row):
            return True
    return False


def _not(query: Not, row: Row) -> bool:
    return not _MEANING[type(query.part)](query.part, row)


_MEANING: Mapping[type[Query], Callable[[Any, Row], bool]] = {
    And: _and,
    Or: _or,
    Not: _not,
    Eq: _eq,
    In: _in,
    Among: _among,
    Between: _between,
    Like: _like,
    Range: _range,
    Lasts: _lasts,
    Near: _near,
}
"""What each word of the algebra means over a row."""


def assuming(query: Query, field: str, value: Scalar) -> Query:
    """Return what is left to ask where the field of every row has this value."""
    match query:
        case And(parts):
            return both(*(assuming(part, field, value) for part in parts))
        case Or(parts):
            return either([assuming(part, field, value) for part in parts])
        case Not(part):
            left = assuming(part, field, value)
            return EVERYTHING if left == NOTHING else NOTHING if left == EVERYTHING else Not(left)
        case Eq(of) | In(of) | Among(of) | Between(of) | Like(of) if of == field:
            return EVERYTHING if matches(query, {field: value}) else NOTHING
        case _:
            return query


def metres_between(near: Near, item: Mapping[str, Any]) -> float:
    """Return how far the place of an item of ``r`` is from the point, by the haversine formula."""
    south, north = math.radians(near.latitude), math.radians(float(item["lo"]))
    across = math.sin(math.radians(float(item["hi"]) - near.longitude) / 2) ** 2
    chord = math.sin((north - south) / 2) ** 2 + math.cos(south) * math.cos(north) * across
    return 2 * EARTH * math.asin(min(1.0, math.sqrt(chord)))


def _items(row: Row, field: str) -> Sequence[Any]:
    value = row.get(field)
    if value is None:
        return ()
    return value if isinstance(value, _SEVERAL) else (value,)


def _within(item: Any, low: Any, high: Any) -> bool:
    return (low is None or item >= low) and (high is None or item < high)

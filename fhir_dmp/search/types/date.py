"""Date: intervals against intervals, by precision and prefix. https://hl7.org/fhir/R4/search.html#date.

Values up to a day long are kept under ``Type.param``, longer and open ones under ``Type.param~``: where a short one ends
then bounds where it begins, so that every question reads one narrow stretch of the index and few long values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from fhir_dmp.errors import Invalid
from fhir_dmp.fhir.dates import LAST, Interval, interval, of_value
from fhir_dmp.search.types.values import prefixed, unsupported
from fhir_dmp.store.query import Query, Range, either

DAY = 86_400_000_000
LONG = "~"


def entries(name: str, value: Any, datatype: str) -> list[dict[str, Any]]:
    """Return the ranges of a value for the parameter ``name`` (``Type.param``)."""
    return [
        {"k": name if high - low <= DAY else name + LONG, "lo": low, "hi": high}
        for low, high in of_value(value, datatype)
    ]


def compile_values(name: str, values: tuple[str, ...], modifier: str | None, now: datetime) -> Query:
    """Return the query for any of the values."""
    if modifier is not None:
        raise unsupported(modifier, name)
    return either([_one(name, value, now) for value in values])


def asked(value: str, name: str, now: datetime) -> tuple[str, int, int]:
    """Return the prefix and the span that a value asks for; ``ap`` widens it. Raises ``Invalid`` for what is no date."""
    prefix, text = prefixed(value)
    try:
        low, high = interval(text.replace(" ", "+"))
    except ValueError as fault:
        raise Invalid(f"{fault}.", expression=name) from None
    if prefix == "ap":
        low, high = _widened((low, high), now)
    return prefix, low, high


def _one(name: str, value: str, now: datetime) -> Query:
    prefix, low, high = asked(value, name, now)
    return _PREFIXES[prefix](name, low, high)


def _widened(span: Interval, now: datetime) -> Interval:
    """Return the span with a tenth of its distance from now on either side."""
    micros = int(now.timestamp() * 1_000_000)
    tenth = abs(micros - span[0]) // 10
    return span[0] - tenth, span[1] + tenth


def _both(name: str, low: Interval | tuple[int | None, int | None], high: tuple[int | None, int | None]) -> Query:
    return either([Range(name, low, high), Range(name + LONG, low, high)])


def _eq(name: str, start: int, end: int) -> Query:
    return _both(name, (start, end), (None, end + 1))


def _ne(name: str, start: int, end: int) -> Query:
    return either([_both(name, (None, start), (None, None)), _gt(name, start, end)])


def _gt(name: str, start: int, end: int) -> Query:
    del start
    return either([Range(name, (end - DAY, None), (end + 1, None)), Range(name + LONG, (None, None), (end + 1, None))])


def _lt(name: str, start: int, end: int) -> Query:
    del end
    return _both(name, (None, start), (None, None))


def _ge(name: str, start: int, end: int) -> Query:
    return either([_gt(name, start, end), _both(name, (start, None), (None, None))])


def _le(name: str, start: int, end: int) -> Query:
    return either([_lt(name, start, end), _both(name, (None, end), (None, end + 1))])


def _sa(name: str, start: int, end: int) -> Query:
    del start
    return _both(name, (end, None), (None, None))


def _eb(name: str, start: int, end: int) -> Query:
    del end
    return _both(name, (None, start), (None, start + 1))


def _ap(name: str, start: int, end: int) -> Query:
    short = Range(name, (start - DAY, end), (start + 1, None))
    return either([short, Range(name + LONG, (None, end), (start + 1, LAST + 1))])


_PREFIXES: Mapping[str, Callable[[str, int, int], Query]] = {
    "eq": _eq,
    "ne": _ne,
    "gt": _gt,
    "lt": _lt,
    "ge": _ge,
    "le": _le,
    "sa": _sa,
    "eb": _eb,
    "ap": _ap,
}

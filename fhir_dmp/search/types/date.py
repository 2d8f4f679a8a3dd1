"""Date: intervals against intervals, by precision and prefix. https://hl7.org/fhir/R4/search.html#date.

Values up to a day long are kept under ``Type.param``, longer and open ones under ``Type.param~``: where a short one ends
then bounds where it begins, so that every question reads one narrow stretch of the index and few long values. No single sortable
string could bound both ends; therefore dates, numbers and quantities are ranges of their own (``r``) and not tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from fhir_dmp.clock import DAY, micros_of
from fhir_dmp.definitions.model import Path
from fhir_dmp.errors import Invalid
from fhir_dmp.fhir.dates import LAST, Interval, interval, of_value
from fhir_dmp.search.types.values import prefixed, unescape, unsupported
from fhir_dmp.store.query import Query, Range, either

LONG = "~"
RANGES = ("date", "number", "quantity")
"""Types of parameters whose values are ranges."""

_Bounds = tuple[int | None, int | None]
_ANY: _Bounds = (None, None)


def indexer(name: str, path: Path) -> Callable[[Any], list[dict[str, Any]]]:
    """Return the function from a value to its ranges for the parameter ``name`` (``Type.param``)."""
    datatype, long = path.type, name + LONG

    def ranges(value: Any) -> list[dict[str, Any]]:
        spans = of_value(value, datatype)
        return [{"k": name if high - low <= DAY else long, "lo": low, "hi": high} for low, high in spans]

    return ranges


def compile_values(name: str, values: Sequence[str], modifier: str | None, now: datetime) -> Query:
    """Return the query for any of the values."""
    if modifier is not None:
        raise unsupported(modifier, name)
    return either([_one(name, value, now) for value in values])


def asked(value: str, name: str, now: datetime) -> tuple[str, int, int]:
    """Return the prefix and the span that a value asks for; ``ap`` widens it. Raises ``Invalid`` for what is no date."""
    prefix, text = prefixed(unescape(value))
    try:
        low, high = interval(text.replace(" ", "+"))
    except ValueError as fault:
        raise Invalid(f"{fault}.", expression=name) from None
    if prefix == "ap":
        low, high = _widened((low, high), now)
    return prefix, low, high


def overlapping(name: str, value: str, now: datetime) -> Query:
    """Return the query for what has some time in common with the value (``po`` of ``_filter``)."""
    _, low, high = asked(value, name, now)
    return touching(name, low, high)


def touching(name: str, start: int, end: int) -> Query:
    """Return the query for what has some time in common with the span."""
    short = Range(name, (start - DAY, end), (start + 1, None))
    return either([short, Range(name + LONG, (None, end), (start + 1, LAST + 1))])


def over_by(name: str, moment: int) -> Query:
    """Return the query for what has ended by the moment."""
    return _both(name, (None, moment), (None, moment + 1))


def _one(name: str, value: str, now: datetime) -> Query:
    prefix, low, high = asked(value, name, now)
    return _PREFIXES[prefix](name, low, high)


def _widened(span: Interval, now: datetime) -> Interval:
    """Return the span with a tenth of its distance from now on either side."""
    micros = micros_of(now)
    tenth = abs(micros - span[0]) // 10
    return span[0] - tenth, span[1] + tenth


def _both(name: str, low: _Bounds, high: _Bounds) -> Query:
    return either([Range(name, low, high), Range(name + LONG, low, high)])


def _within(name: str, start: int, end: int) -> Query:
    """Return what lies within the span; a span of a day holds no long value."""
    inside = Range(name, (start, end), (start, end + 1))
    return inside if end - start <= DAY else either([inside, Range(name + LONG, (start, end), (start, end + 1))])


def _ne(name: str, start: int, end: int) -> Query:
    return either([_lt(name, start, end), _gt(name, start, end)])


def _gt(name: str, start: int, end: int) -> Query:
    del start
    return either([Range(name, (end - DAY, None), (end + 1, None)), Range(name + LONG, _ANY, (end + 1, None))])


def _lt(name: str, start: int, end: int) -> Query:
    del end
    return _both(name, (None, start), _ANY)


def _ge(name: str, start: int, end: int) -> Query:
    """Return what reaches beyond the span or lies within it; what ends in it and began before is neither greater nor equal."""
    return either([_gt(name, start, end), _within(name, start, end)])


def _le(name: str, start: int, end: int) -> Query:
    return either([_lt(name, start, end), _within(name, start, end)])


def _sa(name: str, start: int, end: int) -> Query:
    del start
    return _both(name, (end, None), _ANY)


def _eb(name: str, start: int, end: int) -> Query:
    del end
    return over_by(name, start)


_PREFIXES: Mapping[str, Callable[[str, int, int], Query]] = {
    "eq": _within,
    "ne": _ne,
    "gt": _gt,
    "lt": _lt,
    "ge": _ge,
    "le": _le,
    "sa": _sa,
    "eb": _eb,
    "ap": touching,
}

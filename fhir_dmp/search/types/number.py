"""Number: equal within the precision that was written, or beyond it. https://hl7.org/fhir/R4/search.html#number.

A value is a point, a Range or a pair of bounds, as exact as it was written; the question is a half-open span of half a unit of its last
digit. The standard's own example makes ``1e2`` the span from 95 to 105: where the last digit stands above the units, the span is a
tenth of that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import Any

from fhir_dmp.definitions.model import Path
from fhir_dmp.definitions.units import Unit
from fhir_dmp.errors import Invalid
from fhir_dmp.fhir.codec import LONGEST_NUMBER, Number
from fhir_dmp.search.types.values import prefixed, unescape, unsupported
from fhir_dmp.store.query import Query, Range, either

DIGITS = 34
"""What a database's decimal holds."""

LOWEST, HIGHEST = Decimal("-9E+6000"), Decimal("9E+6000")
"""Ends of a span that is open there; what lies beyond is kept at the end."""

Span = tuple[Decimal, Decimal]
_CONTEXT = Context(prec=DIGITS, rounding=ROUND_HALF_EVEN, Emin=-6143, Emax=6144, traps=[])
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,6})?", re.ASCII)


def indexer(name: str, path: Path) -> Callable[[Any], list[dict[str, Any]]]:
    """Return the function from a number or Range to its ranges for the parameter ``name`` (``Type.param``)."""
    datatype = path.type
    return lambda value: [{"k": name, "lo": low, "hi": high} for low, high in spans(value, datatype)]


def spans(value: Any, datatype: str) -> list[Span]:
    """Return the values of a number or Range as closed spans."""
    if datatype == "Range":
        low, high = ((value.get(end) or {}).get("value") for end in ("low", "high"))
        return span(low, high)
    return span(value, value)


def span(low: Any, high: Any) -> list[Span]:
    """Return the closed span between two JSON numbers; a missing one is open."""
    first = bounded(low)
    last = first if high is low else bounded(high)
    if first is None and last is None:
        return []
    return [(LOWEST if first is None else first, HIGHEST if last is None else last)]


def text(value: Any) -> str:
    """Return a JSON number as it was written; nothing for what is no number."""
    if isinstance(value, Number):
        return value.text
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def bounded(value: Any) -> Decimal | None:
    """Return the number as the database can hold it, or None for what is no number."""
    if isinstance(value, Number):
        found = _CONTEXT.create_decimal(value.text)
    elif isinstance(value, int) and not isinstance(value, bool):
        found = Decimal(value)
    else:
        return None
    return None if found.is_nan() else min(max(found, LOWEST), HIGHEST)


def converted(value: Decimal, unit: Unit | None) -> Decimal:
    """Return the value in the canonical form of its unit; the ends of an open span stay where they are."""
    if unit is None or value in (LOWEST, HIGHEST):
        return value
    exact = Fraction(value) * unit.factor + unit.offset
    found = _CONTEXT.divide(Decimal(exact.numerator), Decimal(exact.denominator))
    return min(max(found, LOWEST), HIGHEST)


def compile_values(name: str, values: Sequence[str], modifier: str | None) -> Query:
    """Return the query for any of the values."""
    if modifier is not None:
        raise unsupported(modifier, name)
    return either([compile_number(name, unescape(value)) for value in values])


def compile_number(name: str, text: str, unit: Unit | None = None) -> Query:
    """Return the query for one prefixed number on the ranges under ``name``, which are kept in the canonical form of ``unit``."""
    prefix, digits = prefixed(text)
    written = _number(digits, name)
    low, high = (converted(end, unit) for end in _within(written))
    asked = converted(written, unit)
    above = _CONTEXT.next_plus(asked)
    if prefix == "ap":
        tenth = _CONTEXT.divide(abs(written), Decimal(10))
        low = converted(_CONTEXT.subtract(written, tenth), unit)
        high = converted(_CONTEXT.add(written, tenth), unit)
        return Range(name, (None, _CONTEXT.next_plus(high)), (low, None))
    spans: dict[str, Query] = {
        "eq": Range(name, (low, high), (low, high)),
        "ne": either([Range(name, (None, low)), Range(name, high=(high, None))]),
        "gt": Range(name, high=(above, None)),
        "lt": Range(name, (None, asked)),
        "ge": Range(name, high=(asked, None)),
        "le": Range(name, (None, above)),
        "sa": Range(name, (above, None)),
        "eb": Range(name, high=(None, asked)),
    }
    return spans[prefix]


def _number(digits: str, name: str) -> Decimal:
    if len(digits) > LONGEST_NUMBER or _NUMBER.fullmatch(digits.strip()) is None:
        raise Invalid(f"{digits[:40]!r} is no number.", expression=name)
    asked = _CONTEXT.create_decimal(digits.strip())
    if not LOWEST < asked < HIGHEST:
        raise Invalid(f"{digits[:40]!r} is beyond any number that is kept.", expression=name)
    return asked


def _within(asked: Decimal) -> Span:
    """Return the half-open span of what equals the number to the precision that it is written with."""
    place = int(asked.as_tuple().exponent)
    half = _CONTEXT.scaleb(Decimal(5), place - 1 if place <= 0 else place - 2)
    return _CONTEXT.subtract(asked, half), _CONTEXT.add(asked, half)

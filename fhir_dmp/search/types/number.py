"""Number: equal within the precision that was written, or beyond it. https://hl7.org/fhir/R4/search.html#number.

A value is a point, a Range or a pair of bounds; the question is a half-open span of half a unit of its last digit.
"""

from __future__ import annotations

from decimal import Context, Decimal, InvalidOperation
from typing import Any

from fhir_dmp.errors import Invalid
from fhir_dmp.fhir.codec import decimal
from fhir_dmp.search.types.values import prefixed, unsupported
from fhir_dmp.store.query import Query, Range, either

DIGITS = 34
"""What a database's decimal holds."""

_CONTEXT = Context(prec=DIGITS, Emin=-6143, Emax=6144)
LOWEST, HIGHEST = Decimal("-9E+6144"), Decimal("9E+6144")


def points(value: Any, datatype: str) -> list[tuple[Decimal, Decimal]]:
    """Return the values of a number or Range as closed spans."""
    if datatype == "Range":
        low, high = ((value.get(end) or {}).get("value") for end in ("low", "high"))
        return span(low, high)
    return span(value, value)


def span(low: Any, high: Any) -> list[tuple[Decimal, Decimal]]:
    """Return the closed span between two JSON numbers; a missing one is open."""
    first, last = bounded(low), bounded(high)
    if first is None and last is None:
        return []
    return [(LOWEST if first is None else first, HIGHEST if last is None else last)]


def bounded(value: Any) -> Decimal | None:
    """Return the number as the database can hold it, or None."""
    found = decimal(value)
    return None if found is None else _CONTEXT.create_decimal(found)


def compile_values(name: str, values: tuple[str, ...], modifier: str | None) -> Query:
    """Return the query for any of the values."""
    if modifier is not None:
        raise unsupported(modifier, name)
    return either([compile_number(name, value) for value in values])


def compile_number(name: str, text: str) -> Query:
    """Return the query for one prefixed number on the ranges under ``name``."""
    prefix, digits = prefixed(text)
    try:
        asked = _CONTEXT.create_decimal(digits.strip())
    except InvalidOperation:
        asked = Decimal("NaN")
    if not asked.is_finite():
        raise Invalid(f"{digits[:40]!r} is no number.", expression=name)
    half = Decimal(5).scaleb(int(asked.as_tuple().exponent) - 1, _CONTEXT)
    low, high = _CONTEXT.subtract(asked, half), _CONTEXT.add(asked, half)
    above = _CONTEXT.next_plus(asked)
    if prefix == "ap":
        tenth = abs(asked) / 10
        low, high = _CONTEXT.subtract(asked, tenth), _CONTEXT.add(asked, tenth)
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

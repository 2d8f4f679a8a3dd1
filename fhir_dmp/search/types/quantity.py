"""Quantity: a number, with or without its unit. https://hl7.org/fhir/R4/search.html#quantity.

Kept under ``Type.param`` for any unit, ``Type.param|system|code``, and ``Type.param||code`` for the code or the unit as written.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from fhir_dmp.search.types import number
from fhir_dmp.search.types.values import split, unescape, unsupported
from fhir_dmp.store.query import Query, either

CURRENCY = "urn:iso:std:iso:4217"


def entries(name: str, value: Any, datatype: str) -> list[dict[str, Any]]:
    """Return the ranges of a Quantity (or Age, Duration, Money, Range, SampledData) for ``name`` (``Type.param``)."""
    if not isinstance(value, dict):
        return []
    return [
        {"k": name + unit, "lo": low, "hi": high}
        for low, high, quantity in _spans(value, datatype)
        for unit in dict.fromkeys(_units(quantity, datatype))
    ]


def _spans(value: dict[str, Any], datatype: str) -> Iterator[tuple[Decimal, Decimal, dict[str, Any]]]:
    if datatype == "Range":
        low, high = value.get("low") or {}, value.get("high") or {}
        for first, last in number.span(low.get("value"), high.get("value")):
            yield first, last, low or high
    elif datatype == "SampledData":
        origin = value.get("origin") or {}
        for first, last in number.span(value.get("lowerLimit"), value.get("upperLimit")):
            yield first, last, origin
    else:
        for first, last in number.span(value.get("value"), value.get("value")):
            yield _below(first, value), _above(last, value), value


def _below(point: Decimal, value: dict[str, Any]) -> Decimal:
    return number.LOWEST if value.get("comparator") in ("<", "<=") else point


def _above(point: Decimal, value: dict[str, Any]) -> Decimal:
    return number.HIGHEST if value.get("comparator") in (">", ">=") else point


def _units(quantity: dict[str, Any], datatype: str) -> Iterator[str]:
    yield ""
    system, code, unit = quantity.get("system"), quantity.get("code"), quantity.get("unit")
    if datatype == "Money":
        system, code = CURRENCY, quantity.get("currency")
    if system and code:
        yield f"|{system}|{code}"
    if code:
        yield f"||{code}"
    if unit:
        yield f"||{unit}"


def compile_values(name: str, values: tuple[str, ...], modifier: str | None) -> Query:
    """Return the query for any of the values: ``[prefix]number``, ``number|system|code`` or ``number||code``."""
    if modifier is not None:
        raise unsupported(modifier, name)
    return either([compile_quantity(name, value) for value in values])


def compile_quantity(name: str, value: str) -> Query:
    """Return the query for one quantity."""
    parts = [unescape(part) for part in split(value, "|")]
    unit = "|".join(parts[1:]) if any(parts[1:]) else ""
    return number.compile_number(f"{name}|{unit}" if unit else name, parts[0])

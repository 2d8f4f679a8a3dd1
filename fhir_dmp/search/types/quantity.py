"""Quantity: a number, with or without its unit. https://hl7.org/fhir/R4/search.html#quantity.

Kept under ``Type.param`` for any unit, under ``Type.param|system|code``, and under ``Type.param||unit`` for the unit as people read it and for a
code that is none of UCUM's. Units are compared as they are written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from fhir_dmp.definitions.model import Path
from fhir_dmp.errors import Invalid
from fhir_dmp.search.types import number
from fhir_dmp.search.types.values import bounded, split, unescape, unsupported
from fhir_dmp.store.query import Query, either

UCUM = "http://unitsofmeasure.org"
CURRENCY = "urn:iso:std:iso:4217"
_Spans = Iterator[tuple[Decimal, Decimal, dict[str, Any]]]


def indexer(name: str, path: Path, *, units: bool = True) -> Callable[[Any], list[dict[str, Any]]]:
    """Return the function from a Quantity (or Age, Duration, Money, Range, SampledData) to its ranges for ``name``."""
    datatype = path.type
    of_unit = _no_units if not units else _currency if datatype == "Money" else _units

    def ranges(value: Any) -> list[dict[str, Any]]:
        if not isinstance(value, dict):
            return []
        return [
            {"k": name + unit, "lo": low, "hi": high}
            for low, high, quantity in _spans(value, datatype)
            for unit in of_unit(quantity)
        ]

    return ranges


def _spans(value: dict[str, Any], datatype: str) -> _Spans:
    if datatype == "Range":
        low, high = value.get("low") or {}, value.get("high") or {}
        for first, last in number.span(low.get("value"), high.get("value")):
            yield first, last, low or high
    elif datatype == "SampledData":
        for first, last in number.span(value.get("lowerLimit"), value.get("upperLimit")):
            yield first, last, value.get("origin") or {}
    else:
        given = value.get("value")
        for first, last in number.span(given, given):
            yield (*_compared(first, last, value.get("comparator")), value)


def _compared(first: Decimal, last: Decimal, comparator: Any) -> tuple[Decimal, Decimal]:
    if comparator in ("<", "<="):
        return number.LOWEST, last
    return (first, number.HIGHEST) if comparator in (">", ">=") else (first, last)


def _units(quantity: dict[str, Any]) -> tuple[str, ...]:
    system, code, unit = quantity.get("system"), quantity.get("code"), quantity.get("unit")
    found = {"": None}
    if code and system:
        found[bounded(f"|{system}|{code}")] = None
    if code and system != UCUM:
        found[bounded(f"||{code}")] = None
    if unit:
        found[bounded(f"||{unit}")] = None
    return tuple(found)


def _currency(money: dict[str, Any]) -> tuple[str, ...]:
    code = money.get("currency")
    return ("", f"|{CURRENCY}|{code}", f"||{code}") if code else ("",)


def _no_units(_: dict[str, Any]) -> tuple[str, ...]:
    return ("",)


def compile_values(name: str, values: Sequence[str], modifier: str | None) -> Query:
    """Return the query for any of the values: ``[prefix]number``, ``number|system|code`` or ``number||code``."""
    if modifier is not None:
        raise unsupported(modifier, name)
    return either([_one(name, value) for value in values])


def _one(name: str, value: str) -> Query:
    digits, system, code = taken_apart(name, value)
    if not code:
        return number.compile_number(name, digits)
    if system:
        return number.compile_number(name + bounded(f"|{system}|{code}"), digits)
    units = (bounded(f"||{code}"), bounded(f"|{UCUM}|{code}"))
    return either([number.compile_number(name + unit, digits) for unit in units])


def taken_apart(name: str, value: str) -> tuple[str, str, str]:
    """Return number, system and code; a missing part is empty."""
    parts = [unescape(part) for part in split(value, "|")]
    if len(parts) not in (1, 3) or (len(parts) == 3 and parts[1] and not parts[2]):
        raise Invalid(f"{name} is written number, number|system|code or number||code.", expression=name)
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 else (parts[0], "", "")

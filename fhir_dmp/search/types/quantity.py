"""Quantity: a number, with or without its unit. https://hl7.org/fhir/R4/search.html#quantity.

Kept under ``Type.param`` for any unit. A UCUM unit is kept in canonical form under ``Type.param|~base`` (``mg`` as grams under ``|~g``),
so that units of one kind compare; any other code as it is written under ``Type.param|system|code``. The unit as people read it, and a code
that is none of UCUM's, are under ``Type.param||unit``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from fhir_dmp.definitions.model import Path
from fhir_dmp.definitions.units import Unit, canonical
from fhir_dmp.errors import Invalid
from fhir_dmp.search.types import number
from fhir_dmp.search.types.values import bounded, split, unescape, unsupported
from fhir_dmp.store.query import Query, either

UCUM = "http://unitsofmeasure.org"
CURRENCY = "urn:iso:std:iso:4217"
CANONICAL = "|~"
_Spans = Iterator[tuple[Decimal, Decimal, dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class _Key:
    """Where a unit's values are kept below the parameter's name, and what they are converted by."""

    name: str
    unit: Unit | None = None


_ANY = _Key("")


def indexer(name: str, path: Path) -> Callable[[Any], list[dict[str, Any]]]:
    """Return the function from a Quantity (or Age, Duration, Money, Range, SampledData) to its ranges for ``name``."""
    datatype = path.type
    keys_of = _currency if datatype == "Money" else _keys

    def ranges(value: Any) -> list[dict[str, Any]]:
        if not isinstance(value, dict):
            return []
        return [
            _range(name + key.name, low, high, key.unit)
            for low, high, quantity in _spans(value, datatype)
            for key in keys_of(quantity)
        ]

    return ranges


def _range(key: str, low: Decimal, high: Decimal, unit: Unit | None) -> dict[str, Any]:
    first = number.converted(low, unit)
    return {"k": key, "lo": first, "hi": first if high is low else number.converted(high, unit)}


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


def _keys(quantity: dict[str, Any]) -> list[_Key]:
    system, code, unit = (_text(quantity.get(each)) for each in ("system", "code", "unit"))
    found = [_ANY]
    if code and system:
        found.append(_of_code(system, code))
    if code and system != UCUM:
        found.append(_Key(bounded(f"||{code}")))
    if unit and (unit != code or found[-1].name == _ANY.name):
        found.append(_Key(bounded(f"||{unit}")))
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _of_code(system: str, code: str) -> _Key:
    known = canonical(code) if system == UCUM else None
    return _Key(bounded(f"|{system}|{code}")) if known is None else _Key(CANONICAL + known.base, known)


def _currency(money: dict[str, Any]) -> list[_Key]:
    code = money.get("currency")
    return [_ANY, _Key(f"|{CURRENCY}|{code}"), _Key(f"||{code}")] if code else [_ANY]


def compile_values(name: str, values: Sequence[str], modifier: str | None) -> Query:
    """Return the query for any of the values: ``[prefix]number``, ``number|system|code`` or ``number||code``."""
    if modifier is not None:
        raise unsupported(modifier, name)
    return either([compile_quantity(name, value) for value in values])


def compile_quantity(name: str, value: str) -> Query:
    """Return the query for one value on the ranges under ``name``.

    A unit without its system is asked for as UCUM's and as it is written.
    """
    digits, system, code = _taken_apart(name, value)
    if not code:
        return number.compile_number(name, digits)
    keys = [_of_code(system, code)] if system else [_Key(bounded(f"||{code}")), _of_code(UCUM, code)]
    return either([number.compile_number(name + key.name, digits, key.unit) for key in keys])


def _taken_apart(name: str, value: str) -> tuple[str, str, str]:
    """Return number, system and code; a missing part is empty."""
    parts = [unescape(part) for part in split(value, "|")]
    if len(parts) not in (1, 3) or (len(parts) == 3 and parts[1] and not parts[2]):
        raise Invalid(f"{name} is written number, number|system|code or number||code.", expression=name)
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 else (parts[0], "", "")

"""Quantity: a number, with or without its unit. https://hl7.org/fhir/R4/search.html#quantity.

Kept under ``Type.param`` for any unit. A UCUM unit is kept in canonical form under ``Type.param|~base`` (``mg`` as grams under ``|~g``),
so that units of one kind compare; any other code as it is written under ``Type.param|system|code``. The unit as people read it, and a code
that is none of UCUM's, are under ``Type.param||unit``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any

from msgspec import Struct

from fhir_dmp.definitions.model import Path
from fhir_dmp.definitions.units import Unit, canonical
from fhir_dmp.errors import Invalid
from fhir_dmp.fhir.codec import Number
from fhir_dmp.search.types import number
from fhir_dmp.search.types.values import bounded, split, unescape, unsupported
from fhir_dmp.store.query import Query, either

UCUM = "http://unitsofmeasure.org"
CURRENCY = "urn:iso:std:iso:4217"
CANONICAL = "|~"
_UNIT = ("system", "code", "unit")
_SHORT = 200
"""Characters of a quantity that is remembered."""

_Kept = tuple[tuple[str, Decimal, Decimal], ...]
"""Keys below the parameter's name, each with a closed span."""


class _Key(Struct, frozen=True):
    """Where a unit's values are kept below the parameter's name, and what they are converted by."""

    name: str
    unit: Unit | None = None


_ANY = _Key("")


def indexer(name: str, path: Path) -> Callable[[Any], list[dict[str, Any]]]:
    """Return the function from a Quantity (or Age, Duration, Money, Range, SampledData) to its ranges for ``name``."""
    kept_of = _READERS.get(path.type, _quantity)

    def ranges(value: Any) -> list[dict[str, Any]]:
        if not isinstance(value, dict):
            return []
        return [{"k": name + key, "lo": low, "hi": high} for key, low, high in kept_of(value)]

    return ranges


def _quantity(value: dict[str, Any]) -> _Kept:
    comparator, system, code, unit = (_text(value.get(each)) for each in ("comparator", *_UNIT))
    return _kept(number.text(value.get("value")), comparator, system, code, unit)


def _kept(digits: str, comparator: str, system: str, code: str, unit: str) -> _Kept:
    """Return what a quantity is kept as. Results and units repeat, and one is read for several parameters: it is remembered."""
    if len(digits) + len(comparator) + len(system) + len(code) + len(unit) <= _SHORT:
        return _remembered(digits, comparator, system, code, unit)
    return _worked_out(digits, comparator, system, code, unit)


def _worked_out(digits: str, comparator: str, system: str, code: str, unit: str) -> _Kept:
    given = Number(digits) if digits else None
    spans = [_compared(first, last, comparator) for first, last in number.span(given, given)]
    return _by_key(spans, _keys(system, code, unit)) if spans else ()


_remembered = lru_cache(maxsize=4096)(_worked_out)


def _range(value: dict[str, Any]) -> _Kept:
    low, high = value.get("low") or {}, value.get("high") or {}
    return _by_key(number.span(low.get("value"), high.get("value")), _keys_of(low or high))


def _sampled(value: dict[str, Any]) -> _Kept:
    return _by_key(number.span(value.get("lowerLimit"), value.get("upperLimit")), _keys_of(value.get("origin") or {}))


def _money(value: dict[str, Any]) -> _Kept:
    given = value.get("value")
    return _by_key(number.span(given, given), _currency(value.get("currency")))


_READERS: Mapping[str, Callable[[dict[str, Any]], _Kept]] = {"Range": _range, "SampledData": _sampled, "Money": _money}


def _by_key(spans: Iterable[number.Span], keys: Sequence[_Key]) -> _Kept:
    return tuple((key.name, *_converted(low, high, key.unit)) for low, high in spans for key in keys)


def _converted(low: Decimal, high: Decimal, unit: Unit | None) -> number.Span:
    first = number.converted(low, unit)
    return first, first if high is low else number.converted(high, unit)


def _compared(first: Decimal, last: Decimal, comparator: str) -> number.Span:
    if comparator in ("<", "<="):
        return number.LOWEST, last
    return (first, number.HIGHEST) if comparator in (">", ">=") else (first, last)


def _keys_of(quantity: dict[str, Any]) -> list[_Key]:
    system, code, unit = (_text(quantity.get(each)) for each in _UNIT)
    return _keys(system, code, unit)


def _keys(system: str, code: str, unit: str) -> list[_Key]:
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


def _currency(code: Any) -> list[_Key]:
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
        raise Invalid("A quantity is written number, number|system|code or number||code.", expression=name)
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 else (parts[0], "", "")

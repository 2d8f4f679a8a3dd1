"""The operators of FHIRPath on two collections, as the invariants of R4 use them. https://hl7.org/fhirpath/N1/#operations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from fhir_dmp.fhir import codec
from fhir_dmp.fhir.dates import interval

Items = list[Any]
"""A collection; a single value is a list of it, and nothing an empty one."""


def _equals(left: Items, right: Items) -> Items:
    if not left or not right:
        return []
    return [len(left) == len(right) and all(map(_same, left, right))]


def _same(left: Any, right: Any) -> bool:
    first, second = number_of(left), number_of(right)
    if first is not None and second is not None:
        return first == second
    return type(left) is type(right) and bool(left == right)


def number_of(value: Any) -> Decimal | None:
    """Return the number that an item is, if it is one."""
    return value if isinstance(value, Decimal) else codec.decimal(value)


def _differs(left: Items, right: Items) -> Items:
    return [not found for found in _equals(left, right)]


def _compared(holds: Callable[[Any, Any], bool]) -> Callable[[Items, Items], Items]:
    """Return the comparison of single values; what cannot be compared is not held against anybody."""

    def compare(left: Items, right: Items) -> Items:
        if len(left) != 1 or len(right) != 1:
            return []
        first, second = _ends(left[0]), _ends(right[0])
        if first is None or second is None or first[2] != second[2]:
            return [True]
        return [holds(first, second)]

    return compare


_End = tuple[Any, Any, Any]


def _ends(value: Any) -> _End | None:
    """Return the least and the greatest that a value may be, and what it is comparable with: a date of some precision is a span."""
    number = number_of(value)
    if number is not None:
        return number, number, "number"
    if isinstance(value, dict):
        number = codec.decimal(value.get("value"))
        unit = tuple(value.get(each) for each in ("system", "code", "unit"))
        return None if number is None or "comparator" in value else (number, number, unit)
    try:
        low, high = interval(value) if isinstance(value, str) else (0, 0)
    except ValueError:
        return None
    return (low, high - 1, "date") if high else None


def _concatenated(left: Items, right: Items) -> Items:
    return ["".join(str(each) for items in (left, right) for each in items)]


def _added(left: Items, right: Items) -> Items:
    first, second = (number_of(items[0]) if items else None for items in (left, right))
    return [] if first is None or second is None else [first + second]


def _union(left: Items, right: Items) -> Items:
    return list(by_key([*left, *right]).values())


def by_key(items: Iterable[Any]) -> dict[bytes, Any]:
    """Return the items, each once, by what tells them apart."""
    return {codec.dumps(str(item) if isinstance(item, Decimal) else item): item for item in items}


def _is_in(left: Items, right: Items) -> Items:
    return [any(_same(left[0], each) for each in right)] if left else []


def _is(left: Items, right: Items) -> Items:
    return [len(left) == 1 and _is_of(left[0], right[0])]


def _is_of(value: Any, name: str) -> bool:
    """Tell whether a value is of a type that an invariant asks for: a resource, a boolean, a decimal."""
    if isinstance(value, dict):
        return value.get("resourceType") == name
    return type(value) is bool if name == "Boolean" else name == "decimal" and number_of(value) is not None


def _of_type(items: Items, named: Items) -> Items:
    return [item for item in items if _is_of(item, named[0])]


OPERATORS: dict[str, Callable[[Items, Items], Items]] = {
    "=": _equals,
    "!=": _differs,
    "<": _compared(lambda left, right: left[0] < right[1]),
    ">": _compared(lambda left, right: left[1] > right[0]),
    "<=": _compared(lambda left, right: left[0] <= right[1]),
    ">=": _compared(lambda left, right: left[1] >= right[0]),
    "&": _concatenated,
    "+": _added,
    "|": _union,
    "in": _is_in,
    "contains": lambda left, right: _is_in(right, left),
    "is": _is,
    "as": _of_type,
}
"""What stands between two collections, by its sign; those of logic are compiled (``fhirpath``), since they need not ask both."""

"""The functions of FHIRPath on a whole collection, as the invariants of R4 use them. https://hl7.org/fhirpath/N1/#functions.

Those that ask each item by an expression (``where``, ``all``...) are compiled with it (``fhirpath``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from fhir_dmp.fhir import codec
from fhir_dmp.validation.fhirpath_operators import Items, by_key


def _text(items: Items) -> str | None:
    return items[0] if len(items) == 1 and isinstance(items[0], str) else None


def _of_text(function: Callable[..., Any]) -> Callable[..., Items]:
    """Return what asks a text, with texts for its arguments; what is no text has no parts."""

    def ask(items: Items, *arguments: Items) -> Items:
        texts = [_text(each) for each in (items, *arguments)]
        return [None not in texts and function(*texts)]

    return ask


def _descendants(items: Items) -> Items:
    found: Items = []
    left = list(items)
    while left:
        item = left.pop()
        inner = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        for each in inner:
            left.append(each)
            if not isinstance(each, list):
                found.append(each)
    return found


def _is_distinct(items: Items) -> Items:
    return [len(by_key(items)) == len(items)]


def _to_integer(items: Items) -> Items:
    text = _text(items)
    return [Decimal(text)] if text is not None and re.fullmatch(r"[+-]?\d{1,18}", text, re.ASCII) else []


def _to_string(items: Items) -> Items:
    value = items[0] if len(items) == 1 else None
    return [] if value is None else [value.text if isinstance(value, codec.Number) else str(value)]


FUNCTIONS: dict[str, Callable[..., Items]] = {
    "children": lambda items: [each for item in items if isinstance(item, dict) for each in item.values()],
    "combine": lambda items, other: [*items, *other],
    "contains": _of_text(lambda text, part: part in text),
    "count": lambda items: [Decimal(len(items))],
    "descendants": _descendants,
    "first": lambda items: items[:1],
    "hasValue": lambda items: [len(items) == 1 and not isinstance(items[0], dict)],
    "isDistinct": _is_distinct,
    "matches": _of_text(lambda text, pattern: re.search(pattern, text) is not None),
    "replaceMatches": _of_text(lambda text, pattern, by: re.sub(pattern, by, text)),
    "startsWith": _of_text(lambda text, part: text.startswith(part)),
    "tail": lambda items: items[1:],
    "toInteger": _to_integer,
    "toString": _to_string,
    "trace": lambda items, *_: items,
}
"""What works on a whole collection; the arguments are collections as well."""

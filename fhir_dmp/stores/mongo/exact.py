"""What of a document is of the type that we write: the driver's kinds of text, number and bytes are its own, and pass for ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bson import Int64

from fhir_dmp.store.chain import MOMENTS

_TEXT, _WHOLE = frozenset((str,)), frozenset((int, Int64))
_PLAIN = frozenset((str, int, float, bool, type(None)))


def is_text(value: Any) -> bool:
    """Tell whether it is text, and no code."""
    return type(value) is str


def is_whole(value: Any) -> bool:
    """Tell whether it is a whole number, long or not, and no truth value."""
    return type(value) in _WHOLE


def is_bytes(value: Any) -> bool:
    """Tell whether these are bytes of no particular kind."""
    return type(value) is bytes


def is_exact(terms: Mapping[str, Any]) -> bool:
    """Tell whether what a row is found by is of the types that we write, which entries do not tell apart: a long moment is text there."""
    return all(is_whole(value) if name in MOMENTS else is_plain(value) for name, value in terms.items())


def exact(terms: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is of those types."""
    return {name: value for name, value in terms.items() if is_exact({name: value})}


def is_plain(value: Any) -> bool:
    """Tell whether it comes from JSON as it is: texts, mostly in lists."""
    kind = type(value)
    if kind is list:
        return _TEXT.issuperset(map(type, value)) or all(map(is_plain, value))
    if kind is dict:
        return all(map(is_plain, value.values()))
    return kind in _PLAIN

"""A resource with some of its texts replaced: what does not change is shared with the one given. https://hl7.org/fhir/R4/json.html."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import is_
from typing import Any

Each = Callable[[str, str, Mapping[str, Any], str], str]
"""From the name of a property, its text, the object that it stands in and the property that this stands in to what the text shall be."""


def replaced(node: Mapping[str, Any], each: Each, inside: str = "") -> Mapping[str, Any]:
    """Return the object with every text below it passed through ``each``, itself if all of them stay.

    ``inside`` is the property that it stands in.
    """
    made: dict[str, Any] | None = None
    for key, value in node.items():
        new = _new(value, each, key, node, inside)
        if new is not value:
            made = dict(node) if made is None else made
            made[key] = new
    return node if made is None else made


def _new(value: Any, each: Each, key: str, node: Mapping[str, Any], inside: str) -> Any:
    kind = type(value)
    if kind is dict:
        return replaced(value, each, key)
    if kind is str:
        return each(key, value, node, inside)
    if kind is not list:
        return value
    made = [_new(item, each, key, node, inside) for item in value]
    return value if all(map(is_, made, value)) else made

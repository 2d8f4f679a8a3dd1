"""A resource with some of its texts replaced: what does not change is shared with the one given. https://hl7.org/fhir/R4/json.html."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Each = Callable[[str, str, Mapping[str, Any], str], str]
"""From the name of a property, its text, the object that it stands in and the property that this stands in to what the text shall be."""


def replaced(node: Mapping[str, Any], each: Each, inside: str = "") -> Mapping[str, Any]:
    """Return the object with every text below it passed through ``each``, itself if all of them stay.

    ``inside`` is the property that it stands in.
    """
    made: dict[str, Any] | None = None
    for key, value in node.items():
        kind = type(value)
        if kind is dict:
            new: Any = replaced(value, each, key)
        elif kind is list:
            new = _items(value, each, key, node, inside)
        elif kind is str:
            new = each(key, value, node, inside)
        else:
            continue
        if new is not value:
            made = dict(node) if made is None else made
            made[key] = new
    return node if made is None else made


def _items(items: list[Any], each: Each, key: str, node: Mapping[str, Any], inside: str) -> list[Any]:
    made = items
    for place, item in enumerate(items):
        kind = type(item)
        if kind is dict:
            new: Any = replaced(item, each, key)
        elif kind is str:
            new = each(key, item, node, inside)
        else:
            continue
        if new is not item:
            made = list(items) if made is items else made
            made[place] = new
    return made

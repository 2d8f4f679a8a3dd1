"""String: starts with, without case and accents; ``:exact`` and ``:contains``. https://hl7.org/fhir/R4/search.html#string.

Indexed folded and cut at 120 characters; as it is beside that where folding changed it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fhir_dmp.fhir.fold import fold
from fhir_dmp.search.types.values import unescape, unsupported
from fhir_dmp.store.query import Eq, Like, Query, either, prefix

LONGEST = 120
EXACT = ":exact"
_PARTS = {
    "HumanName": ("text", "family", "given", "prefix", "suffix"),
    "Address": ("text", "line", "city", "district", "state", "postalCode", "country"),
}


def texts(value: Any, datatype: str) -> list[str]:
    """Return the strings of a value: its own, or those of each part."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, dict):
        return []
    return list(_parts(value, _PARTS.get(datatype, ("text",))))


def _parts(value: dict[str, Any], names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        part = value.get(name)
        if isinstance(part, str):
            yield part
        elif isinstance(part, list):
            yield from (item for item in part if isinstance(item, str))


def entries(name: str, value: Any, datatype: str) -> list[str]:
    """Return the tokens of a value for the parameter ``name`` (``Type.param``)."""
    found = []
    for text in texts(value, datatype):
        folded = fold(text)[:LONGEST]
        found.append(f"{name}={folded}")
        if folded != text:
            found.append(f"{name}{EXACT}={text[:LONGEST]}")
    return found


def compile_values(name: str, values: tuple[str, ...], modifier: str | None) -> Query:
    """Return the query for any of the values of the parameter ``name``."""
    return either([_one(name, unescape(value), modifier) for value in values])


def _one(name: str, text: str, modifier: str | None) -> Query:
    folded = fold(text)[:LONGEST]
    if modifier is None:
        return prefix("t", f"{name}={folded}")
    if modifier == "contains":
        return Like("t", f"{name}=", folded)
    if modifier == "exact":
        changed = f"{name}{EXACT}={text[:LONGEST]}"
        return Eq("t", changed if folded != text else f"{name}={folded}")
    raise unsupported(modifier, name)

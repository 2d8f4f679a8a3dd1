"""Uri: the same text; ``:below`` what begins with it, ``:above`` what it begins with. https://hl7.org/fhir/R4/search.html#uri.

The last two are for URLs: to a URN they mean the same text. A canonical with a version is found by its URL alone too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fhir_dmp.definitions.model import Path
from fhir_dmp.search.types.values import bounded, unescape, unsupported
from fhir_dmp.store.query import LONGEST, Eq, In, Query, either, prefix


def indexer(name: str, path: Path) -> Callable[[Any], list[str]]:
    """Return the function from a value to its tokens for the parameter ``name`` (``Type.param``)."""
    canonical = path.type == "canonical"

    def tokens(value: Any) -> list[str]:
        if not isinstance(value, str):
            return []
        bare, bar, _ = value.partition("|")
        found = [f"{name}={bounded(value)}"]
        return [*found, f"{name}={bounded(bare)}"] if canonical and bar else found

    return tokens


def compile_values(name: str, values: Sequence[str], modifier: str | None) -> Query:
    """Return the query for any of the values."""
    return either([_one(name, unescape(value), modifier) for value in values])


def _one(name: str, uri: str, modifier: str | None) -> Query:
    if modifier not in (None, "below", "above"):
        raise unsupported(modifier, name)
    if modifier is None or uri.startswith("urn:"):
        return Eq("t", f"{name}={bounded(uri)}")
    if modifier == "below":
        return prefix("t", f"{name}={uri[:LONGEST]}")
    starts = (uri[:end] for end in range(1, min(len(uri), LONGEST) + 1))
    return In("t", tuple(f"{name}={start}" for start in starts))

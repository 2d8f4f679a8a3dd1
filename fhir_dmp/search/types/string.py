"""String: starts with, without case and accents; ``:exact`` and ``:contains``. https://hl7.org/fhir/R4/search.html#string.

Indexed folded and cut at 120 characters, beside that as it is for ``:exact``. The later words of a family name are found
as well (``:word``), so that each part of a double name is.

How a text begins is indexed too, at a few lengths (``Type.param^mart``). Texts that begin alike are many values: an index that knows
whole texts alone gives their rows one value after the other, and all of them would have to be fetched and sorted before the first
page. By their beginning they stand in one place, in the order of pages; what is asked beyond it is looked at row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from msgspec import Struct

from fhir_dmp.definitions.model import Path
from fhir_dmp.errors import Invalid
from fhir_dmp.fhir.fold import fold
from fhir_dmp.search.types.values import bounded, unescape, unsupported
from fhir_dmp.store.query import And, Eq, Like, Query, either, prefix

LONGEST = 120
EXACT = ":exact"
WORD = ":word"
BEGINNING = "^"
LENGTHS = (1, 2, 4, 7)
"""Characters of the beginnings that are indexed. The longest that is no longer than what is asked finds few others beside it."""

_PARTS = {
    "HumanName": ("text", "family", "given", "prefix", "suffix"),
    "Address": ("text", "line", "city", "district", "state", "postalCode", "country"),
}


def folded(text: str) -> str:
    """Return the text as it is compared, cut."""
    return fold(text)[:LONGEST].rstrip()


def indexer(name: str, path: Path) -> Callable[[Any], list[str]]:
    """Return the function from a value to its tokens for the parameter ``name`` (``Type.param``)."""
    names = _PARTS.get(path.type)
    if names is not None:
        return lambda value: [token for part, text in _parts(value, names) for token in _tokens(name, text, part)]
    last = path.steps[-1].name if path.steps else ""
    return lambda value: _tokens(name, value, last) if isinstance(value, str) else []


def _parts(value: Any, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    if not isinstance(value, dict):
        return
    for name in names:
        part = value.get(name)
        if isinstance(part, str):
            yield name, part
        elif isinstance(part, list):
            yield from ((name, item) for item in part if isinstance(item, str))


def _tokens(name: str, text: str, part: str) -> list[str]:
    whole = folded(text)
    words = whole.split()[1:] if part == "family" and " " in whole else ()
    tokens = [f"{name}={whole}", f"{name}{EXACT}={bounded(text)}", *(f"{name}{WORD}={word}" for word in words)]
    for each in (whole, *words):
        tokens += [f"{name}{BEGINNING}{each[:length]}" for length in LENGTHS if length <= len(each)]
    return tokens


def wanted(name: str, text: str) -> str:
    """Return what is looked for, folded; raise ``Invalid`` if nothing is left of it."""
    found = folded(text)
    if not found:
        raise Invalid(f"There is nothing to look for in {text[:40]!r}.", expression=name)
    return found


def compare(name: str, operator: str, text: str) -> Query:
    """Return the query for text that equals, holds, begins or ends with another (``eq co sw ew`` of ``_filter``), folded."""
    part = wanted(name, text)
    start = f"{name}="
    ways: dict[str, Query] = {
        "eq": Eq("t", start + part),
        "co": Like("t", start, part),
        "sw": prefix("t", start + part),
        "ew": Like("t", start, part, last=True),
    }
    return ways[operator]


def has_words(paths: Sequence[Path]) -> bool:
    """Tell whether family names are among what the parameter reads."""
    return any(path.type == "HumanName" or (path.steps and path.steps[-1].name == "family") for path in paths)


class Kept(Struct, frozen=True):
    """What is kept of the texts of a parameter beside them as they are: later ``words`` of family names, and ``beginnings``."""

    words: bool = False
    beginnings: bool = False


_WHOLE = Kept()


def compile_values(name: str, values: Sequence[str], modifier: str | None, kept: Kept = _WHOLE) -> Query:
    """Return the query for any of the values of the parameter ``name``, by what is kept of it."""
    return either([_one(name, unescape(value), modifier, kept) for value in values])


def _one(name: str, text: str, modifier: str | None, kept: Kept) -> Query:
    if modifier == "exact":
        return Eq("t", f"{name}{EXACT}={bounded(text)}")
    if modifier not in (None, "contains"):
        raise unsupported(modifier, name)
    start = wanted(name, text)
    if modifier == "contains":
        return Like("t", f"{name}=", start)
    whole = prefix("t", f"{name}={start}")
    found = either([whole, prefix("t", f"{name}{WORD}={start}")]) if kept.words else whole
    if not kept.beginnings:
        return found
    length = max(each for each in LENGTHS if each <= len(start))
    beginning = Eq("t", f"{name}{BEGINNING}{start[:length]}")
    return beginning if length == len(start) else And((beginning, found))

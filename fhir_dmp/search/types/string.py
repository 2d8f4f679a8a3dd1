"""String: starts with, without case and accents; ``:exact`` and ``:contains``. https://hl7.org/fhir/R4/search.html#string.

Indexed folded and cut at 120 characters, beside that as it is for ``:exact``. The later words of a family name are found
as well (``:word``), so that each part of a double name is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fhir_dmp.definitions.model import Path
from fhir_dmp.errors import Invalid
from fhir_dmp.fhir.fold import fold
from fhir_dmp.search.types.values import bounded, unescape, unsupported
from fhir_dmp.store.query import Eq, Like, Query, either, prefix

LONGEST = 120
EXACT = ":exact"
WORD = ":word"
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
    tokens = [f"{name}={whole}", f"{name}{EXACT}={bounded(text)}"]
    if part == "family" and " " in whole:
        tokens += [f"{name}{WORD}={word}" for word in whole.split()[1:]]
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


def compile_values(name: str, values: Sequence[str], modifier: str | None, *, words: bool = False) -> Query:
    """Return the query for any of the values of the parameter ``name``; ``words`` asks for those of family names too."""
    return either([_one(name, unescape(value), modifier, words) for value in values])


def _one(name: str, text: str, modifier: str | None, words: bool) -> Query:  # noqa: FBT001 - handed through
    if modifier == "exact":
        return Eq("t", f"{name}{EXACT}={bounded(text)}")
    if modifier not in (None, "contains"):
        raise unsupported(modifier, name)
    start = wanted(name, text)
    if modifier == "contains":
        return Like("t", f"{name}=", start)
    whole = prefix("t", f"{name}={start}")
    return either([whole, prefix("t", f"{name}{WORD}={start}")]) if words else whole

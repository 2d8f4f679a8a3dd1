"""Composite: parts that hold together on the same element. https://hl7.org/fhir/R4/search.html#composite.

Where the element is the resource itself, the parts hold together whenever each of them holds: the question is their conjunction and nothing
is indexed for it. Where it is one of several (``Observation.component``), the parts are indexed together: tokens as
``Type.param=first$second``, a part that is a range under the key ``Type.param=first$`` (``first$2`` for a third part).

One thing is approximated: with three parts, the second and the third are each held together with the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import Struct

from fhir_dmp.definitions.model import Component, Path
from fhir_dmp.errors import Invalid, NotSupported
from fhir_dmp.search.types import date, number, quantity, reference, string, token
from fhir_dmp.search.types.values import split, unescape
from fhir_dmp.store.query import And, In, Query, both, either, prefix

MARK = "$"
RANGES = date.RANGES
Walk = Callable[[Any], Iterable[Any]]
Forms = Callable[[Any], list[str]]
Spans = Callable[[Any], list[dict[str, Any]]]


class Entries(Struct, frozen=True):
    """What one element adds to the index."""

    tokens: list[str]
    ranges: list[dict[str, Any]]


def indexer(
    name: str, parts: Sequence[Component], walk: Callable[[Path], Walk], base_url: str
) -> Callable[[Any], Entries]:
    """Return the function from an element to its entries for ``name`` (``Type.param``); ``walk`` makes a path a function."""
    first = _readers(parts[0], walk, base_url)
    tokens = [(_mark(place), _readers(part, walk, base_url)) for place, part in _others(parts) if not _ranged(part)]
    ranges = [(_mark(place), _spanners(part, walk)) for place, part in _others(parts) if _ranged(part)]

    def entries(item: Any) -> Entries:
        found = Entries([], [])
        keys = [f"{name}={form}" for form in _forms(first, item)]
        for mark, readers in tokens:
            forms = _forms(readers, item)
            found.tokens.extend(f"{key}{mark}{form}" for key in keys for form in forms)
        for mark, spanners in ranges:
            spans = [span for walk, of_value in spanners for value in walk(item) for span in of_value(value)]
            found.ranges.extend(
                {"k": f"{key}{mark}{span['k']}", "lo": span["lo"], "hi": span["hi"]} for key in keys for span in spans
            )
        return found

    return entries


def _others(parts: Sequence[Component]) -> Iterable[tuple[int, Component]]:
    return enumerate(parts[1:], start=1)


def _ranged(part: Component) -> bool:
    return part.type in RANGES


def _mark(place: int) -> str:
    return MARK if place == 1 else f"{MARK}{place}"


def _readers(part: Component, walk: Callable[[Path], Walk], base_url: str) -> list[tuple[Walk, Forms]]:
    return [(walk(path), _form_of(part, path, base_url)) for path in part.paths]


def _form_of(part: Component, path: Path, base_url: str) -> Forms:
    if part.type == "token":
        return token.forms(path.type)
    if part.type == "reference":
        tokens = reference.indexer("", path, base_url)
        return lambda value: [each[1:] for each in tokens(value) if each[0] == "="]
    return lambda value: [string.folded(value)] if isinstance(value, str) else []


def _forms(readers: Iterable[tuple[Walk, Forms]], item: Any) -> list[str]:
    return list(dict.fromkeys(form for walk, forms in readers for value in walk(item) for form in forms(value)))


def _spanners(part: Component, walk: Callable[[Path], Walk]) -> list[tuple[Walk, Spans]]:
    indexer = _SPANS[part.type]
    return [(walk(path), indexer("", path)) for path in part.paths]


_SPANS: dict[str, Callable[[str, Path], Spans]] = {
    "date": date.indexer,
    "number": number.indexer,
    "quantity": quantity.indexer,
}


class Ways(Struct, frozen=True):
    """How parts are asked: on the resource as a whole, and as a range under a key."""

    on_resource: Callable[[Component, str], Query]
    on_range: Callable[[Component, str, str], Query]
    base_url: str


def compile_values(
    name: str, parts: Sequence[Component], *, of_resource: bool, values: Sequence[str], ways: Ways
) -> Query:
    """Return the query for any of the values ``a$b``; ``of_resource``: the element is the resource itself."""
    return either([_one(name, parts, _taken_apart(name, parts, value), of_resource, ways) for value in values])


def _taken_apart(name: str, parts: Sequence[Component], value: str) -> list[str]:
    given = split(value, MARK)
    if len(given) != len(parts) or not all(given):
        raise Invalid(f"{name} takes {len(parts)} parts with {MARK} between them.", expression=name)
    return given


def _one(name: str, parts: Sequence[Component], given: list[str], of_resource: bool, ways: Ways) -> Query:  # noqa: FBT001 - handed through
    if of_resource:
        return And(tuple(map(ways.on_resource, parts, given)))
    starts = [f"{name}={form}" for form in _first_forms(name, parts[0], given[0], ways)]
    return either([_together(start, parts[1:], given[1:], ways) for start in starts])


def _together(start: str, parts: Sequence[Component], given: Sequence[str], ways: Ways) -> Query:
    numbered = enumerate(zip(parts, given, strict=True), start=1)
    return both(*(_second(start + _mark(place), part, value, ways) for place, (part, value) in numbered))


def _second(start: str, part: Component, value: str, ways: Ways) -> Query:
    if part.type in RANGES:
        return ways.on_range(part, value, start)
    if part.type == "reference":
        targets = reference.asked(unescape(value), (), None, ways.base_url)
        return In("t", tuple(start + target for target in targets))
    if part.type == "string":
        return prefix("t", start + string.wanted(part.code, unescape(value)))
    return token.any_of(start, token.asked(part.code, value, part.paths))


def _first_forms(name: str, part: Component, value: str, ways: Ways) -> list[str]:
    if part.type == "reference":
        return reference.asked(unescape(value), (), None, ways.base_url)
    if part.type == "string":
        return [string.folded(unescape(value))]
    forms = token.asked(name, value, part.paths)
    if any(whole for _, whole in forms):
        raise NotSupported(f"The first part of {name} is a whole code, not all codes of a system.", expression=name)
    return [form for form, _ in forms]

"""Composite: parts that hold together on the same element. https://hl7.org/fhir/R4/search.html#composite.

Where the element is the resource itself, the parts hold together whenever each of them holds: the question is their conjunction and nothing
is indexed for it. Where it is one of several (``Observation.component``), each pair of parts is indexed together:
tokens as ``Type.param=first$second``, and a second part that is a range under the key ``Type.param=first$``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from fhir_dmp.definitions.model import Component, Path, SearchParam
from fhir_dmp.errors import Invalid
from fhir_dmp.search.types import date, number, quantity, string, token
from fhir_dmp.search.types.values import split
from fhir_dmp.store.query import And, Between, Eq, In, Query, either

Walk = Callable[[Any, Path], list[Any]]
MARK = "$"
_RANGES = ("date", "number", "quantity")


@dataclass(frozen=True, slots=True)
class Entries:
    """What one element adds to the index."""

    tokens: list[str]
    ranges: list[dict[str, Any]]


def is_root(path: Path) -> bool:
    """Tell whether the composite's element is the resource itself."""
    return not path.steps


def entries(name: str, param: SearchParam, item: Any, walk: Walk) -> Entries:
    """Return the tokens and ranges of one element for the parameter ``name`` (``Type.param``)."""
    first, second = param.components[0], param.components[-1]
    found = Entries([], [])
    if len(param.components) != 2 or first.type in _RANGES:
        return found
    for form in _token_forms(first, item, walk):
        if second.type in _RANGES:
            found.ranges.extend(_range_entries(f"{name}={form}{MARK}", second, item, walk))
        else:
            found.tokens.extend(f"{name}={form}{MARK}{other}" for other in _token_forms(second, item, walk))
    return found


def _token_forms(part: Component, item: Any, walk: Walk) -> list[str]:
    return list(dict.fromkeys(_forms(part, item, walk)))


def _forms(part: Component, item: Any, walk: Walk) -> Iterator[str]:
    for path in part.paths:
        for value in walk(item, path):
            if part.type == "token":
                yield from token.forms(value, path.type)
            elif part.type == "string":
                yield from (text[1:] for text in string.entries("", value, path.type) if text.startswith("="))


def _range_entries(name: str, part: Component, item: Any, walk: Walk) -> Iterator[dict[str, Any]]:
    for path in part.paths:
        for value in walk(item, path):
            if part.type == "date":
                yield from date.entries(name, value, path.type)
            elif part.type == "quantity":
                yield from quantity.entries(name, value, path.type)
            else:
                yield from ({"k": name, "lo": low, "hi": high} for low, high in number.points(value, path.type))


CompilePart = Callable[[Component, str, str], Query]
"""Compile a part on the resource itself: component, the value, and the key to use on an element ('' for the resource)."""


def compile_values(
    name: str,
    param: SearchParam,
    values: tuple[str, ...],
    on_resource: Callable[[Component, str], Query],
    on_range: CompilePart,
) -> Query:
    """Return the query for any of the values ``a$b``."""
    return either([_one(name, param, value, on_resource, on_range) for value in values])


def _one(
    name: str,
    param: SearchParam,
    value: str,
    on_resource: Callable[[Component, str], Query],
    on_range: CompilePart,
) -> Query:
    parts = split(value, MARK)
    if len(parts) != len(param.components):
        raise Invalid(f"{name} takes {len(param.components)} parts with {MARK} between them.", expression=name)
    alternatives: list[Query] = []
    if any(is_root(path) for path in param.paths):
        alternatives.append(And(tuple(map(on_resource, param.components, parts))))
    if not all(is_root(path) for path in param.paths):
        alternatives.append(_together(name, param, parts, on_range))
    return either(alternatives)


def _together(name: str, param: SearchParam, parts: list[str], on_range: CompilePart) -> Query:
    first, second = param.components[0], param.components[-1]
    if len(param.components) != 2 or first.type in _RANGES:
        return In("t", ())
    start = f"{name}={_first_form(first, parts[0])}{MARK}"
    if second.type in _RANGES:
        return on_range(second, parts[1], start)
    if second.type == "string":
        folded = string.compile_values("", (parts[1],), None)
        return _moved(folded, start)
    return _moved(token.compile_values("", (parts[1],), None), start)


def _first_form(part: Component, value: str) -> str:
    query = (
        token.compile_values("", (value,), None) if part.type == "token" else string.compile_values("", (value,), None)
    )
    if isinstance(query, Eq):
        return str(query.value)
    raise Invalid(f"{value[:60]!r} must be a whole value in the first part of a composite.")


def _moved(query: Query, start: str) -> Query:
    """Return the same question with what is before it in the index."""
    if isinstance(query, Eq):
        return Eq("t", start + str(query.value).removeprefix("="))
    if isinstance(query, Between):
        low, high = (str(end).removeprefix("=") for end in (query.low, query.high))
        return Between("t", start + low, start + high)
    raise Invalid("This value cannot be asked in a composite.")

"""From a SearchParameter to what the server indexes by: its FHIRPath subset as steps. https://hl7.org/fhir/R4/searchparameter.html.

``scripts/build_definitions.py`` compiles those of R4 and of ``profiles/`` by it, the server those that are posted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from fhir_dmp.definitions.model import Component, Path, SearchParam, SearchType, Step

COMMON = ("Resource", "DomainResource")
"""Bases that stand for every type."""

_WORDS = (
    "http://hl7.org/fhir/SearchParameter/DomainResource-text",
    "http://hl7.org/fhir/SearchParameter/Resource-content",
)
"""Parameters about the words of a resource, which no expression finds."""

_NEAR = "http://hl7.org/fhir/SearchParameter/Location-near"


class UnsupportedError(ValueError):
    """A parameter that is not compiled, with the reason."""


class Element(Struct, frozen=True):
    """What of an element is compiled by: its JSON name, its type, the choice that it is one of."""

    name: str
    type: str
    choice: str | None


class _State(Struct, frozen=True):
    """Where a path has come to: the steps so far and the datatype found there."""

    steps: tuple[Step, ...]
    type: str
    present: bool = False


def _path(state: _State) -> Path:
    return Path(state.steps, state.type, state.present)


class Compiler:
    """Turns the FHIRPath subset of SearchParameters into steps by concrete JSON property names.

    ``elements`` are those of each type, ``resources`` the resource types, ``known`` code and type of parameters by URL.
    """

    def __init__(
        self,
        elements: Mapping[str, Mapping[str, Element]],
        resources: Sequence[str],
        known: Mapping[str, tuple[str, SearchType]],
    ) -> None:
        self._elements = elements
        self._resources = resources
        self._known = known

    def types_of(self, base: str) -> Sequence[str]:
        """Return the resource types that a parameter on ``base`` is for."""
        if base in COMMON:
            return self._resources
        return (base,) if base in self._resources else ()

    def param(self, definition: Mapping[str, Any], resource: str, *, added: bool) -> SearchParam:
        """Return the SearchParameter as it applies to a type; raise ``UnsupportedError`` if it cannot."""
        code, kind, url = definition["code"], definition["type"], definition["url"]
        if url in _WORDS:
            return SearchParam(code, kind, url, ())
        if kind == "special" and url != _NEAR:
            raise UnsupportedError("special parameters are not compiled")
        if "expression" not in definition:
            raise UnsupportedError("it has no expression: it is not about an element")
        states = self._compile(definition["expression"], resource)
        if any(state.type == "Resource" for state in states):
            raise UnsupportedError("it points at a resource inside the resource, not at one of the server's")
        parts = tuple(self._component(each, states[-1]) for each in definition.get("component", []))
        targets = tuple(definition.get("target", []))
        return SearchParam(code, kind, url, tuple(map(_path, states)), targets, parts, added=added)

    def _component(self, component: Mapping[str, Any], item: _State) -> Component:
        known = self._known.get(component["definition"])
        if known is None:
            raise UnsupportedError(f"its component {component['definition']} is not defined")
        states = self._relative(component["expression"], item.type)
        return Component(*known, tuple(map(_path, states)))

    def _compile(self, expression: str, resource: str) -> list[_State]:
        """Return the paths of the alternatives that begin at the resource type."""
        states: list[_State] = []
        for alternative in _split(expression, "|"):
            text, present = _presence(alternative.strip())
            root = re.match(r"\(*([A-Z][A-Za-z]+)", text)
            if root is not None and root[1] not in (resource, *COMMON):
                continue
            found = self._alternative(text, resource, named=root is not None)
            states += [replace(state, present=True) for state in found] if present else found
        if not states:
            raise UnsupportedError("no part of its expression is about this type")
        return states

    def _relative(self, expression: str, item_type: str) -> list[_State]:
        """Return the paths of a composite's component, from its item."""
        states: list[_State] = []
        for alternative in _split(expression, "|"):
            states += self._alternative(alternative.strip(), item_type, named=False)
        return states

    def _alternative(self, text: str, root: str, *, named: bool) -> list[_State]:
        text = text.strip()
        if text.startswith("(") and _closing(text) == len(text) - 1:
            return self._alternative(text[1:-1], root, named=named)
        cast = re.fullmatch(r"(.+) as ([A-Za-z]+)", text)
        if cast and "(" not in cast[1]:
            return _cast(self._alternative(cast[1], root, named=named), cast[2])
        if text.startswith("("):
            end = _closing(text)
            states = self._alternative(text[1:end], root, named=named)
            return self._walk(states, _split(text[end + 1 :].lstrip("."), "."))
        segments = _split(text, ".")
        if named:
            segments = segments[1:]
        return self._walk([_State((), root)], [each for each in segments if each != "$this"])

    def _walk(self, states: list[_State], segments: list[str]) -> list[_State]:
        for segment in segments:
            function = re.fullmatch(r"(\w+)\((.*)\)", segment)
            if function:
                states = _apply(states, function[1], function[2])
            else:
                states = [found for state in states for found in self._property(state, segment)]
            if not states:
                raise UnsupportedError(f"nothing is called {segment}")
        return states

    def _property(self, state: _State, segment: str) -> Iterator[_State]:
        indexed = re.fullmatch(r"(\w+)\[(\d+)\]", segment)
        name = indexed[1] if indexed else segment
        elements = self._elements.get(state.type, {})
        concrete = (
            [elements[name]]
            if name in elements
            else [each for each in elements.values() if each.choice == f"{name}[x]"]
        )
        for element in concrete:
            step = Step(element.name, index=int(indexed[2]) if indexed else None)
            yield _State((*state.steps, step), element.type)


def _presence(text: str) -> tuple[str, bool]:
    found = re.fullmatch(r"(\S+)\.exists\(\) and \1 != false", text)
    return (found[1], True) if found else (text, False)


def _cast(states: list[_State], kind: str) -> list[_State]:
    kept = [state for state in states if state.type.lower() == kind.lower()]
    if not kept:
        raise UnsupportedError(f"nothing there is a {kind}")
    return kept


def _apply(states: list[_State], name: str, argument: str) -> list[_State]:
    if name in ("as", "ofType"):
        return _cast(states, argument.strip())
    if name != "where":
        raise UnsupportedError(f"the function {name}() is not compiled")
    resolved = re.fullmatch(r"resolve\(\) is (\w+)", argument.strip())
    equal = re.fullmatch(r"(\w+)\s*=\s*'([^']*)'", argument.strip())
    if resolved:
        condition: dict[str, Any] = {"resolves_to": resolved[1]}
    elif equal:
        condition = {"where": (equal[1], equal[2])}
    else:
        raise UnsupportedError(f"the condition {argument} is not compiled")
    if not all(state.steps for state in states):
        raise UnsupportedError("a condition on the resource itself is not compiled")
    return [replace(state, steps=(*state.steps[:-1], replace(state.steps[-1], **condition))) for state in states]


def _split(text: str, mark: str) -> list[str]:
    """Return the parts between marks that stand outside brackets."""
    parts, depth, start = [], 0, 0
    for place, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if char == mark and depth == 0:
            parts.append(text[start:place])
            start = place + 1
    return [*parts, text[start:]]


def _closing(text: str) -> int:
    depth = 0
    for place, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if depth == 0:
            return place
    raise UnsupportedError(f"brackets do not close: {text}")

"""Is this resource what R4 says its type is? https://hl7.org/fhir/R4/validation.html.

The check of each type is compiled from the tables when the type is first met; a path is told only where something is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fhir_dmp.definitions.model import Definitions, ElementDef
from fhir_dmp.errors import Issue
from fhir_dmp.fhir.reference import parse_literal
from fhir_dmp.fhir.xml import DEEPEST
from fhir_dmp.validation.invariants import build_judge
from fhir_dmp.validation.primitives import CHECKS, Check

MOST_ISSUES = 100
"""Issues that one answer tells; a resource with more is told so far."""

_ELEMENT = {"id", "extension"}


_Path = tuple[Any, str | int]
"""Where an element stands: the path of what it stands in (None for the whole), and its name or its place in a list."""


def _told(path: _Path) -> str:
    outer, step = path
    if outer is None:
        return str(step)
    return f"{_told(outer)}[{step}]" if isinstance(step, int) else f"{_told(outer)}.{step}"


class _Full(Exception):
    pass


class _Walk:
    """A walk through one resource: its issues, how deep it is, and in which ``resource``: itself, one that it contains, an entry's.

    ``root`` is the one that ``resource`` is contained in, or else ``resource`` itself: references by ``#`` point into it.
    """

    __slots__ = ("depth", "issues", "resource", "root")

    def __init__(self) -> None:
        self.issues: list[Issue] = []
        self.depth = 0
        self.resource: Mapping[str, Any] = {}
        self.root: Mapping[str, Any] = {}

    def add(self, code: str, text: str, path: _Path) -> None:
        told = _told(path)
        self.issues.append(Issue(code, f"{told} {text}.", expression=told))
        if len(self.issues) >= MOST_ISSUES:
            raise _Full


class _Element:
    """One element, ready to be checked."""

    __slots__ = ("array", "check", "choice", "codes", "name", "nested", "resource", "targets", "type")

    def __init__(self, element: ElementDef) -> None:
        self.name = element.name
        self.type = element.type
        self.array = element.array
        self.choice = element.choice
        self.codes = element.codes
        self.check: Check | None = CHECKS.get(element.type)
        self.resource = element.type == "Resource"
        self.targets = frozenset(element.targets) if element.type == "Reference" and element.targets else None
        self.nested: _Type | None = None

    def admits(self, item: Any) -> bool:
        """Tell whether the item is a primitive value with nothing wrong about it, as most are."""
        check = self.check
        return check is not None and check(item) is None and (self.codes is None or item in self.codes)


class _Type:
    """One type: its elements by property, and what must be there."""

    __slots__ = ("choices", "elements", "is_resource", "judge", "name", "required")

    def __init__(self, definitions: Definitions, name: str, choices_of_all: frozenset[str]) -> None:
        table = definitions.types[name]
        self.name = name
        self.elements = {key: _Element(element) for key, element in table.elements.items()}
        self.is_resource = table.kind == "resource"
        self.judge = build_judge(table.invariants, choices_of_all)
        needed: dict[str, list[str]] = {}
        choices: dict[str, list[str]] = {}
        for element in table.elements.values():
            label = element.choice or element.name
            if element.choice:
                choices.setdefault(label, []).append(element.name)
            if element.minimum:
                needed.setdefault(label, []).append(element.name)
        self.required = tuple(
            (label, tuple(n for each in names for n in (each, f"_{each}"))) for label, names in needed.items()
        )
        self.choices = frozenset(choices)


def build_validator(definitions: Definitions) -> Callable[[str, Mapping[str, Any]], Sequence[Issue]]:
    """Return the function from expected type and parsed resource to its issues (none: it is valid)."""
    validator = _Validator(definitions)
    return validator.validate


class _Validator:
    """Walks a resource beside the tables."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._types: dict[str, _Type] = {}
        self._resources = frozenset(definitions.resource_types)
        elements = (element for table in definitions.types.values() for element in table.elements.values())
        self._choices = frozenset(each.choice.removesuffix("[x]") for each in elements if each.choice)

    def validate(self, expected: str, tree: Mapping[str, Any]) -> Sequence[Issue]:
        walk = _Walk()
        try:
            self._resource(tree, expected, (None, expected), walk)
        except _Full:
            return walk.issues
        return walk.issues

    def _type(self, name: str) -> _Type:
        made = self._types.get(name)
        if made is None:
            made = self._types[name] = _Type(self._definitions, name, self._choices)
        return made

    def _resource(self, tree: Any, expected: str | None, path: _Path, walk: _Walk, *, contained: bool = False) -> None:
        if not isinstance(tree, dict):
            walk.add("structure", "must be a resource: a JSON object", path)
            return
        name = tree.get("resourceType")
        if not isinstance(name, str) or name not in self._resources:
            walk.add("structure", f"is of no resource type of R4: {str(name)[:64]!r}", path)
            return
        if expected is not None and name != expected:
            walk.add("structure", f"must be of the type {expected}, not {name}", path)
            return
        if contained and "contained" in tree:
            walk.add("invariant", "must not contain resources itself (dom-2)", (path, "contained"))
        around = walk.resource, walk.root
        walk.resource, walk.root = tree, walk.root if contained else tree
        self._object(tree, self._type(name), path, walk)
        walk.resource, walk.root = around

    def _object(self, value: Mapping[str, Any], kind: _Type, path: _Path, walk: _Walk) -> None:
        elements, seen = kind.elements, None
        walk.depth += 1
        if walk.depth >= DEEPEST:
            walk.add("structure", "is nested too deeply", (None, str(walk.root["resourceType"])))
            raise _Full
        for name, item in value.items():
            element = elements.get(name)
            if element is None:
                if not (kind.is_resource and name == "resourceType"):
                    self._sibling(name, item, value, kind, path, walk)
                    seen = self._chosen(elements.get(name.removeprefix("_")), seen, path, walk)
                continue
            if element.choice is not None:
                seen = self._chosen(element, seen, path, walk)
            if element.array:
                self._array(item, element, value, (path, name), walk)
            elif not element.admits(item):
                self._item(item, element, (path, name), walk)
        self._whole(value, kind, path, walk)
        walk.depth -= 1

    def _whole(self, value: Mapping[str, Any], kind: _Type, path: _Path, walk: _Walk) -> None:
        """Check what no element says alone: that nothing is missing, and the rule of the type."""
        for label, names in kind.required:
            if value.keys().isdisjoint(names):
                walk.add("required", "is missing", (path, label.removesuffix("[x]")))
        if kind.judge is not None:
            for text in kind.judge(value, walk.resource):
                walk.add("invariant", f"breaks {text}", path)

    def _chosen(
        self, element: _Element | None, seen: dict[str, str] | None, path: _Path, walk: _Walk
    ) -> dict[str, str] | None:
        """Return which element of each choice there is, this one among them; what lies beside a primitive is of its element."""
        if element is None or element.choice is None:
            return seen
        seen = seen or {}
        before = seen.setdefault(element.choice, element.name)
        if before != element.name:
            walk.add("structure", f"has both {before} and {element.name}: one is allowed", path)
        return seen

    def _array(
        self,
        items: Any,
        element: _Element,
        owner: Mapping[str, Any],
        path: _Path,
        walk: _Walk,
    ) -> None:
        if not isinstance(items, list):
            walk.add("structure", "must be a JSON array", path)
            return
        if not items:
            walk.add("structure", "must not be empty: leave it out", path)
        for place, item in enumerate(items):
            if item is None and element.check is not None:
                beside = owner.get(f"_{element.name}")
                if isinstance(beside, list) and place < len(beside) and beside[place] is not None:
                    continue
            self._item(item, element, (path, place), walk)

    def _item(self, item: Any, element: _Element, path: _Path, walk: _Walk) -> None:
        if element.check is not None:
            self._primitive(item, element, path, walk)
        elif element.resource:
            self._resource(item, None, path, walk, contained=element.name == "contained")
        elif not isinstance(item, dict):
            walk.add("structure", f"must be a JSON object ({element.type})", path)
        elif not item or item.keys() == {"id"}:
            walk.add("structure", "must not be empty: leave it out", path)
        else:
            nested = element.nested
            if nested is None:
                nested = element.nested = self._type(element.type)
            self._object(item, nested, path, walk)
            if element.type == "Reference":
                self._reference(item, element, path, walk)

    def _primitive(self, item: Any, element: _Element, path: _Path, walk: _Walk) -> None:
        check = element.check
        wrong = check(item) if check else None
        if wrong is not None:
            walk.add(
                "value" if item is not None else "structure", wrong if item is not None else "must not be null", path
            )
        elif element.codes is not None and item not in element.codes:
            walk.add("code-invalid", f"must be one of {', '.join(sorted(element.codes)[:20])}", path)

    def _reference(self, item: Mapping[str, Any], element: _Element, path: _Path, walk: _Walk) -> None:
        text = item.get("reference")
        if not isinstance(text, str):
            return
        if text.startswith("#"):
            if text != "#" and not _contains(walk.root, text[1:]):
                walk.add("invariant", f"points at {text[:64]!r}, which is not contained (ref-1)", path)
            return
        literal = parse_literal(text)
        if literal is None or literal.type not in self._resources:
            if literal is not None and literal.base is None:
                walk.add("value", f"points at no resource type of R4: {literal.type[:64]!r}", path)
            return
        if element.targets is not None and literal.type not in element.targets:
            walk.add("structure", f"must point at {', '.join(sorted(element.targets))}, not at {literal.type}", path)

    def _sibling(
        self,
        name: str,
        item: Any,
        owner: Mapping[str, Any],
        kind: _Type,
        path: _Path,
        walk: _Walk,
    ) -> None:
        """Check ``_name``, the id and extensions of a primitive. https://hl7.org/fhir/R4/json.html#primitive."""
        element = kind.elements.get(name[1:]) if name.startswith("_") else None
        if element is None or element.check is None:
            walk.add("structure", f"is not an element of {kind.name}", (path, name[:64]))
            return
        where = (path, name)
        if element.array != isinstance(item, list):
            walk.add("structure", "must be a JSON array" if element.array else "must be a JSON object", where)
            return
        parts = item if element.array else [item]
        values = owner.get(name[1:]) if element.array else [owner.get(name[1:])]
        if element.array and not parts:
            walk.add("structure", "must not be empty: leave it out", where)
        for place, part in enumerate(parts):
            if part is None and element.array and _has_value(values, place):
                continue
            if not isinstance(part, dict) or not part or not part.keys() <= _ELEMENT:
                walk.add("structure", "must be an object with id or extension", where)
            elif "extension" not in part and not _has_value(values, place):
                walk.add("invariant", "has neither a value nor an extension (ele-1)", where)
            else:
                self._object(part, self._type("Element"), where, walk)


def _has_value(values: Any, place: int) -> bool:
    return isinstance(values, list) and place < len(values) and values[place] is not None


def _contains(root: Mapping[str, Any], wanted: str) -> bool:
    contained = root.get("contained")
    return isinstance(contained, list) and any(
        isinstance(each, dict) and each.get("id") == wanted for each in contained
    )

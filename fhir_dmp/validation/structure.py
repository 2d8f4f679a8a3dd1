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


class _Found:
    """The issues of one resource, how deep the walk is in it, and in which resource: itself, one that it contains, an entry's."""

    __slots__ = ("depth", "issues", "resource")

    def __init__(self) -> None:
        self.issues: list[Issue] = []
        self.depth = 0
        self.resource: Mapping[str, Any] = {}

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
        found = _Found()
        try:
            self._resource(tree, expected, (None, expected), found, outer=None)
        except _Full:
            return found.issues
        return found.issues

    def _type(self, name: str) -> _Type:
        made = self._types.get(name)
        if made is None:
            made = self._types[name] = _Type(self._definitions, name, self._choices)
        return made

    def _resource(
        self, tree: Any, expected: str | None, path: _Path, found: _Found, outer: Mapping[str, Any] | None
    ) -> None:
        if not isinstance(tree, dict):
            found.add("structure", "must be a resource: a JSON object", path)
            return
        name = tree.get("resourceType")
        if not isinstance(name, str) or name not in self._resources:
            found.add("structure", f"is of no resource type of R4: {str(name)[:64]!r}", path)
            return
        if expected is not None and name != expected:
            found.add("structure", f"must be of the type {expected}, not {name}", path)
            return
        if outer is not None and "contained" in tree:
            found.add("invariant", "must not contain resources itself (dom-2)", (path, "contained"))
        around, found.resource = found.resource, tree
        self._object(tree, self._type(name), path, found, outer or tree)
        found.resource = around

    def _object(
        self, value: Mapping[str, Any], kind: _Type, path: _Path, found: _Found, root: Mapping[str, Any]
    ) -> None:
        elements, seen = kind.elements, None
        found.depth += 1
        if found.depth >= DEEPEST:
            found.add("structure", "is nested too deeply", (None, str(root["resourceType"])))
            raise _Full
        for name, item in value.items():
            element = elements.get(name)
            if element is None:
                if not (kind.is_resource and name == "resourceType"):
                    self._sibling(name, item, value, kind, path, found, root)
                continue
            if element.choice is not None:
                seen = self._chosen(element, seen, path, found)
            if element.array:
                self._array(item, element, value, (path, name), found, root)
            elif not element.admits(item):
                self._item(item, element, (path, name), found, root)
        self._whole(value, kind, path, found)
        found.depth -= 1

    def _whole(self, value: Mapping[str, Any], kind: _Type, path: _Path, found: _Found) -> None:
        """Check what no element says alone: that nothing is missing, and the rule of the type."""
        for label, names in kind.required:
            if value.keys().isdisjoint(names):
                found.add("required", "is missing", (path, label.removesuffix("[x]")))
        if kind.judge is not None:
            for text in kind.judge(value, found.resource):
                found.add("invariant", f"breaks {text}", path)

    def _chosen(self, element: _Element, seen: dict[str, str] | None, path: _Path, found: _Found) -> dict[str, str]:
        seen = seen or {}
        before = seen.setdefault(str(element.choice), element.name)
        if before != element.name:
            found.add("structure", f"has both {before} and {element.name}: one is allowed", path)
        return seen

    def _array(
        self,
        items: Any,
        element: _Element,
        owner: Mapping[str, Any],
        path: _Path,
        found: _Found,
        root: Mapping[str, Any],
    ) -> None:
        if not isinstance(items, list):
            found.add("structure", "must be a JSON array", path)
            return
        if not items:
            found.add("structure", "must not be empty: leave it out", path)
        for place, item in enumerate(items):
            if item is None and element.check is not None:
                beside = owner.get(f"_{element.name}")
                if isinstance(beside, list) and place < len(beside) and beside[place] is not None:
                    continue
            self._item(item, element, (path, place), found, root)

    def _item(self, item: Any, element: _Element, path: _Path, found: _Found, root: Mapping[str, Any]) -> None:
        if element.check is not None:
            self._primitive(item, element, path, found)
        elif element.resource:
            inner = root if element.name == "contained" else None
            self._resource(item, None, path, found, inner)
        elif not isinstance(item, dict):
            found.add("structure", f"must be a JSON object ({element.type})", path)
        elif not item or item.keys() == {"id"}:
            found.add("structure", "must not be empty: leave it out", path)
        else:
            nested = element.nested
            if nested is None:
                nested = element.nested = self._type(element.type)
            self._object(item, nested, path, found, root)
            if element.type == "Reference":
                self._reference(item, element, path, found, root)

    def _primitive(self, item: Any, element: _Element, path: _Path, found: _Found) -> None:
        check = element.check
        wrong = check(item) if check else None
        if wrong is not None:
            found.add(
                "value" if item is not None else "structure", wrong if item is not None else "must not be null", path
            )
        elif element.codes is not None and item not in element.codes:
            found.add("code-invalid", f"must be one of {', '.join(sorted(element.codes)[:20])}", path)

    def _reference(
        self, item: Mapping[str, Any], element: _Element, path: _Path, found: _Found, root: Mapping[str, Any]
    ) -> None:
        text = item.get("reference")
        if not isinstance(text, str):
            return
        if text.startswith("#"):
            if text != "#" and not any(
                isinstance(each, dict) and each.get("id") == text[1:] for each in root.get("contained", ())
            ):
                found.add("invariant", f"points at {text[:64]!r}, which is not contained (ref-1)", path)
            return
        literal = parse_literal(text)
        if literal is None or literal.type not in self._resources:
            if literal is not None and literal.base is None:
                found.add("value", f"points at no resource type of R4: {literal.type[:64]!r}", path)
            return
        if element.targets is not None and literal.type not in element.targets:
            found.add("structure", f"must point at {', '.join(sorted(element.targets))}, not at {literal.type}", path)

    def _sibling(
        self,
        name: str,
        item: Any,
        owner: Mapping[str, Any],
        kind: _Type,
        path: _Path,
        found: _Found,
        root: Mapping[str, Any],
    ) -> None:
        """Check ``_name``, the id and extensions of a primitive. https://hl7.org/fhir/R4/json.html#primitive."""
        element = kind.elements.get(name[1:]) if name.startswith("_") else None
        if element is None or element.check is None:
            found.add("structure", f"is not an element of {kind.name}", (path, name[:64]))
            return
        where = (path, name)
        if element.array != isinstance(item, list):
            found.add("structure", "must be a JSON array" if element.array else "must be a JSON object", where)
            return
        parts = item if element.array else [item]
        values = owner.get(name[1:]) if element.array else [owner.get(name[1:])]
        if element.array and not parts:
            found.add("structure", "must not be empty: leave it out", where)
        for place, part in enumerate(parts):
            if part is None and element.array and _has_value(values, place):
                continue
            if not isinstance(part, dict) or not part or not part.keys() <= _ELEMENT:
                found.add("structure", "must be an object with id or extension", where)
            elif "extension" not in part and not _has_value(values, place):
                found.add("invariant", "has neither a value nor an extension (ele-1)", where)
            else:
                self._object(part, self._type("Element"), where, found, root)


def _has_value(values: Any, place: int) -> bool:
    return isinstance(values, list) and place < len(values) and values[place] is not None

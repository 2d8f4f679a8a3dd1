"""FHIRPath Patch on a parsed resource. https://hl7.org/fhir/R4/fhirpatch.html.

Which property an element is kept in, and whether it repeats, stands in the definitions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from fhir_dmp.definitions.model import Definitions, ElementDef
from fhir_dmp.errors import Invalid, Unprocessable
from fhir_dmp.interactions.fhirpath import Place, places

MOST_OPERATIONS = 1000
_LAST_STEP = re.compile(r"(.+)\.([A-Za-z]\w*)\Z", re.DOTALL)
_PARTS: Mapping[str, tuple[str, ...]] = {
    "add": ("path", "name", "value"),
    "insert": ("path", "index", "value"),
    "delete": ("path",),
    "replace": ("path", "value"),
    "move": ("path", "source", "destination"),
}


def apply(parameters: Mapping[str, Any], tree: Mapping[str, Any], definitions: Definitions) -> dict[str, Any]:
    """Return the patched resource; the given one stays as it is.

    Raises ``Invalid`` for what is no FHIRPath Patch, ``Unprocessable`` for an operation that does not apply.
    """
    operations = parameters.get("parameter", [])
    if not isinstance(operations, list) or len(operations) > MOST_OPERATIONS:
        raise Invalid(f"A FHIRPath Patch has up to {MOST_OPERATIONS} operations.", expression="Parameters.parameter")
    document = _Document(_copy(tree), definitions)
    for place, operation in enumerate(operations):
        path = f"Parameters.parameter[{place}]"
        asked = _read(operation, path)
        try:
            _DO[asked["type"]](document, asked)
        except Unprocessable as error:
            raise Unprocessable(f"Operation {place}: {error}", expression=path) from None
    return document.tree


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(each) for key, each in value.items()}
    return [_copy(each) for each in value] if isinstance(value, list) else value


def _read(operation: Any, path: str) -> dict[str, Any]:
    """Return the parts of an operation by name; ``value`` stays the whole part, the others are their values."""
    if not isinstance(operation, Mapping) or operation.get("name") != "operation":
        raise Invalid("Each parameter of a FHIRPath Patch is called operation.", expression=path)
    parts = operation.get("part")
    if not isinstance(parts, list) or not all(isinstance(part, Mapping) for part in parts):
        raise Invalid("An operation consists of parts.", expression=path)
    asked: dict[str, Any] = {}
    for part in parts:
        asked[str(part.get("name"))] = part if part.get("name") == "value" else _value(part)
    needed = _PARTS.get(str(asked.get("type")))
    if needed is None:
        raise Invalid(f"The type of an operation is one of {', '.join(_PARTS)}.", expression=path)
    missing = [name for name in needed if asked.get(name) is None]
    if missing:
        raise Invalid(f"The operation {asked['type']} needs {', '.join(missing)}.", expression=path)
    for name in ("path", "name"):
        if name in needed and not isinstance(asked[name], str):
            raise Invalid(f"{name} must be a string.", expression=path)
    for name in ("index", "source", "destination"):
        if name in needed and (type(asked[name]) is not int or asked[name] < 0):
            raise Invalid(f"{name} must be an integer of 0 or more.", expression=path)
    return asked


def _value(part: Mapping[str, Any]) -> Any:
    return next((value for key, value in part.items() if key.startswith("value")), None)


class _Document:
    """A resource that is being patched, and the places that paths lead to."""

    def __init__(self, tree: dict[str, Any], definitions: Definitions) -> None:
        self.tree = tree
        self._definitions = definitions

    def find(self, path: str) -> list[Place]:
        """Return where the elements that the path chooses stand."""
        return [place for place in places(self.tree, path) if not self._is_beside(place)]

    def _is_beside(self, place: Place) -> bool:
        """Tell whether these are the extensions of a primitive (``_given``) that stands there itself."""
        at = next((number for number, step in enumerate(place) if str(step).startswith("_")), None)
        if at is None or len(place) - at > 2 or (len(place) - at == 2 and isinstance(place[-1], str)):
            return False
        return str(place[at])[1:] in self.at(place[:at])

    def one(self, path: str) -> Place:
        """Return where the one element that the path chooses stands."""
        places = self.find(path)
        if len(places) != 1:
            found = "nothing" if not places else f"{len(places)} elements"
            raise Unprocessable(f"{path[:200]!r} chooses {found}, and must choose one element.")
        return places[0]

    def list_at(self, path: str) -> tuple[Place, list[Any]]:
        """Return the list that the path chooses, and where it stands."""
        places = self.find(path)
        lists = {place[:-1] for place in places if place and isinstance(place[-1], int)}
        if len(lists) == 1 and len(places) == len(self.at(next(iter(lists)))):
            place = next(iter(lists))
            return place, self.at(place)
        last = _LAST_STEP.match(path)
        if places or last is None:
            raise Unprocessable(f"{path[:200]!r} chooses no list.")
        parent = self.one(last[1])
        name, element = self.element(parent, last[2], "")
        if not element.array:
            raise Unprocessable(f"{path[:200]!r} does not repeat.")
        return (*parent, name), self.at(parent).setdefault(name, [])

    def at(self, place: Place) -> Any:
        """Return what stands there."""
        node: Any = self.tree
        for step in place:
            node = node[step]
        return node

    def type_at(self, place: Place) -> str:
        """Return the type of the element there."""
        kind, node = str(self.tree.get("resourceType")), self.tree
        for step in place:
            node = node[step]  # type: ignore[index]
            if isinstance(step, str):
                kind = self.element_of(kind, step).type
            if kind == "Resource" and isinstance(node, Mapping):
                kind = str(node.get("resourceType"))
        return kind

    def element_of(self, kind: str, name: str) -> ElementDef:
        """Return the element that a property of a type is."""
        table = self._definitions.types.get(kind)
        if table is None or name not in table.elements:
            raise Unprocessable(f"{kind} has no element {name[:64]!r}.")
        return table.elements[name]

    def element(self, parent: Place, name: str, kind: str) -> tuple[str, ElementDef]:
        """Return the property that the element is kept in, and its definition; ``kind`` chooses among the types of a choice."""
        if not isinstance(self.at(parent), dict):
            raise Unprocessable("A primitive has no elements.")
        return self.element_in(self.type_at(parent), name, kind)

    def element_in(self, parent_type: str, name: str, kind: str) -> tuple[str, ElementDef]:
        """Return the property and the definition of an element of a type."""
        table = self._definitions.types.get(parent_type)
        if table is not None and name not in table.elements and f"{name}{kind}" in table.elements:
            name = f"{name}{kind}"
        return name, self.element_of(parent_type, name)

    def drop(self, place: Place) -> None:
        """Take out what stands there, and what is left empty by it."""
        parent, last = self.at(place[:-1]), place[-1]
        if isinstance(last, int):
            _both_lists(self, place[:-1], lambda items: items.pop(last))
        else:
            parent.pop(last)
            parent.pop(f"_{last}", None)
        if not parent and len(place) > 1:
            self.drop(place[:-1])


def _made(document: _Document, part: Mapping[str, Any], kind: str) -> Any:
    """Return the value of a part: as JSON has it, or an object of its parts for a type without a name."""
    if "part" not in part:
        value = part["resource"] if "resource" in part else _value(part)
        if value is None:
            raise Unprocessable("The value is empty.")
        return value
    parts = part["part"]
    if not isinstance(parts, list) or not all(isinstance(each, Mapping) for each in parts):
        raise Invalid("A value of parts is a list of them.")
    made: dict[str, Any] = {}
    for each in parts:
        name, element = document.element_in(kind, str(each.get("name")), _kind(each))
        value = _made(document, each, element.type)
        if element.array:
            made.setdefault(name, []).append(value)
        else:
            made[name] = value
    return made


def _kind(part: Mapping[str, Any]) -> str:
    """Return the datatype of a part's value as it stands in names (``Quantity``, ``DateTime``)."""
    return next((key.removeprefix("value") for key in part if key.startswith("value")), "")


def _add(document: _Document, asked: Mapping[str, Any]) -> None:
    parent = document.one(asked["path"])
    name, element = document.element(parent, asked["name"], _kind(asked["value"]))
    value = _made(document, asked["value"], element.type)
    node = document.at(parent)
    if element.array:
        place = (*parent, name)
        node.setdefault(name, [])
        _both_lists(document, place, lambda items: items.append(None))
        node[name][-1] = value
    elif name in node or (element.choice and _chosen(document, parent, element)):
        raise Unprocessable(f"{asked['name'][:64]} is there already: replace it.")
    else:
        node[name] = value


def _chosen(document: _Document, parent: Place, element: ElementDef) -> bool:
    stem = str(element.choice).removesuffix("[x]")
    kind = document.type_at(parent)
    return any(
        key.startswith(stem) and document.element_of(kind, key).choice == element.choice
        for key in document.at(parent)
        if not key.startswith("_") and key != "resourceType"
    )


def _insert(document: _Document, asked: Mapping[str, Any]) -> None:
    place, items = document.list_at(asked["path"])
    index = asked["index"]
    if index > len(items):
        raise Unprocessable(f"The index {index} is beyond the end of the list, {len(items)}.")
    value = _made(document, asked["value"], document.type_at(place))
    _both_lists(document, place, lambda each: each.insert(index, None))
    items[index] = value


def _delete(document: _Document, asked: Mapping[str, Any]) -> None:
    places = document.find(asked["path"])
    if len(places) > 1:
        raise Unprocessable(f"{asked['path'][:200]!r} chooses {len(places)} elements; one is deleted at a time.")
    if places == [()]:
        raise Unprocessable("A patch does not delete the resource.")
    for place in places:
        document.drop(place)


def _replace(document: _Document, asked: Mapping[str, Any]) -> None:
    place = document.one(asked["path"])
    if not place:
        raise Unprocessable("A patch does not replace the resource: update it.")
    value = _made(document, asked["value"], document.type_at(place))
    node, last = document.at(place[:-1]), place[-1]
    if isinstance(last, int):
        node[last] = value
        return
    element = document.element_of(document.type_at(place[:-1]), last)
    stem = str(element.choice).removesuffix("[x]") if element.choice else last
    name = f"{stem}{_kind(asked['value'])}" if element.choice else last
    if name != last:
        document.element_of(document.type_at(place[:-1]), name)
        node.pop(last)
        node.pop(f"_{last}", None)
    node[name] = value


def _move(document: _Document, asked: Mapping[str, Any]) -> None:
    place, items = document.list_at(asked["path"])
    source, destination = asked["source"], asked["destination"]
    if max(source, destination) >= len(items):
        raise Unprocessable(f"The list has {len(items)} items; there is no {max(source, destination)}.")
    _both_lists(document, place, lambda each: each.insert(destination, each.pop(source)))


def _both_lists(document: _Document, place: Place, do: Callable[[list[Any]], object]) -> None:
    """Do the same to a list and to the list of its primitives' extensions, which stand in step."""
    parent, name = document.at(place[:-1]), place[-1]
    items = parent[name]
    beside = parent.get(f"_{name}") if isinstance(name, str) else None
    if isinstance(beside, list):
        beside.extend([None] * (len(items) - len(beside)))
        items.extend([None] * (len(beside) - len(items)))
        do(beside)
        if not any(each is not None for each in beside):
            parent.pop(f"_{name}")
    do(items)


_DO: Mapping[str, Callable[[_Document, Mapping[str, Any]], None]] = {
    "add": _add,
    "insert": _insert,
    "delete": _delete,
    "replace": _replace,
    "move": _move,
}

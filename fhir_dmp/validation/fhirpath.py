"""FHIRPath as the invariants of R4 use it, compiled to functions over parsed JSON. https://hl7.org/fhirpath/N1/.

A collection is a list. An element that has no value, but an id or extensions, is that object (``_birthDate``). A choice is found by its stem.
Whatever ``%resource`` and ``%context`` lead to is the same for all items, and worked out once.

Each write is held to many of them: fhirpathpy, by which patches choose (``interactions.fhirpath``), takes 20 us for a short one,
this 1 (measured).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import zip_longest
from typing import Any

from msgspec import Struct, field

from fhir_dmp.fhir.fhirpath import Node, parse
from fhir_dmp.validation.fhirpath_functions import FUNCTIONS
from fhir_dmp.validation.fhirpath_operators import OPERATORS, Items, by_key


class Scene(Struct):
    """What an evaluation stands in: the resource, the element that it began at, and what was worked out of these."""

    resource: Any
    context: Any
    known: dict[Node, Items] = field(default_factory=dict)
    keys: dict[Node, AbstractSet[bytes]] = field(default_factory=dict)


Values = Callable[[Items, Scene], Items]
Truth = Callable[[Items, Scene], bool | None]
_VARIABLES = {"resource", "context"}
_CHOICE = "[x]"
_UCUM = "http://unitsofmeasure.org"


def compile_truth(expression: str, choices: AbstractSet[str]) -> Truth:
    """Return the function from a focus and its scene to what the expression says of it (None: nothing).

    ``choices`` are the stems of elements of several types (``value``). Raises ``ValueError`` for what lies outside of what is understood here.
    """
    return _truth(_marked(parse(expression), choices))


def _marked(node: Node, choices: AbstractSet[str]) -> Node:
    """Return the tree with a name of its own for each step that may lead to a choice: ``value`` becomes ``value[x]``."""
    inner = tuple(_marked(each, choices) if isinstance(each, tuple) else each for each in node)
    return (*inner[:2], f"{inner[2]}{_CHOICE}") if inner[:1] == ("child",) and inner[2] in choices else inner


def _truth(node: Node) -> Truth:  # noqa: PLR0911 - one line for each word of the language
    """Return a node's function to true, false or nothing; what is asked most often makes no collections."""
    match node:
        case ("binary", ("and" | "or" | "xor" | "implies") as operator, left, right):
            return _LOGIC[operator](_truth(left), _truth(right))
        case ("call", of, "not", ()):
            inner = _truth(of)
            return lambda items, scene: None if (found := inner(items, scene)) is None else not found
        case ("call", ("child", ("this",), name), "exists", ()):
            return _has(name)
        case ("call", ("child", ("this",), name), "empty", ()):
            has = _has(name)
            return lambda items, scene: not has(items, scene)
        case ("call", of, "exists", ()):
            values = _values(of)
            return lambda items, scene: bool(values(items, scene))
        case ("call", of, "empty", ()):
            values = _values(of)
            return lambda items, scene: not values(items, scene)
        case _:
            values = _values(node)
            return lambda items, scene: _as_truth(values(items, scene))


def _as_truth(items: Items) -> bool | None:
    if not items:
        return None
    return items[0] if len(items) == 1 and type(items[0]) is bool else True


def _and(left: Truth, right: Truth) -> Truth:
    def both(items: Items, scene: Scene) -> bool | None:
        first = left(items, scene)
        if first is False:
            return False
        second = right(items, scene)
        return False if second is False else None if first is None or second is None else True

    return both


def _or(left: Truth, right: Truth) -> Truth:
    def either(items: Items, scene: Scene) -> bool | None:
        first = left(items, scene)
        if first:
            return True
        second = right(items, scene)
        return True if second else None if first is None or second is None else False

    return either


def _xor(left: Truth, right: Truth) -> Truth:
    def one(items: Items, scene: Scene) -> bool | None:
        first, second = left(items, scene), right(items, scene)
        return None if first is None or second is None else first != second

    return one


def _implies(left: Truth, right: Truth) -> Truth:
    return _or(lambda items, scene: None if (found := left(items, scene)) is None else not found, right)


_LOGIC: dict[str, Callable[[Truth, Truth], Truth]] = {"and": _and, "or": _or, "xor": _xor, "implies": _implies}


def _has(name: str) -> Truth:
    """Return whether an item has the element, with a value or without one."""
    if name.endswith(_CHOICE):
        return lambda items, _: any(type(item) is dict and _property(item, name) is not None for item in items)
    beside = f"_{name}"

    def has(items: Items, scene: Scene) -> bool:
        del scene
        return any(type(item) is dict and (name in item or beside in item) for item in items)

    return has


def _property(item: dict[str, Any], name: str) -> str | None:
    """Return the property by which what may be a choice is there: ``valueQuantity`` for ``value[x]``, or ``value`` where it is none."""
    stem = name.removesuffix(_CHOICE)
    if stem in item or f"_{stem}" in item:
        return stem
    length = len(stem)
    for key in item:
        bare = key.removeprefix("_")
        if len(bare) > length and bare.startswith(stem) and bare[length].isupper():
            return bare
    return None


def _children(item: Any, name: str) -> Iterator[Any]:
    if type(item) is not dict:
        return
    if name.endswith(_CHOICE):
        name = _property(item, name) or name
    value, beside = item.get(name), item.get(f"_{name}")
    if type(value) is list or type(beside) is list:
        # the other one may be none: that is told by the structure, and here it counts as a list of itself
        for found, other in zip_longest(_listed(value), _listed(beside)):
            yield other if found is None else found
    else:
        yield beside if value is None else value


def _listed(value: Any) -> Items:
    return value if type(value) is list else [] if value is None else [value]


def _child(of: Node, name: str) -> Values:
    values = _values(of)
    if of == ("this",):  # a type's own name may begin a path: Appointment.status
        return lambda items, _: [
            each
            for item in items
            for each in (
                (item,)
                if type(item) is dict and item.get("resourceType") == name
                else (found for found in _children(item, name) if found is not None)
            )
        ]
    return lambda items, scene: [
        each for item in values(items, scene) for each in _children(item, name) if each is not None
    ]


def _values(node: Node) -> Values:
    """Return a node's function to a collection."""
    if _rests_on_a_variable(node):
        made = _made(node)

        def once(items: Items, scene: Scene) -> Items:
            if node not in scene.known:
                scene.known[node] = made(items, scene)
            return scene.known[node]

        return once
    return _made(node)


def _rests_on_a_variable(node: Node) -> bool:
    """Tell whether the node is the same for all items, and worth to be kept."""
    match node:
        case ("variable", name):
            return name in _VARIABLES
        case ("child", of, _):
            return _rests_on_a_variable(of)
        case ("call", of, _, arguments):
            return _rests_on_a_variable(of) and all(each[0] == "literal" for each in arguments)
        case ("binary", "&", left, ("literal", _)):
            return _rests_on_a_variable(left)
        case _:
            return False


def _made(node: Node) -> Values:  # noqa: C901, PLR0911, PLR0912 - one line for each word of the language
    match node:
        case ("literal", value):
            return lambda *_: [value]
        case ("this",):
            return lambda items, _: items
        case ("variable", "ucum"):
            return lambda *_: [_UCUM]
        case ("variable", "resource"):
            return lambda _, scene: [scene.resource]
        case ("variable", "context"):
            return lambda _, scene: [scene.context]
        case ("child", of, name):
            return _child(of, name)
        case ("binary", ("and" | "or" | "xor" | "implies"), _, _) | ("call", _, ("not" | "exists" | "empty"), ()):
            truth = _truth(node)
            return lambda items, scene: [] if (found := truth(items, scene)) is None else [found]
        case ("binary", operator, left, right) if operator in OPERATORS:
            return _operated(OPERATORS[operator], _values(left), _values(right))
        case ("call", of, ("is" | "ofType" | "as") as name, (("child", ("this",), kind),)):
            return _operated(OPERATORS["is" if name == "is" else "as"], _values(of), lambda *_: [kind])
        case ("call", of, "intersect", (other,)):
            return _intersected(_values(of), other)
        case ("call", of, name, arguments) if name in FUNCTIONS:
            return _called(FUNCTIONS[name], _values(of), [_values(each) for each in arguments])
        case ("call", of, name, (criteria,)) if name in _ITERATORS:
            return _iterated(_ITERATORS[name], _values(of), criteria)
        case ("call", of, "iif", (asked, then, *otherwise)):
            return _chosen_of(_values(of), _truth(asked), _values(then), _values(otherwise[0]) if otherwise else None)
        case _:
            raise ValueError(f"{node!r} is not understood")


def _operated(operator: Callable[[Items, Items], Items], left: Values, right: Values) -> Values:
    return lambda items, scene: operator(left(items, scene), right(items, scene))


def _called(function: Callable[..., Items], of: Values, arguments: Sequence[Values]) -> Values:
    return lambda items, scene: function(of(items, scene), *(each(items, scene) for each in arguments))


def _chosen_of(of: Values, asked: Truth, then: Values, otherwise: Values | None) -> Values:
    def choose(items: Items, scene: Scene) -> Items:
        focus = of(items, scene)
        if asked(focus, scene):
            return then(focus, scene)
        return otherwise(focus, scene) if otherwise else []

    return choose


def _intersected(of: Values, other: Node) -> Values:
    """Return what finds items among others; those of a variable are told apart once, and not for each item."""
    others, kept = _values(other), ("keys", other) if _rests_on_a_variable(other) else None

    def intersect(items: Items, scene: Scene) -> Items:
        keys = scene.keys.get(kept) if kept else None
        if keys is None:
            keys = by_key(others(items, scene)).keys()
            if kept:
                scene.keys[kept] = keys
        return [item for key, item in by_key(of(items, scene)).items() if key in keys]

    return intersect


def _iterated(of_each: Callable[[Items, Values, Truth, Scene], Items], of: Values, criteria: Node) -> Values:
    values, truth = _values(criteria), _truth(criteria)
    return lambda items, scene: of_each(of(items, scene), values, truth, scene)


def _where(items: Items, _: Values, truth: Truth, scene: Scene) -> Items:
    return [item for item in items if truth([item], scene)]


def _all(items: Items, _: Values, truth: Truth, scene: Scene) -> Items:
    return [all(truth([item], scene) for item in items)]


def _select(items: Items, values: Values, _: Truth, scene: Scene) -> Items:
    return [each for item in items for each in values([item], scene)]


def _exists(items: Items, _: Values, truth: Truth, scene: Scene) -> Items:
    return [any(truth([item], scene) for item in items)]


_ITERATORS: dict[str, Callable[[Items, Values, Truth, Scene], Items]] = {
    "all": _all,
    "exists": _exists,
    "select": _select,
    "where": _where,
}

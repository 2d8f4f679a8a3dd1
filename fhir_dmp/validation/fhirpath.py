"""FHIRPath as the invariants of R4 use it, compiled to functions over parsed JSON. https://hl7.org/fhirpath/N1/.

A collection is a list. An element that has no value, but an id or extensions, is that object (``_birthDate``). A choice is found by its stem.
Whatever ``%resource`` and ``%context`` lead to is the same for all items, and worked out once.

Each write is held to many of them: fhirpathpy, by which patches choose (``interactions.fhirpath``), takes 20 us for a short one,
this 1 (measured).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from itertools import zip_longest
from typing import Any

from msgspec import Struct, field

from fhir_dmp.fhir import codec
from fhir_dmp.fhir.dates import interval
from fhir_dmp.fhir.fhirpath import Node, parse

Items = list[Any]


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
        case ("binary", operator, left, right) if operator in _OPERATORS:
            return _operated(_OPERATORS[operator], _values(left), _values(right))
        case ("call", of, ("is" | "ofType" | "as") as name, (("child", ("this",), kind),)):
            return _operated(_OPERATORS["is" if name == "is" else "as"], _values(of), lambda *_: [kind])
        case ("call", of, "intersect", (other,)):
            return _intersected(_values(of), other)
        case ("call", of, name, arguments) if name in _FUNCTIONS:
            return _called(_FUNCTIONS[name], _values(of), [_values(each) for each in arguments])
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
            keys = _by_key(others(items, scene)).keys()
            if kept:
                scene.keys[kept] = keys
        return [item for key, item in _by_key(of(items, scene)).items() if key in keys]

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


def _equals(left: Items, right: Items) -> Items:
    if not left or not right:
        return []
    return [len(left) == len(right) and all(map(_same, left, right))]


def _same(left: Any, right: Any) -> bool:
    first, second = _number(left), _number(right)
    if first is not None and second is not None:
        return first == second
    return type(left) is type(right) and bool(left == right)


def _number(value: Any) -> Decimal | None:
    return value if isinstance(value, Decimal) else codec.decimal(value)


def _differs(left: Items, right: Items) -> Items:
    return [not found for found in _equals(left, right)]


def _compared(holds: Callable[[Any, Any], bool]) -> Callable[[Items, Items], Items]:
    """Return the comparison of single values; what cannot be compared is not held against anybody."""

    def compare(left: Items, right: Items) -> Items:
        if len(left) != 1 or len(right) != 1:
            return []
        first, second = _ends(left[0]), _ends(right[0])
        if first is None or second is None or first[2] != second[2]:
            return [True]
        return [holds(first, second)]

    return compare


_End = tuple[Any, Any, Any]


def _ends(value: Any) -> _End | None:
    """Return the least and the greatest that a value may be, and what it is comparable with: a date of some precision is a span."""
    number = _number(value)
    if number is not None:
        return number, number, "number"
    if isinstance(value, dict):
        number = codec.decimal(value.get("value"))
        unit = tuple(value.get(each) for each in ("system", "code", "unit"))
        return None if number is None or "comparator" in value else (number, number, unit)
    try:
        low, high = interval(value) if isinstance(value, str) else (0, 0)
    except ValueError:
        return None
    return (low, high - 1, "date") if high else None


def _concatenated(left: Items, right: Items) -> Items:
    return ["".join(str(each) for items in (left, right) for each in items)]


def _added(left: Items, right: Items) -> Items:
    first, second = (_number(items[0]) if items else None for items in (left, right))
    return [] if first is None or second is None else [first + second]


def _union(left: Items, right: Items) -> Items:
    return list(_by_key([*left, *right]).values())


def _by_key(items: Iterable[Any]) -> dict[bytes, Any]:
    """Return the items, each once, by what tells them apart."""
    return {codec.dumps(str(item) if isinstance(item, Decimal) else item): item for item in items}


def _is_in(left: Items, right: Items) -> Items:
    return [any(_same(left[0], each) for each in right)] if left else []


def _is(left: Items, right: Items) -> Items:
    return [len(left) == 1 and _is_of(left[0], right[0])]


def _is_of(value: Any, name: str) -> bool:
    """Tell whether a value is of a type that an invariant asks for: a resource, a boolean, a decimal."""
    if isinstance(value, dict):
        return value.get("resourceType") == name
    return type(value) is bool if name == "Boolean" else name == "decimal" and _number(value) is not None


def _of_type(items: Items, named: Items) -> Items:
    return [item for item in items if _is_of(item, named[0])]


_OPERATORS: dict[str, Callable[[Items, Items], Items]] = {
    "=": _equals,
    "!=": _differs,
    "<": _compared(lambda left, right: left[0] < right[1]),
    ">": _compared(lambda left, right: left[1] > right[0]),
    "<=": _compared(lambda left, right: left[0] <= right[1]),
    ">=": _compared(lambda left, right: left[1] >= right[0]),
    "&": _concatenated,
    "+": _added,
    "|": _union,
    "in": _is_in,
    "contains": lambda left, right: _is_in(right, left),
    "is": _is,
    "as": _of_type,
}


def _text(items: Items) -> str | None:
    return items[0] if len(items) == 1 and isinstance(items[0], str) else None


def _of_text(function: Callable[..., Any]) -> Callable[..., Items]:
    """Return what asks a text, with texts for its arguments; what is no text has no parts."""

    def ask(items: Items, *arguments: Items) -> Items:
        texts = [_text(each) for each in (items, *arguments)]
        return [None not in texts and function(*texts)]

    return ask


def _descendants(items: Items) -> Items:
    found: Items = []
    left = list(items)
    while left:
        item = left.pop()
        inner = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        for each in inner:
            left.append(each)
            if not isinstance(each, list):
                found.append(each)
    return found


def _is_distinct(items: Items) -> Items:
    return [len(_by_key(items)) == len(items)]


def _to_integer(items: Items) -> Items:
    text = _text(items)
    return [Decimal(text)] if text is not None and re.fullmatch(r"[+-]?\d{1,18}", text, re.ASCII) else []


def _to_string(items: Items) -> Items:
    value = items[0] if len(items) == 1 else None
    return [] if value is None else [value.text if isinstance(value, codec.Number) else str(value)]


_FUNCTIONS: dict[str, Callable[..., Items]] = {
    "children": lambda items: [each for item in items if isinstance(item, dict) for each in item.values()],
    "combine": lambda items, other: [*items, *other],
    "contains": _of_text(lambda text, part: part in text),
    "count": lambda items: [Decimal(len(items))],
    "descendants": _descendants,
    "first": lambda items: items[:1],
    "hasValue": lambda items: [len(items) == 1 and not isinstance(items[0], dict)],
    "isDistinct": _is_distinct,
    "matches": _of_text(lambda text, pattern: re.search(pattern, text) is not None),
    "replaceMatches": _of_text(lambda text, pattern, by: re.sub(pattern, by, text)),
    "startsWith": _of_text(lambda text, part: text.startswith(part)),
    "tail": lambda items: items[1:],
    "toInteger": _to_integer,
    "toString": _to_string,
    "trace": lambda items, *_: items,
}
"""What works on a whole collection; the arguments are collections as well."""

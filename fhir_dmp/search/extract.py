"""From a resource to its index part, by functions compiled once for each type. https://hl7.org/fhir/R4/search.html.

Only elements that the resource has are looked at: the paths of all parameters are grouped by their first property. A parameter that
reads what others read already is not indexed (``search.names``). What cannot be understood indexes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fhir_dmp.definitions.model import Definitions, Path, SearchParam, Step
from fhir_dmp.errors import Unprocessable
from fhir_dmp.fhir.labels import codings_of, flags_of
from fhir_dmp.fhir.reference import parse_literal
from fhir_dmp.search.category import categoriser
from fhir_dmp.search.model import Params
from fhir_dmp.search.names import is_root, names_of, parts
from fhir_dmp.search.pairs import indexer as pair_indexer
from fhir_dmp.search.types import composite, date, near, number, quantity, reference, string, token, uri, words
from fhir_dmp.search.types.values import bounded
from fhir_dmp.settings import Limits
from fhir_dmp.store.port import Extract

MAIN_DATES = (
    "authoredon",
    "date",
    "occurrence",
    "onset-date",
    "recorded",
    "created",
    "sent",
    "whenhandedover",
    "authored-on",
    "effective-time",
    "effective",
    "authored",
    "started",
    "period",
    "collected",
    "datetime",
    "datewritten",
    "identified",
    "start",
    "start-date",
    "timestamp",
    "issued",
    "birthdate",
)
"""Date parameters by how well they tell when a thing was; the first that a type has orders a patient's rows (``ds``)."""

SKIPPED = frozenset({"_id", "_lastUpdated"})
"""Parameters that fields of the row itself answer."""

_Ranges = list[dict[str, Any]]
_Walk = Callable[[Any], list[Any]]
_Add = Callable[[Any, list[str], _Ranges], None]
_Plan = tuple[_Walk, _Add]


def main_date(params: Params) -> SearchParam | None:
    """Return the parameter of a type whose start is its main date."""
    dates = (params[code] for code in MAIN_DATES if code in params)
    return next((param for param in dates if param.type == "date" and not param.added), None)


def build_extract(definitions: Definitions, base_url: str, limits: Limits) -> Extract:
    """Return the function from type and parsed resource to index part; it compiles a type when it first meets it."""
    compiled: dict[str, _Type] = {}
    words_of = words.indexer(definitions, limits.words) if limits.words else None

    def extract(resource_type: str, tree: Mapping[str, Any]) -> Mapping[str, Any]:
        kind, params = compiled.get(resource_type), definitions.search_params[resource_type]
        if kind is None or kind.params is not params:
            kind = compiled[resource_type] = _Type(definitions, resource_type, params, base_url)
        index = kind.extract(tree)
        found = words_of(tree) if words_of else ()
        if found:
            index["w"] = found
        size = len(index["t"]) + len(index.get("r", ()))
        if size > limits.index_entries:
            raise Unprocessable(
                f"This resource would need {size} index entries; {limits.index_entries} is the most for one."
            )
        return index

    return extract


class _Type:
    """The compiled paths of one resource type."""

    def __init__(self, definitions: Definitions, resource_type: str, params: Params, base_url: str) -> None:
        self.params = params
        self._name = resource_type
        self._base_url = base_url
        self._is_compartment = resource_type in definitions.compartments
        self._members = {
            code: frozenset(each.members.get(resource_type, ())) for code, each in definitions.compartments.items()
        }
        self._plans: dict[str, list[_Plan]] = {}
        self._told: list[str] = []
        self._category = categoriser(definitions.categories, resource_type)
        self._pairs = pair_indexer(resource_type)
        homes = names_of(params).homes
        for param in params.values():
            if param.code not in SKIPPED:
                self._add(param, indexed=homes[param.code] == (param.code,))
        main = main_date(params)
        home = f"{resource_type}.{homes[main.code][0]}" if main else ""
        self._main = frozenset({home, home + date.LONG}) if home else frozenset()

    def _add(self, param: SearchParam, *, indexed: bool) -> None:
        """Plan the paths of a parameter; one that is kept under others' names still makes members of compartments."""
        inside = tuple(code for code, codes in self._members.items() if param.code in codes and not param.added)
        if indexed and any(path.present_is_true for path in param.paths):
            self._told.append(f"{self._name}.{param.code}=")
        for path in param.paths:
            if not path.steps:
                continue
            add = self._adder(param, path, inside) if indexed else self._member(param, path, inside)
            if add is not None:
                self._plans.setdefault(path.steps[0].name, []).append((_walk(path.steps, first_done=True), add))

    def _adder(self, param: SearchParam, path: Path, inside: tuple[str, ...]) -> _Add | None:
        name = f"{self._name}.{param.code}"
        if param.type == "composite":
            return None if is_root(path) else _entries(composite.indexer(name, parts(param), _from, self._base_url))
        if param.type == "reference":
            only = path.steps[-1].resolves_to
            return _tokens(reference.indexer(name, path, self._base_url, only, inside))
        if param.type == "special":
            return _spans(near.indexer(name))
        if param.type in _TOKENS:
            return _tokens(_TOKENS[param.type](name, path))
        return _spans(_SPANS[param.type](name, path))

    def _member(self, param: SearchParam, path: Path, inside: tuple[str, ...]) -> _Add | None:
        if param.type != "reference" or not inside:
            return None
        tokens = reference.indexer("", path, self._base_url, path.steps[-1].resolves_to, inside)
        return _tokens(lambda value: [each for each in tokens(value) if each[0] == "@"])

    def extract(self, tree: Mapping[str, Any]) -> dict[str, Any]:
        tokens: list[str] = [self._name]
        ranges: _Ranges = []
        plans = self._plans
        for name, value in tree.items():
            for walk, add in plans.get(name, ()):
                for item in walk(value):
                    add(item, tokens, ranges)
        if self._is_compartment and "id" in tree:
            tokens.append(f"@{self._name}/{tree['id']}")
        for told in self._told:  # whether a thing is there is known of every resource
            if told + "true" not in tokens and told + "false" not in tokens:
                tokens.append(told + "false")
        return self._index(tree, tokens, ranges)

    def _records(self, tree: Mapping[str, Any], tokens: list[str]) -> list[str]:
        """Return whose record holds the resource: the patients in whose compartment it is, and of a Patient its own, whomever it links to."""
        if self._name == "Patient" and "id" in tree:
            return [f"Patient/{tree['id']}"]
        return [each[1:] for each in tokens if each.startswith("@Patient/")]

    def _index(self, tree: Mapping[str, Any], tokens: list[str], ranges: _Ranges) -> dict[str, Any]:
        unique = list(dict.fromkeys(tokens))
        index: dict[str, Any] = {"t": unique + self._pairs(unique)}
        patients = self._records(tree, unique)
        if patients:
            index["pt"] = patients
        if ranges:
            index["r"] = ranges if len(ranges) == 1 else _unique(ranges)
            starts = [each["lo"] for each in ranges if each["k"] in self._main]
            if starts:
                index["ds"] = min(starts)
        labels = _labels(tree)
        if labels:
            index["sec"] = labels
        category = self._category(tree)
        if category is not None:
            index["ca"] = category
        return index


_TOKENS: Mapping[str, Callable[[str, Path], Callable[[Any], list[str]]]] = {
    "token": token.indexer,
    "string": string.indexer,
    "uri": uri.indexer,
}
_SPANS: Mapping[str, Callable[[str, Path], Callable[[Any], _Ranges]]] = {
    "date": date.indexer,
    "number": number.indexer,
    "quantity": quantity.indexer,
}


def _tokens(indexer: Callable[[Any], list[str]]) -> _Add:
    return lambda value, tokens, _: tokens.extend(indexer(value))


def _spans(indexer: Callable[[Any], _Ranges]) -> _Add:
    return lambda value, _, ranges: ranges.extend(indexer(value))


def _entries(indexer: Callable[[Any], composite.Entries]) -> _Add:
    def add(value: Any, tokens: list[str], ranges: _Ranges) -> None:
        found = indexer(value)
        tokens.extend(found.tokens)
        ranges.extend(found.ranges)

    return add


def _labels(tree: Mapping[str, Any]) -> list[str]:
    """Return the security labels as ``system|code``; those of visibility count whatever system a sender gave them."""
    if "securityLabel" not in tree and not (tree.get("meta") or {}).get("security"):
        return []
    told = [bounded(f"{each.get('system', '')}|{each.get('code', '')}") for each in codings_of(tree)]
    return list(dict.fromkeys([*told, *sorted(flags_of(tree))]))


def _unique(ranges: _Ranges) -> _Ranges:
    return list({(each["k"], each["lo"], each["hi"]): each for each in ranges}.values())


def _from(path: Path) -> _Walk:
    """Return the function from an element to what the path finds in it."""
    return _walk(path.steps, first_done=False)


def _walk(steps: tuple[Step, ...], *, first_done: bool) -> _Walk:
    """Return the function that follows the steps; ``first_done``: it is given the value of the first one's property."""
    first, rest = _keeper(steps[0]), [(step.name, _keeper(step)) for step in steps[1:]]
    if first_done and not rest:
        return first
    if first_done:
        return lambda value: _follow(first(value), rest)
    every = [(steps[0].name, first), *rest]
    return lambda value: _follow([value], every)


def _follow(found: list[Any], steps: list[tuple[str, _Walk]]) -> list[Any]:
    for name, keep in steps:
        below = [item[name] for item in found if isinstance(item, dict) and name in item]
        found = keep(below[0]) if len(below) == 1 else [kept for each in below for kept in keep(each)]
    return found


def _keeper(step: Step) -> _Walk:
    """Return the function from a property's value to the items that the step's conditions keep, lists flattened."""
    if step.index is None and step.where is None and step.resolves_to is None:
        return _items
    return lambda value: list(_kept(value, step))


def _items(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [item for item in value if item is not None] if None in value else value
    return [] if value is None else [value]


def _kept(value: Any, step: Step) -> Iterator[Any]:
    items = value if isinstance(value, list) else [value]
    if step.index is not None:
        items = items[step.index : step.index + 1]
    for item in items:
        if step.where is not None and not (isinstance(item, dict) and item.get(step.where[0]) == step.where[1]):
            continue
        if step.resolves_to is not None and not _points_at(item, step.resolves_to):
            continue
        if item is not None:
            yield item


def _points_at(item: Any, resource_type: str) -> bool:
    """Tell whether a reference names the type: by its URL, or by ``type`` where that does not tell."""
    if not isinstance(item, dict):
        return False
    literal = parse_literal(item.get("reference") or "")
    return literal.type == resource_type if literal else item.get("type") == resource_type

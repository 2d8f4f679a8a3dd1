"""From a resource to its index part, by functions compiled once for each type. https://hl7.org/fhir/R4/search.html.

Only elements that the resource has are looked at: the paths of all parameters are grouped by their first property, and a
value that several parameters read is taken apart once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fhir_dmp.definitions.model import Definitions, Path, SearchParam, Step
from fhir_dmp.errors import Unprocessable
from fhir_dmp.fhir.dates import of_value
from fhir_dmp.fhir.reference import parse_literal
from fhir_dmp.search.types import composite, date, number, quantity, reference, string, token, uri
from fhir_dmp.settings import Limits
from fhir_dmp.store.port import Extract

MAIN_DATES = (
    "date",
    "effective",
    "effective-time",
    "occurrence",
    "authoredon",
    "authored",
    "authored-on",
    "onset-date",
    "recorded-date",
    "recorded",
    "performed",
    "period",
    "started",
    "whenhandedover",
    "created",
    "sent",
    "issued",
    "asserted-date",
    "start-date",
    "birthdate",
)
"""Date parameters by how well they tell when a thing was; the first that a type has orders a patient's rows (``ds``)."""

_SKIPPED = frozenset({"_id", "_lastUpdated", "_text", "_content"})
_Entry = Callable[[Any, list[str], list[dict[str, Any]]], None]
_Plan = tuple[tuple[Step, ...], _Entry]


def main_date(definitions: Definitions, resource_type: str) -> SearchParam | None:
    """Return the parameter whose start is the type's main date."""
    params = definitions.search_params[resource_type]
    return next((params[code] for code in MAIN_DATES if code in params and params[code].type == "date"), None)


def build_extract(definitions: Definitions, base_url: str, limits: Limits) -> Extract:
    """Return the function from type and parsed resource to index part; it compiles a type when it first meets it."""
    compiled: dict[str, _Type] = {}

    def extract(resource_type: str, tree: Mapping[str, Any]) -> Mapping[str, Any]:
        kind = compiled.get(resource_type)
        if kind is None:
            kind = compiled[resource_type] = _Type(definitions, resource_type, base_url)
        index = kind.extract(tree)
        size = len(index["t"]) + len(index.get("r", ()))
        if size > limits.index_entries:
            raise Unprocessable(
                f"This resource would need {size} index entries; {limits.index_entries} is the most for one."
            )
        return index

    return extract


def walk(value: Any, steps: tuple[Step, ...]) -> list[Any]:
    """Return what the steps find below ``value``, lists flattened."""
    found = [value]
    for step in steps:
        found = [item for each in found for item in _step(each, step)]
    return found


def _step(value: Any, step: Step) -> Iterator[Any]:
    if not isinstance(value, Mapping):
        return
    below = value.get(step.name)
    if below is None:
        return
    yield from _kept(below, step)


def _kept(below: Any, step: Step) -> list[Any]:
    """Return the items that the step's conditions keep."""
    items = below if isinstance(below, list) else [below]
    if step.index is not None:
        items = items[step.index : step.index + 1]
    if step.where is not None:
        name, wanted = step.where
        items = [item for item in items if isinstance(item, Mapping) and item.get(name) == wanted]
    if step.resolves_to is not None:
        items = [item for item in items if _points_at(item, step.resolves_to)]
    return [item for item in items if item is not None]


def _points_at(item: Any, resource_type: str) -> bool:
    if not isinstance(item, Mapping):
        return False
    literal = parse_literal(item.get("reference") or "")
    return literal.type == resource_type if literal else item.get("type") == resource_type


class _Type:
    """The compiled paths of one resource type."""

    def __init__(self, definitions: Definitions, resource_type: str, base_url: str) -> None:
        self._name = resource_type
        self._plans: dict[str, list[_Plan]] = {}
        members = {code: set(each.members.get(resource_type, ())) for code, each in definitions.compartments.items()}
        for param in definitions.search_params[resource_type].values():
            if param.code not in _SKIPPED and param.type != "special":
                inside = tuple(code for code, codes in members.items() if param.code in codes)
                self._add(param, base_url, inside)
        main = main_date(definitions, resource_type)
        self._main = [(path.steps, path.type) for path in main.paths] if main else []
        self._is_compartment = resource_type in definitions.compartments

    def _add(self, param: SearchParam, base_url: str, compartments: tuple[str, ...]) -> None:
        name = f"{self._name}.{param.code}"
        for path in param.paths:
            entry = _entry(name, param, path, base_url, compartments)
            if path.steps:
                self._plans.setdefault(path.steps[0].name, []).append((path.steps, entry))

    def extract(self, tree: Mapping[str, Any]) -> dict[str, Any]:
        tokens: list[str] = [self._name]
        ranges: list[dict[str, Any]] = []
        plans = self._plans
        for name, value in tree.items():
            for steps, entry in plans.get(name, ()):
                for item in walk_from(value, steps):
                    entry(item, tokens, ranges)
        if self._is_compartment and "id" in tree:
            tokens.append(f"@{self._name}/{tree['id']}")
        return self._index(tree, tokens, ranges)

    def _index(self, tree: Mapping[str, Any], tokens: list[str], ranges: list[dict[str, Any]]) -> dict[str, Any]:
        unique = list(dict.fromkeys(tokens))
        index: dict[str, Any] = {"t": unique}
        patients = [each[1:] for each in unique if each.startswith("@Patient/")]
        if patients:
            index["pt"] = patients
        if ranges:
            index["r"] = _unique(ranges)
        starts = [span[0] for steps, kind in self._main for item in walk(tree, steps) for span in of_value(item, kind)]
        if starts:
            index["ds"] = min(starts)
        labels = [
            f"{each.get('system', '')}|{each.get('code', '')}" for each in (tree.get("meta") or {}).get("security", ())
        ]
        if labels:
            index["sec"] = labels
        return index


def walk_from(value: Any, steps: tuple[Step, ...]) -> list[Any]:
    """Return what the steps find, where ``value`` is already that of the first step's property."""
    found = _kept(value, steps[0])
    for step in steps[1:]:
        found = [item for each in found for item in _step(each, step)]
    return found


def _unique(ranges: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({(each["k"], each["lo"], each["hi"]): each for each in ranges}.values())


def _entry(name: str, param: SearchParam, path: Path, base_url: str, compartments: tuple[str, ...]) -> _Entry:  # noqa: PLR0911 - a table of the nine types
    """Return the function that adds one found value to the tokens or ranges."""
    kind, key, datatype = param.type, f"{name}=", path.type
    if kind == "token":
        if path.present_is_true:
            return lambda value, tokens, _: tokens.append(key + _presence(value))
        return lambda value, tokens, _: tokens.extend([key + form for form in token.forms(value, datatype)])
    if kind == "reference":
        marks = tuple(f"{key}{code}/" for code in compartments)
        return lambda value, tokens, _: _add_reference(name, value, datatype, base_url, marks, tokens)
    if kind == "string":
        return lambda value, tokens, _: tokens.extend(string.entries(name, value, datatype))
    if kind == "uri":
        return lambda value, tokens, _: tokens.extend(uri.entries(name, value))
    if kind == "date":
        return lambda value, _, ranges: ranges.extend(date.entries(name, value, datatype))
    if kind == "quantity":
        return lambda value, _, ranges: ranges.extend(quantity.entries(name, value, datatype))
    if kind == "number":
        return lambda value, _, ranges: ranges.extend(
            {"k": name, "lo": low, "hi": high} for low, high in number.points(value, datatype)
        )
    return lambda value, tokens, ranges: _add_composite(name, param, value, tokens, ranges)


def _presence(value: Any) -> str:
    return "false" if value is False else "true"


def _add_reference(
    name: str, value: Any, datatype: str, base_url: str, marks: tuple[str, ...], tokens: list[str]
) -> None:
    for entry in reference.entries(name, value, datatype, base_url):
        tokens.append(entry)
        if marks and entry.startswith(marks):
            tokens.append("@" + entry.partition("=")[2])


def _add_composite(name: str, param: SearchParam, value: Any, tokens: list[str], ranges: list[dict[str, Any]]) -> None:
    found = composite.entries(name, param, value, lambda item, path: walk(item, path.steps))
    tokens.extend(found.tokens)
    ranges.extend(found.ranges)

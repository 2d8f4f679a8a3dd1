"""Reads the tables that ``scripts/build_definitions.py`` wrote."""

from __future__ import annotations

import gzip
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

from fhir_dmp.definitions.bindings import bound_param
from fhir_dmp.definitions.model import (
    Categories,
    CategoryRule,
    Compartment,
    Component,
    Definitions,
    ElementDef,
    Invariant,
    Matrix,
    OperationDef,
    ParameterDef,
    Path,
    Rights,
    SearchParam,
    Step,
    Systems,
    TypeDef,
    Unsupported,
)


@cache
def load() -> Definitions:
    """Return all tables; they are read once for each process."""
    tables, rights = _read("r4"), _read("rights")
    bound = [tuple((system, codes and frozenset(codes)) for system, codes in each.items()) for each in tables["codes"]]
    types = {name: _type(name, table, bound) for name, table in tables["types"].items()}
    return Definitions(
        version=tables["version"],
        resource_types=tuple(tables["resources"]),
        types=types,
        search_params={
            name: {param[0]: bound_param(_param(param), name, types) for param in params}
            for name, params in tables["params"].items()
        },
        compartments={
            code: Compartment(code, {name: tuple(params) for name, params in members.items()})
            for code, members in tables["compartments"].items()
        },
        unsupported=tuple(Unsupported(*each) for each in tables["unsupported"]),
        operations=tuple(map(_operation, tables["operations"])),
        matrix=_matrix(rights["matrix"]),
        categories=_categories(rights["categories"]),
    )


def _read(name: str) -> dict[str, Any]:
    packed = files("fhir_dmp.definitions").joinpath(f"{name}.json.gz").read_bytes()
    tables: dict[str, Any] = msgspec.json.decode(gzip.decompress(packed))
    return tables


def _matrix(table: dict[str, Any]) -> Matrix:
    def rights(row: dict[str, Any]) -> Rights:
        return Rights(tuple(row["read"]), tuple(row["write"]))

    return Matrix(
        table["version"],
        {row["profession"]: rights(row) for row in table["professions"]},
        {row["role"]: rights(row) for row in table["systems"]},
        {row.get("specialty") or row["structure"]: row["emergency"] for row in table["explicit"]},
    )


def _categories(table: dict[str, Any]) -> Categories:
    rules: dict[str, tuple[CategoryRule, ...]] = {}
    for each in table["by_code"]:
        rule = CategoryRule(each["element"], each.get("system"), each["codes"])
        rules[each["type"]] = (*rules.get(each["type"], ()), rule)
    return Categories(table["types"], rules)


def _operation(table: dict[str, Any]) -> OperationDef:
    parameters = tuple(map(_parameter, table["parameters"]))
    return OperationDef(
        table["code"], table["url"], frozenset(table["levels"]), tuple(table["types"]), table["affects"], parameters
    )


def _parameter(table: dict[str, Any]) -> ParameterDef:
    maximum = None if table["max"] < 0 else table["max"]
    parts = tuple(map(_parameter, table["parts"]))
    return ParameterDef(table["name"], table["use"], table["type"], table["min"], maximum, parts)


def _type(name: str, table: dict[str, Any], bound: list[Systems]) -> TypeDef:
    elements = {element[0]: _element(element, bound) for element in table["elements"]}
    return TypeDef(name, table["kind"], elements, tuple(Invariant(*each) for each in table.get("rules", ())))


def _element(element: list[Any], bound: list[Systems]) -> ElementDef:
    name, kind, minimum, maximum, array, choice, place, required, targets, summary = element
    systems = () if place is None else bound[place]
    return ElementDef(
        name,
        kind,
        minimum,
        None if maximum < 0 else maximum,
        array,
        choice,
        _allowed(systems) if required else None,
        tuple(targets),
        summary,
        systems,
    )


def _allowed(systems: Systems) -> frozenset[str] | None:
    """Return the codes that a required binding leaves, or None where it names a system and not each of its codes."""
    lists = [codes for _, codes in systems if codes is not None]
    return frozenset().union(*lists) if len(lists) == len(systems) else None


def _param(param: list[Any]) -> SearchParam:
    code, kind, url, paths, targets, components, added = param
    parts = tuple(Component(part[0], part[1], tuple(map(_path, part[2]))) for part in components)
    return SearchParam(code, kind, url, tuple(map(_path, paths)), tuple(targets), parts, added=added)


def _path(path: list[Any]) -> Path:
    steps, kind, present = path
    return Path(tuple(map(_step, steps)), kind, present)


def _step(step: dict[str, Any]) -> Step:
    where = step.get("where")
    return Step(step["name"], tuple(where) if where else None, step.get("resolves_to"), step.get("index"))

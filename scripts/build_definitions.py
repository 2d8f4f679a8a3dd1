#!/usr/bin/env python3
"""Build the tables that drive the server from the official R4 definitions and from ``profiles/``.

``build_definitions.py`` writes ``fhir_dmp/definitions/*.json.gz``; with ``--check`` it writes nothing and fails if the committed
files are not what the sources give.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import lzma
import sys
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from fhir_dmp.definitions.compiler import COMMON, Compiler, Element, UnsupportedError
from fhir_dmp.definitions.model import Path as ElementPath
from fhir_dmp.definitions.model import SearchParam, Step
from fhir_dmp.definitions.units import Atoms, Term, evaluate

ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "profiles" / "hl7.fhir.r4.core"
OWN = ROOT / "profiles" / "search-parameters"
LOGGED = ("AuditEvent",)
"""Types that are kept in the log, which has an index of its own: what is added to them is there at once."""

OPERATIONS = ROOT / "profiles" / "operations"
MATRIX = ROOT / "profiles" / "matrix"
UCUM = ROOT / "profiles" / "ucum" / "ucum-essence.xml"
TARGETS = ROOT / "fhir_dmp" / "definitions"
_PREFIX = "http://hl7.org/fhir/StructureDefinition/"
_SYSTEM_TYPE = "http://hl7.org/fhirpath/System."
_MOST_CODES = 400

Json = dict[str, Any]


def main() -> int:
    """Build or check; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="fail if the committed tables are not what the sources give"
    )
    check = parser.parse_args().check
    stale = False
    for name, tables in {"r4": build(), "units": units(), "terminology": terminology(), "rights": rights()}.items():
        target, built = TARGETS / f"{name}.json.gz", pack(tables)
        if check and not (target.exists() and target.read_bytes() == built):
            print(f"{target.relative_to(ROOT)} is out of step: run scripts/build_definitions.py")
            stale = True
        elif not check:
            target.write_bytes(built)
            print(f"wrote {target.relative_to(ROOT)}: {len(built)} bytes")
    if check and not stale:
        print("definitions are in step")
    return 1 if stale else 0


def pack(tables: Json) -> bytes:
    """Return the tables as bytes that depend on nothing else."""
    text = json.dumps(tables, separators=(",", ":"), ensure_ascii=False, sort_keys=True).encode()
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, filename="") as file:
        file.write(text)
    return packed.getvalue()


def read(name: str) -> list[Json]:
    """Return the resources of one official bundle."""
    with lzma.open(CORE / f"{name}.json.xz") as file:
        return [entry["resource"] for entry in json.load(file)["entry"]]


def build() -> Json:
    """Return all tables."""
    structures = [
        each
        for each in [*read("profiles-types"), *read("profiles-resources")]
        if each["resourceType"] == "StructureDefinition" and each.get("derivation") != "constraint"
    ]
    codes = Codes([*read("valuesets"), *read("v3-codesystems")])
    types: dict[str, Json] = {}
    for structure in structures:
        if structure["kind"] in ("complex-type", "resource"):
            types.update(type_tables(structure, codes))
    resources = sorted(each["name"] for each in structures if each["kind"] == "resource" and not each["abstract"])
    params, unsupported = search_tables(resources, types)
    return {
        "version": "4.0.1",
        "resources": resources,
        "types": types,
        "codes": codes.tables,
        "params": params,
        "compartments": compartments(),
        "operations": operations(),
        "unsupported": unsupported,
    }


class Codes:
    """The codes of bindings by their system, each value set kept once; null stands for all codes of a system."""

    def __init__(self, resources: list[Json]) -> None:
        self.tables: list[dict[str, list[str] | None]] = []
        self._by_url = {each["url"]: each for each in resources if "url" in each}
        self._places: dict[str, int | None] = {}

    def place(self, canonical: str) -> int | None:
        """Return where the codes of a value set stand in ``tables``, or None if it names no system."""
        url = canonical.partition("|")[0]
        if url not in self._places:
            found = {system: None if codes is None else sorted(codes) for system, codes in self._expand(url).items()}
            size = sum(len(codes) for codes in found.values() if codes)
            self._places[url] = len(self.tables) if found else None
            if found:
                self.tables.append(found if size <= _MOST_CODES else dict.fromkeys(found))
        return self._places[url]

    def _expand(self, url: str) -> dict[str, set[str] | None]:
        value_set = self._by_url.get(url)
        if value_set is None or value_set["resourceType"] != "ValueSet":
            return {}
        compose, found = value_set.get("compose", {}), dict[str, set[str] | None]()
        for include in compose.get("include", []):
            for system, codes in self._include(include).items():
                have = found.get(system, set())
                found[system] = None if codes is None or have is None else have | codes
        return dict.fromkeys(found) if "exclude" in compose else found

    def _include(self, include: Json) -> dict[str, set[str] | None]:
        if "valueSet" in include:
            parts = [self._expand(each.partition("|")[0]) for each in include["valueSet"]]
            return parts[0] if len(parts) == 1 and "system" not in include else dict.fromkeys(parts[0])
        url = include["system"]
        if "filter" in include:
            return {url: None}
        if "concept" in include:
            return {url: {each["code"] for each in include["concept"]}}
        system = self._by_url.get(url)
        whole = system is not None and system.get("content") == "complete"
        return {url: set(_concepts(system.get("concept", []))) if system is not None and whole else None}


def _concepts(concepts: list[Json]) -> Iterator[str]:
    for concept in concepts:
        yield concept["code"]
        yield from _concepts(concept.get("concept", []))


def type_tables(structure: Json, codes: Codes) -> dict[str, Json]:
    """Return the tables of a type and of the backbone elements within it, by name."""
    name = structure["name"]
    tables: dict[str, Json] = {
        name: {"kind": "resource" if structure["kind"] == "resource" else "complex-type", "elements": []}
    }
    elements = structure["snapshot"]["element"]
    parents = {each["path"].rpartition(".")[0] for each in elements}
    for element in elements[1:]:
        parent, _, leaf = element["path"].rpartition(".")
        if element["max"] == "0":
            continue
        if parent not in tables:
            tables[parent] = {"kind": "backbone", "elements": []}
        tables[parent]["elements"].extend(_elements(element, leaf, element["path"] in parents, codes))
    for path, rule in _invariants(elements, tables):
        tables[path].setdefault("rules", []).append(rule)
    if structure["kind"] == "resource":
        for element in tables[name]["elements"]:
            if element[0] == "id":
                element[1] = "id"
    return tables


ELSEWHERE = frozenset({"ele-1", "ext-1", "ref-1", "txt-1", "dom-2"})
"""Invariants that stand at nearly every element, and that the validator knows by itself (ext-1: at Extension alone)."""

UNCHECKED = frozenset({"ctm-1", "dom-3", "dom-4", "ig-1", "ig-2", "txt-2"})
"""Checked by nobody: ``ctm-1`` follows references, the work of ``ig`` grows with the square of a resource, published examples break three."""


def _invariants(elements: list[Json], tables: Mapping[str, Json]) -> Iterator[tuple[str, list[str]]]:
    """Yield the type or backbone that holds a rule, and the rule: key, words, FHIRPath.

    A rule on an element of some type is one of what it stands in, for all of these elements.
    """
    for element in elements:
        path = element["path"]
        for each in element.get("constraint", ()):
            own = each["key"] not in ELSEWHERE or (each["key"], path) == ("ext-1", "Extension")
            if not own or each["key"] in UNCHECKED or each["severity"] != "error":
                continue
            if path in tables:
                yield path, [each["key"], each["human"], each["expression"]]
            else:
                parent, _, leaf = path.rpartition(".")
                expression = f"{leaf.removesuffix('[x]')}.all({each['expression']})"
                yield parent, [each["key"], each["human"], expression]


def _elements(element: Json, leaf: str, has_children: bool, codes: Codes) -> Iterator[list[Any]]:  # noqa: FBT001 - a fact of the element
    """Yield name, type, min, max (-1: any), array, choice, place of the codes, whether no others are allowed, targets, summary."""
    maximum = -1 if element["max"] == "*" else int(element["max"])
    array = element.get("base", element)["max"] != "1"
    summary = bool(element.get("isSummary"))
    choice = leaf if leaf.endswith("[x]") else None
    required = element.get("binding", {}).get("strength") == "required"
    for kind, place, targets in _types(element, has_children, codes):
        stem = leaf.removesuffix("[x]")
        name = stem + kind[0].upper() + kind[1:] if choice else leaf
        yield [
            name,
            kind,
            element["min"],
            maximum,
            array,
            choice,
            place,
            required and place is not None,
            targets,
            summary,
        ]


def _types(element: Json, has_children: bool, codes: Codes) -> Iterator[tuple[str, int | None, list[str]]]:  # noqa: FBT001 - a fact of the element
    if "contentReference" in element:
        yield element["contentReference"].lstrip("#"), None, []
        return
    if has_children:
        yield element["path"], None, []
        return
    for each in element["type"]:
        kind = _kind(each)
        place = None
        if kind == "code" and "valueSet" in element.get("binding", {}):
            place = codes.place(element["binding"]["valueSet"])
        targets = sorted({url.removeprefix(_PREFIX) for url in each.get("targetProfile", [])})
        yield kind, place, [] if "Resource" in targets else targets


def _kind(kind: Json) -> str:
    code: str = kind["code"]
    if code.startswith(_SYSTEM_TYPE):
        stated = {each["url"]: each.get("valueUrl") for each in kind.get("extension", [])}
        return stated.get(_PREFIX + "structuredefinition-fhir-type") or "string"
    return code


def search_tables(resources: list[str], types: Mapping[str, Json]) -> tuple[dict[str, list[Any]], list[list[str]]]:
    """Return the parameters of each type, and those that cannot be compiled with their reason."""
    official = [each for each in read("search-parameters") if each["resourceType"] == "SearchParameter"]
    own = [json.loads(path.read_text()) for path in sorted(OWN.glob("*.json"))]
    definitions = sorted([*official, *own], key=lambda each: str(each["url"]))
    elements = {
        name: {element[0]: Element(element[0], element[1], element[5]) for element in table["elements"]}
        for name, table in types.items()
    }
    compiler = Compiler(elements, resources, {each["url"]: (each["code"], each["type"]) for each in definitions})
    params: dict[str, list[Any]] = {name: [] for name in resources}
    unsupported: list[list[str]] = []
    for definition in definitions:
        for base in definition["base"]:
            for resource in compiler.types_of(base):
                added = definition in own and resource not in LOGGED
                try:
                    params[resource].append(_row(compiler.param(definition, resource, added=added)))
                except UnsupportedError as reason:
                    unsupported.append(["*" if base in COMMON else resource, definition["code"], str(reason)])
    return params, [list(each) for each in sorted({tuple(each) for each in unsupported})]


def _row(param: SearchParam) -> list[Any]:
    """Return a parameter as it is kept."""
    parts = [[part.code, part.type, [_path(path) for path in part.paths]] for part in param.components]
    paths = [_path(path) for path in param.paths]
    return [param.code, param.type, param.url, paths, list(param.targets), parts, param.added]


def _path(path: ElementPath) -> list[Any]:
    return [[_step(step) for step in path.steps], path.type, path.present_is_true]


def _step(step: Step) -> Json:
    given = {"name": step.name, "where": step.where, "resolves_to": step.resolves_to, "index": step.index}
    return {key: value for key, value in given.items() if value is not None}


def terminology() -> Json:
    """Return the code systems that are there whole, each code with its parents, and what makes up each value set."""
    resources = [*read("valuesets"), *read("v3-codesystems")]
    systems = {
        each["url"]: _parents(each.get("concept", []), None)
        for each in resources
        if each["resourceType"] == "CodeSystem" and each.get("content") == "complete"
    }
    composed = {
        each["url"]: {key: _included(each["compose"][key]) for key in ("include", "exclude") if key in each["compose"]}
        for each in resources
        if each["resourceType"] == "ValueSet" and "compose" in each
    }
    return {"systems": systems, "sets": composed}


def _parents(concepts: list[Json], parent: str | None) -> dict[str, list[str]]:
    """Return each code's parents: the concept that it stands in, and those that say it is their child."""
    found: dict[str, list[str]] = {}
    for concept in concepts:
        found.setdefault(concept["code"], []).extend([parent] if parent else [])
        for prop in concept.get("property", []):
            if prop["code"] == "child":
                found.setdefault(prop["valueCode"], []).append(concept["code"])
        for code, parents in _parents(concept.get("concept", []), concept["code"]).items():
            found.setdefault(code, []).extend(parents)
    return found


def _included(parts: list[Json]) -> list[Json]:
    kept = ("system", "filter", "valueSet")
    return [
        {key: part[key] for key in kept if key in part}
        | ({"concept": [{"code": each["code"]} for each in part["concept"]]} if "concept" in part else {})
        for part in parts
    ]


class Units(dict[str, tuple[bool, Term]]):
    """The atoms of UCUM, each worked out from others when it is first needed."""

    def __init__(self, root: Any) -> None:
        super().__init__()
        self._elements = {each.get("Code"): each for each in root.iterfind("{*}unit")}
        for each in root.iterfind("{*}base-unit"):
            self[each.get("Code")] = (True, Term(Fraction(1), {each.get("Code"): 1}))
        self._atoms = Atoms(
            {each.get("Code"): Fraction(each.find("{*}value").get("value")) for each in root.iterfind("{*}prefix")},
            self,
        )
        self._within: set[str] = set()
        for code in self._elements:
            self.get(code)

    def __contains__(self, code: object) -> bool:
        return self.get(str(code)) is not None

    def get(self, code: str, default: Any = None) -> Any:
        """Return the unit; one that is being worked out is not there yet."""
        if code in self.keys():
            return self[code]
        element = self._elements.get(code)
        if element is None or code in self._within:
            return default
        self._within.add(code)
        self[code] = (element.get("isMetric") == "yes", self._term(code, element))
        self._within.discard(code)
        return self[code]

    def _term(self, code: str, element: Any) -> Term:
        value = element.find("{*}value")
        function = value.find("{*}function")
        if function is not None and function.get("name") in ZEROS:
            scale = evaluate(function.get("Unit"), self._atoms)
            factor = Fraction(function.get("value")) * scale.factor
            return Term(factor, scale.powers, ZEROS[function.get("name")])
        arbitrary = element.get("isArbitrary") == "yes" and value.get("Unit") == "1"
        if function is not None or arbitrary or code == "mol":
            return Term(Fraction(1), {code: 1})
        return evaluate(value.get("Unit"), self._atoms).times(Term(Fraction(value.get("value")), {}), 1)

    def tables(self) -> Json:
        """Return prefixes and units as they are kept."""
        return {
            "prefixes": {code: str(value) for code, value in self._atoms.prefixes.items()},
            "units": {
                code: [metric, str(term.factor), dict(term.powers), None if term.offset is None else str(term.offset)]
                for code, (metric, term) in self.items()
            },
        }


ZEROS = {"Cel": Fraction("273.15"), "degF": Fraction("459.67") * Fraction(5, 9), "degRe": Fraction("273.15")}
"""Where the scale of a temperature begins, in kelvin."""


def units() -> Json:
    """Return UCUM's prefixes and units."""
    return Units(ET.parse(UCUM).getroot()).tables()  # noqa: S314 - a file of our own tree


def compartments() -> dict[str, Json]:
    """Return the member parameters of each compartment by resource type."""
    tables = {}
    for path in sorted(CORE.glob("CompartmentDefinition-*.json")):
        definition = json.loads(path.read_text())
        tables[definition["code"]] = {
            each["code"]: each["param"] for each in definition["resource"] if each.get("param")
        }
    return tables


def operations() -> list[Json]:
    """Return what is served of each OperationDefinition, by canonical URL."""
    definitions = [json.loads(path.read_text()) for path in sorted(OPERATIONS.glob("*.json"))]
    return [
        {
            "code": each["code"],
            "url": each["url"],
            "levels": [level for level in ("system", "type", "instance") if each[level]],
            "types": each.get("resource", []),
            "affects": each.get("affectsState", True),
            "parameters": [_parameter(parameter) for parameter in each.get("parameter", [])],
        }
        for each in sorted(definitions, key=lambda each: str(each["url"]))
    ]


def _parameter(parameter: Json) -> Json:
    """Return name, use, type (empty: it has parts), min, max (-1: any) and parts."""
    return {
        "name": parameter["name"],
        "use": parameter["use"],
        "type": parameter.get("type", ""),
        "min": parameter["min"],
        "max": -1 if parameter["max"] == "*" else int(parameter["max"]),
        "parts": [_parameter(part) for part in parameter.get("part", [])],
    }


def rights() -> Json:
    """Return the matrix of rights, and the categories of resources that it speaks of."""
    return {name: json.loads((MATRIX / f"{name}.json").read_text()) for name in ("matrix", "categories")}


if __name__ == "__main__":
    sys.exit(main())

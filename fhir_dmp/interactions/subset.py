"""Parts of resources: ``_summary`` and ``_elements``, marked as such. https://hl7.org/fhir/R4/search.html#summary.

Which elements are of the summary, and which must be there, stands in the definitions. A body of which the whole is wanted passes through as
it is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fhir_dmp.call import Params
from fhir_dmp.definitions.model import Definitions, ElementDef, TypeDef
from fhir_dmp.errors import Invalid
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.tags import SUBSETTED

ASKED = ("_summary", "_elements")
SUMMARIES = ("true", "text", "data", "count", "false")

Subset = Callable[[bytes | None], bytes | None]
"""From a stored body to what of it goes out."""


def subset_of(params: Params, definitions: Definitions) -> Subset:
    """Return what the parameters make of a body; raise ``Invalid`` for those that contradict each other or say nothing.

    ``_summary=count`` and ``false`` leave bodies whole: a list has none for the first (``counts_alone``), the second is said to mean it.
    """
    asked = [(name, value) for name, value in params if name in ASKED]
    if not asked:
        return _whole
    if len({name for name, _ in asked}) < len(asked):
        raise Invalid("_summary and _elements are given once each.", expression="_summary")
    given = dict(asked)
    summary = given.get("_summary", "false")
    if summary not in SUMMARIES:
        raise Invalid(f"_summary is one of {', '.join(SUMMARIES)}, not {summary[:20]!r}.", expression="_summary")
    if "_elements" in given:
        if summary in ("true", "text", "data"):
            raise Invalid("_summary and _elements ask for different parts.", expression="_elements")
        return _part(_named(given["_elements"]), definitions)
    keep = _SUMMARIES.get(summary)
    return _part(keep, definitions) if keep else _whole


def counts_alone(params: Params) -> bool:
    """Tell whether of a list the number of its rows is asked for, and none of them."""
    return ("_summary", "count") in params


def _whole(body: bytes | None) -> bytes | None:
    return body


_Keep = Callable[[TypeDef, ElementDef], bool]
"""Whether an element of a resource is kept."""


def _named(text: str) -> _Keep:
    names = {name.strip() for name in text.split(",") if name.strip()}
    if not names:
        raise Invalid("_elements names no element.", expression="_elements")

    def keep(table: TypeDef, element: ElementDef) -> bool:
        stem = element.choice.removesuffix("[x]") if element.choice else element.name
        wanted = {element.name, stem, f"{table.name}.{element.name}", f"{table.name}.{stem}"}
        return element.minimum > 0 or not names.isdisjoint(wanted)

    return keep


_SUMMARIES: Mapping[str, _Keep] = {
    "true": lambda _, element: element.summary or element.minimum > 0,
    "text": lambda _, element: element.name == "text" or element.minimum > 0,
    "data": lambda _, element: element.name != "text",
}
_ALWAYS = ("resourceType", "id", "meta")


def _part(keep: _Keep, definitions: Definitions) -> Subset:
    deep = keep is _SUMMARIES["true"]

    def part(body: bytes | None) -> bytes | None:
        if body is None:
            return None
        tree = codec.loads_object(body)
        table = definitions.types[str(tree["resourceType"])]
        made = {key: value for key, value in tree.items() if key in _ALWAYS or _is_kept(key, table, keep)}
        if deep:
            made = {key: _summarized(value, table.elements.get(key), definitions) for key, value in made.items()}
        meta = dict(tree.get("meta") or {})
        made["meta"] = {**meta, "tag": [*meta.get("tag", ()), SUBSETTED]}
        return codec.dumps(made)

    return part


def _is_kept(key: str, table: TypeDef, keep: _Keep) -> bool:
    element = table.elements.get(key.removeprefix("_"))
    return element is not None and keep(table, element)


def _summarized(value: Any, element: ElementDef | None, definitions: Definitions) -> Any:
    """Return what the summary has of a backbone element; a datatype is kept whole, as is a resource within."""
    if element is None or element.name in _ALWAYS:
        return value
    table = definitions.types.get(element.type)
    if table is None or table.kind != "backbone":
        return value
    if isinstance(value, list):
        return [_summarized(each, element, definitions) for each in value]
    return {
        key: _summarized(each, table.elements.get(key), definitions)
        for key, each in value.items()
        if key == "id" or _is_kept(key, table, _SUMMARIES["true"])
    }

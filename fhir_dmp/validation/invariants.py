"""Rules that the structure alone does not say: the invariants of the definitions, compiled. https://hl7.org/fhir/R4/conformance-rules.html#constraints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from fhir_dmp.definitions.model import Invariant
from fhir_dmp.validation.fhirpath import Scene, compile_truth

Judge = Callable[[Mapping[str, Any], Mapping[str, Any]], Iterator[str]]
"""Given an element and the resource that it stands in, yields each rule that is broken, in words."""


def build_judge(invariants: Sequence[Invariant], choices: AbstractSet[str]) -> Judge | None:
    """Return the function that holds elements of one type against its invariants; None where it has none.

    ``choices`` are the stems of elements of several types.
    """
    rules = tuple(
        (f"{each.key}: {each.human}".rstrip("."), compile_truth(each.expression, choices)) for each in invariants
    )
    if not rules:
        return None

    def broken(value: Mapping[str, Any], resource: Mapping[str, Any]) -> Iterator[str]:
        focus, scene = [value], Scene(resource, value)
        for text, holds in rules:
            if not holds(focus, scene):
                yield text

    return broken


def broken_by_contained(resource: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with how a resource contains others (dom-3, dom-4, dom-5). https://hl7.org/fhir/R4/references.html#contained.

    Each is referred to from elsewhere in the resource, or refers to what contains it; and has no version and no labels of its own.
    """
    parts = [each for each in resource["contained"] if isinstance(each, Mapping)]
    fragments: list[set[str]] = [set(_fragments(each)) for each in parts]
    outside = set(_fragments({name: value for name, value in resource.items() if name != "contained"}))
    elsewhere = outside.union(*fragments)
    for part, own in zip(parts, fragments, strict=True):
        if f"#{part.get('id')}" not in elsewhere and "#" not in own:
            yield f"dom-3: the contained resource {str(part.get('id'))[:64]!r} is referred to from nowhere"
        meta = part.get("meta")
        if isinstance(meta, Mapping) and ("versionId" in meta or "lastUpdated" in meta):
            yield "dom-4: a contained resource has no meta.versionId and no meta.lastUpdated"
        if isinstance(meta, Mapping) and "security" in meta:
            yield "dom-5: a contained resource has no security labels"


def _fragments(tree: Mapping[str, Any]) -> Iterator[str]:
    """Yield the texts of a resource that may refer to what is contained (``#id``)."""
    left: list[Any] = [tree]
    while left:
        node = left.pop()
        if isinstance(node, str):
            if node.startswith("#"):
                yield node
        elif isinstance(node, Mapping):
            left.extend(node.values())
        elif isinstance(node, list):
            left.extend(node)

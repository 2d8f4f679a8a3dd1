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

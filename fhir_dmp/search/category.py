"""The category of a resource in the matrix of rights (TRE_A03-ClasseDocument), computed from the resource itself.

The table is data: ``profiles/matrix/categories.json``. Each type of the patient compartment has a category; codes of an element may
tell a finer one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fhir_dmp.definitions.model import Categories, CategoryRule

Categoriser = Callable[[Mapping[str, Any]], str | None]


def categoriser(categories: Categories, resource_type: str) -> Categoriser:
    """Return the function from a resource of the type to its category; None for what is in nobody's record."""
    usual = categories.types.get(resource_type)
    rules = categories.rules.get(resource_type, ())
    if not rules:
        return lambda _: usual
    return lambda tree: next((found for rule in rules for found in _told(rule, tree)), usual)


def _told(rule: CategoryRule, tree: Mapping[str, Any]) -> Iterator[str]:
    value = tree.get(rule.element)
    for concept in value if isinstance(value, list) else [value] if value else []:
        for coding in concept.get("coding") or ():
            if rule.system in (None, coding.get("system")) and coding.get("code") in rule.codes:
                yield rule.codes[coding["code"]]

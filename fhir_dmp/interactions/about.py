"""Whom a resource is about that is in nobody's record, as it says itself: what is done to it stands in that patient's journal all the same.

https://hl7.org/fhir/R4/compartmentdefinition-patient.html leaves out types that name a patient in an element of their own. Who may see them
does not go by that; whom their events concern does. It is told by their rows (``about``), so that what leaves is not parsed for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fhir_dmp.fhir.reference import parse_literal

ELEMENTS: Mapping[str, str] = {"Contract": "subject", "Device": "patient", "GuidanceResponse": "subject", "Task": "for"}
"""By type, the element that its search parameter ``patient`` reads."""


def patients_named(resource_type: str, tree: Mapping[str, Any]) -> list[str]:
    """Return the patients (``Patient/p``) whom a resource of these types refers to as its subject: here, by a relative reference."""
    element = ELEMENTS.get(resource_type)
    return list(dict.fromkeys(_patients(tree.get(element)))) if element else []


def _patients(value: Any) -> Iterator[str]:
    for each in value if isinstance(value, list) else [value]:
        literal = parse_literal(each["reference"]) if isinstance(each, dict) and "reference" in each else None
        if literal is not None and literal.type == "Patient" and literal.base is None:
            yield str(literal.ref)

"""Elements of synthetic resources. https://hl7.org/fhir/R4/datatypes.html."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fhir_dmp.fhir.codec import Number

Json = dict[str, Any]
LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"


def coding(system: str, code: str, display: str | None = None) -> Json:
    """Return one Coding."""
    return {"system": system, "code": code, **({"display": display} if display else {})}


def concept(system: str, code: str, display: str | None = None) -> Json:
    """Return a CodeableConcept of one Coding."""
    return {"coding": [coding(system, code, display)]}


def quantity(value: float, ucum: str, unit: str, decimals: int) -> Mapping[str, Any]:
    """Return a quantity with just so many decimals: their number says how exactly it was measured."""
    return {"value": Number(f"{value:.{decimals}f}"), "unit": unit, "system": UCUM, "code": ucum}


def instant_of(moment: datetime) -> str:
    """Return the moment as a dateTime, in UTC."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S+00:00")

"""Which patients a search names itself, by reference or by id, before anything is looked for. https://hl7.org/fhir/R4/search.html#reference."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qsl

from fhir_dmp.fhir.reference import ID, Ref, local

Params = tuple[tuple[str, str], ...]

_REFERRING = ("patient", "subject", "patient:Patient", "subject:Patient")


def with_criteria(params: Params, criteria: str | None) -> Params:
    """Return what is asked with the criteria of a condition, which may have the type (``Patient?…``) or ``?`` before them."""
    return (*params, *parse_qsl(criteria.partition("?")[2] or criteria)) if criteria else params


def patients_named(resource_type: str | None, params: Params, base_url: str) -> tuple[str, ...] | None:
    """Return the patients (``Patient/p``) that the first criterion names which names any; None where none does.

    Criteria are all met at once: whatever is found is of these patients. What a reference names that is none of them finds nothing.
    """
    for name, value in params:
        if name in _REFERRING:
            return tuple(dict.fromkeys(_referred(value, base_url)))
        if name == "_id" and resource_type == "Patient":
            return tuple(dict.fromkeys(f"Patient/{each}" for each in value.split(",") if ID.match(each)))
    return None


def _referred(value: str, base_url: str) -> Iterator[str]:
    for each in value.split(","):
        ref = local(each, base_url) if "/" in each else Ref("Patient", each)
        if ref is not None and ref.type == "Patient" and ID.match(ref.id):
            yield str(ref)

"""Tags that the standard itself gives a meaning. https://hl7.org/fhir/R4/valueset-common-tags.html."""

from __future__ import annotations

SUBSETTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}
"""Marks a part of a resource: it must not replace the whole."""


def is_part(meta: object) -> bool:
    """Tell whether a valid ``meta`` says that its resource is a part of one."""
    tags = meta.get("tag", ()) if isinstance(meta, dict) else ()
    return any(tag.get("code") == SUBSETTED["code"] for tag in tags)

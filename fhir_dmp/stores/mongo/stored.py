"""A row of ``current`` or ``versions`` as its users see it."""

from __future__ import annotations

from typing import Any

from fhir_dmp.fhir.reference import Ref
from fhir_dmp.store.change import Stored
from fhir_dmp.stores.mongo.compile import from_row

UNSEARCHED = {"t": 0, "r": 0, "w": 0}
"""The projection of rows that nobody searches in any more."""


def stored_of(row: dict[str, Any]) -> Stored:
    """Return the row's version; what is left of the row becomes its index."""
    body = row.pop("b", None)
    resource_type, resource_id, *_ = row["_id"].split("/")
    ref = Ref(resource_type, resource_id)
    return Stored(ref, row["v"], row["lu"], row["co"], int(row["lu"][:13], 16), body, from_row(row))

"""A row of ``current`` or ``versions`` as its users see it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fhir_dmp.fhir.reference import Ref
from fhir_dmp.store.change import Stored
from fhir_dmp.stores.mongo.compile import from_row
from fhir_dmp.stores.mongo.documents import Current, Version

_SEARCHED = frozenset({"t", "r", "w"})
_FIELDS = {**Current._db_field_map, **Version._db_field_map}  # noqa: SLF001 - the declared schemas

UNSEARCHED: Mapping[str, int] = {field: 1 for field in _FIELDS.values() if field not in _SEARCHED}
"""The projection of rows that nobody searches in any more: what is kept of them, since to leave fields out costs the database a tenth more.

What a row holds and the schemas do not declare would be lost to whoever judges by it: a test looks for such.
"""

CONCERNED: Mapping[str, int] = dict.fromkeys(("v", "lu", "co", "pt", "about", "au", "sec"), 1)
"""The projection of rows that are counted: whose they are, who wrote them, and the labels that hide them."""


def stored_of(row: dict[str, Any]) -> Stored:
    """Return the row's version; what is left of the row becomes its index."""
    body = row.pop("b", None)
    resource_type, resource_id, *_ = row["_id"].split("/")
    ref = Ref(resource_type, resource_id)
    return Stored(ref, row["v"], row["lu"], row["co"], int(row["lu"][:13], 16), body, from_row(row))

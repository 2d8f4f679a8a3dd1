"""AuditEvents that clients report, as they are shown: in their words, marked as theirs. https://profiles.ihe.net/ITI/TF/Volume2/ITI-20.html."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fhir_dmp.audit import codes
from fhir_dmp.audit.cut import cut
from fhir_dmp.audit.index import referred
from fhir_dmp.audit.parts import Part, Row
from fhir_dmp.audit.scene import MASKED, View
from fhir_dmp.audit.words import narrative

_OURS = ("id", "meta", "resourceType", "text")
"""Members that the server writes."""


def submitted(row: Row, part: Part, view: View, said: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a client wrote, marked as the client's: it cannot pose as an event of the server's own.

    ``said`` is what lies sealed beside the row. Whoever may not know that, or not all that the event names, is told what stands in the
    open; of rows of format 1 and 2, which hold all of it, as if it were cut there.
    """
    sent = {**row["resource"], **said.get("resource", {})}
    known = all(map(view.sees, part.names))
    resource = sent if known and view.sealed else cut(row["resource"])
    if not known:
        resource["entity"] = [_as_seen(entity, view, row.get("base")) for entity in resource["entity"]]
    client = row.get("agent", {}).get("client", "")
    meta = {**resource.get("meta", {}), "versionId": "1", "lastUpdated": row["recorded"]}
    meta["source"] = f"{codes.CLIENT_EVENT}{client}"
    told = {name: value for name, value in resource.items() if name not in _OURS}
    if ("sealed" in row and "resource" not in said) or any(
        told.get(name) != sent[name] for name in {*sent}.difference(_OURS)
    ):
        meta["security"] = [*meta.get("security", ()), codes.REDACTED]
    return {
        "resourceType": "AuditEvent",
        "id": row["id"],
        "meta": meta,
        "text": narrative(row, part, view.language, (), None),
        **told,
    }


def named_here(tree: Mapping[str, Any], base: str | None) -> tuple[str, ...]:
    """Return the resources of this server (``Type/id``) that a client's own event names as its entities; ``base`` as ``referred`` has it."""
    named = (referred(entity.get("what"), base) for entity in tree.get("entity", ()))
    return tuple(ref for ref in named if ref is not None and _is_here(ref))


def _is_here(ref: str) -> bool:
    return "://" not in ref


def _as_seen(entity: Mapping[str, Any], view: View, base: str | None) -> Mapping[str, Any]:
    """Return an entity of a client's own event, cut already, without what this reader may not know."""
    ref = referred(entity.get("what"), base)
    if ref is None or not _is_here(ref) or view.sees(ref):
        return entity
    return {name: entity[name] for name in ("type", "role", "lifecycle") if name in entity} | {"what": MASKED}

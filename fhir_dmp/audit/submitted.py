"""AuditEvents that clients report, as they are shown: in their words, marked as theirs. https://profiles.ihe.net/ITI/TF/Volume2/ITI-20.html."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from fhir_dmp.audit import codes
from fhir_dmp.audit.asked import CUT, cleaned
from fhir_dmp.audit.parts import Part, Row
from fhir_dmp.audit.scene import MASKED, View
from fhir_dmp.audit.words import narrative
from fhir_dmp.fhir.reference import parse_literal


def submitted(row: Row, part: Part, view: View) -> dict[str, Any]:
    """Return what a client wrote, marked as the client's: it cannot pose as an event of the server's own.

    The same is cut out of it as of one of ours.
    """
    resource = row["resource"]
    client = row.get("agent", {}).get("client", "")
    meta = {**resource.get("meta", {}), "versionId": "1", "lastUpdated": row["recorded"]}
    meta["source"] = f"{codes.CLIENT_EVENT}{client}"
    entities = [_as_seen(entity, view) for entity in resource.get("entity", ())]
    if entities != resource.get("entity", []):
        meta["security"] = [*meta.get("security", ()), codes.REDACTED]
        resource = {**resource, "entity": entities}
    return {
        "resourceType": "AuditEvent",
        "id": row["id"],
        "meta": meta,
        "text": narrative(row, part, view.language, (), None),
        **{key: value for key, value in resource.items() if key not in ("id", "meta", "resourceType", "text")},
    }


def referred(entity: Mapping[str, Any]) -> str | None:
    """Return the resource that an entity refers to (``Type/id``), None if it refers to none."""
    literal = parse_literal((entity.get("what") or {}).get("reference", ""))
    return str(literal.ref) if literal else None


def _as_seen(entity: Mapping[str, Any], view: View) -> Mapping[str, Any]:
    """Return an entity of a client's own event without what this reader may not know."""
    ref = referred(entity)
    seen = dict(entity)
    if ref is not None and not view.sees(ref):
        seen = {name: entity[name] for name in ("type", "role", "lifecycle") if name in entity} | {"what": MASKED}
    if "query" in seen and not view.sealed:
        seen = {name: value for name, value in seen.items() if name not in ("description", "detail")}
        seen["query"] = base64.b64encode(_cleaned(entity["query"]).encode()).decode()
    return seen


def _cleaned(query: str) -> str:
    """Return the first line of a request in base64, its clinical values cut out."""
    try:
        sent = base64.b64decode(query).decode()
    except ValueError:
        return CUT
    return cleaned(sent.partition("\n")[0].strip())

"""AuditEvents that clients report, as they are shown: in their words, marked as theirs. https://profiles.ihe.net/ITI/TF/Volume2/ITI-20.html."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from fhir_dmp.audit import codes
from fhir_dmp.audit.asked import CUT, cleaned
from fhir_dmp.audit.index import referred
from fhir_dmp.audit.parts import Part, Row
from fhir_dmp.audit.scene import MASKED, View
from fhir_dmp.audit.words import narrative


def submitted(row: Row, part: Part, view: View) -> dict[str, Any]:
    """Return what a client wrote, marked as the client's: it cannot pose as an event of the server's own.

    The same is cut out of it as of one of ours.
    """
    resource = row["resource"]
    client = row.get("agent", {}).get("client", "")
    meta = {**resource.get("meta", {}), "versionId": "1", "lastUpdated": row["recorded"]}
    meta["source"] = f"{codes.CLIENT_EVENT}{client}"
    entities = [_as_seen(entity, view, row.get("base")) for entity in resource.get("entity", ())]
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


def named_here(tree: Mapping[str, Any], base: str | None) -> tuple[str, ...]:
    """Return the resources of this server (``Type/id``) that a client's own event names as its entities; ``base`` as ``referred`` has it."""
    named = (referred(entity.get("what"), base) for entity in tree.get("entity", ()))
    return tuple(ref for ref in named if ref is not None and _is_here(ref))


def _is_here(ref: str) -> bool:
    return "://" not in ref


def _as_seen(entity: Mapping[str, Any], view: View, base: str | None) -> Mapping[str, Any]:
    """Return an entity of a client's own event without what this reader may not know."""
    ref = referred(entity.get("what"), base)
    seen = dict(entity)
    if ref is not None and _is_here(ref) and not view.sees(ref):
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

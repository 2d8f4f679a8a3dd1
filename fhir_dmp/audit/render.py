"""From a stored row to the AuditEvent that FHIR readers see. https://profiles.ihe.net/ITI/BALP/."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from fhir_dmp.audit.event import ACTIONS, SUBMITTED
from fhir_dmp.fhir import codec
from fhir_dmp.store.change import Event

_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_TYPE = {
    "system": "http://terminology.hl7.org/CodeSystem/audit-event-type",
    "code": "rest",
    "display": "RESTful Operation",
}
_INTERACTION = "http://hl7.org/fhir/restful-interaction"
_ENTITY = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_ROLE = "http://terminology.hl7.org/CodeSystem/object-role"
_PURPOSE = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
_XREQUEST = {
    "system": "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType",
    "code": "XrequestId",
}
_QUERIES = ("search-type", "search-system", "history-instance", "history-type", "history-system")
_AGENTS = {
    "R": ("110152", "110153"),
    "C": ("110153", "110152"),
    "U": ("110153", "110152"),
    "D": ("110150", "110152"),
    "E": ("110153", "110152"),
}
"""DICOM codes of the client's and the server's part in each action (BALP 1.1.5: source, destination, application)."""


def render(event: Event, base_url: str) -> dict[str, Any]:
    """Return the AuditEvent of one stored row; the same row always gives the same resource."""
    row = codec.loads_object(event.body)
    if row["act"] == SUBMITTED:
        return _submitted(event, row)
    action = ACTIONS.get(row["act"], "E")
    rendered: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "id": event.id,
        "meta": {"versionId": "1", "lastUpdated": row["recorded"]},
        "type": _TYPE,
        "subtype": _subtypes(row["act"]),
        "action": action,
        "period": {"start": row["recorded"], "end": row["recorded"]},
        "recorded": row["recorded"],
        "outcome": row["outcome"],
    }
    if "error" in row:
        rendered["outcomeDesc"] = " ".join(str(value) for value in row["error"].values())
    if "purpose" in row:
        rendered["purposeOfEvent"] = [{"coding": [{"system": _PURPOSE, "code": row["purpose"]}]}]
    rendered["agent"] = [_client(row, action), _server(action, base_url)]
    rendered["source"] = {
        "observer": {"display": base_url},
        "type": [{"system": "http://terminology.hl7.org/CodeSystem/security-source-type", "code": "4"}],
    }
    entities = list(_entities(row))
    if entities:
        rendered["entity"] = entities
    return rendered


def _subtypes(act: str) -> list[dict[str, str]]:
    """Return the interaction; an operation has its own name beside it."""
    if act.startswith("$"):
        return [{"system": _INTERACTION, "code": "operation"}, {"code": act}]
    return [{"system": _INTERACTION, "code": act}]


def _submitted(event: Event, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a client wrote, marked as the client's: it cannot pose as an event of the server's own."""
    resource = row["resource"]
    meta = {**resource.get("meta", {}), "versionId": "1", "lastUpdated": row["recorded"]}
    meta["source"] = f"urn:fhir-dmp:client:{row['agent'].get('client', '')}"
    return {
        "resourceType": "AuditEvent",
        "id": event.id,
        "meta": meta,
        **_without(resource, "id", "meta", "resourceType"),
    }


def _without(tree: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in tree.items() if key not in names}


def _client(row: Mapping[str, Any], action: str) -> dict[str, Any]:
    agent = row.get("agent", {})
    client: dict[str, Any] = {
        "type": {"coding": [{"system": _DCM, "code": _AGENTS[action][0]}]},
        "who": {"identifier": {"value": agent.get("client", "anonymous")}},
        "requestor": True,
    }
    if "role" in agent:
        client["role"] = [{"text": agent["role"]}]
    if "jti" in agent:
        client["policy"] = [f"urn:ietf:params:oauth:jti:{agent['jti']}"]
    if "from" in row:
        client["network"] = {"address": row["from"], "type": "2"}
    return client


def _server(action: str, base_url: str) -> dict[str, Any]:
    return {
        "type": {"coding": [{"system": _DCM, "code": _AGENTS[action][1]}]},
        "who": {"display": base_url},
        "requestor": False,
        "network": {"address": base_url, "type": "5"},
    }


def _entities(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    touched = row.get("touched", {})
    for patient in touched:
        if patient:
            yield {
                "what": {"reference": patient},
                "type": {"system": _ENTITY, "code": "1"},
                "role": {"system": _ROLE, "code": "1"},
            }
    if row["act"] in _QUERIES:
        yield {
            "type": {"system": _ENTITY, "code": "2"},
            "role": {"system": _ROLE, "code": "24"},
            "query": base64.b64encode(row.get("request", "").encode()).decode(),
        }
    else:
        named = {name for names in touched.values() for name in names} or ({row["on"]} if "on" in row else set())
        for name in sorted(named):
            yield {
                "what": {"reference": _versioned(name)},
                "type": {"system": _ENTITY, "code": "2"},
                "role": {"system": _ROLE, "code": "4"},
            }
    if "requestId" in row:
        yield {"what": {"identifier": {"value": row["requestId"]}}, "type": _XREQUEST}


def _versioned(name: str) -> str:
    parts = name.split("/")
    return f"{parts[0]}/{parts[1]}/_history/{parts[2]}" if len(parts) == 3 else name

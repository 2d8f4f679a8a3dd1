"""What the newest row of the log tells, whose it is, and bundles that leave one."""

from __future__ import annotations

import base64
import json

from fhir_dmp.call import Call
from fhir_dmp.store.query import EVERYTHING
from tests.access_world import INS, observation
from tests.balp import claimed
from tests.balp_facts import FACTS

PATCH_TYPE = "application/json-patch+json"
TEST = [{"op": "test", "path": "/code/text", "value": "other"}]
"""A patch that fails."""

HIDDEN = "INVISIBLE_REPRESENTANTS_LEGAUX"
NUMBER = "279035121518989"


def rows(world, number=1):
    """Return the newest rows of the log."""
    parts, _ = world.server.store.search_events(EVERYTHING, number * 10, None)
    found = {part.event.id: part.event for part in parts}
    return list(found.values())[:number]


def whose(world):
    """Return in whose journals the newest row stands."""
    return set(rows(world)[0].index["pt"])


def told(world):
    """Return what the newest row says."""
    return json.loads(rows(world)[0].body)


def shown(world, auditor):
    """Return the AuditEvents of the newest row, which meet what they claim, by patient."""
    row = rows(world)[0]
    numbers = range(1, row.index.get("m", 1) + 1)
    ids = [row.id if number == 1 else f"{row.id}-{number}" for number in numbers]
    events = [auditor.read(f"AuditEvent/{each}").body for each in ids]
    assert [claimed(event, FACTS) for event in events] == [[] for _ in events]
    return {entity["what"]["reference"]: event for event in events for entity in event["entity"][:1]}


def numbered(world):
    """Return the id of a patient with an INS, and that of an observation with a number of its own."""
    patient = world.new_patient(identifier=[{"system": INS, "value": NUMBER}])
    item = world.ehr.made({**observation(patient), "identifier": [{"system": "urn:x", "value": "7"}]})
    return patient.partition("/")[2], item["id"]


def bundle(kind, *entries):
    """Return a batch or a transaction."""
    return Call("bundle", body=json.dumps({"resourceType": "Bundle", "type": kind, "entry": list(entries)}).encode())


def entry(method, url, resource, **request):
    """Return an entry."""
    return {"request": {"method": method, "url": url, **request}, "resource": resource}


def binary(patch):
    """Return a JSON Patch as an entry brings it."""
    data = base64.b64encode(json.dumps(patch).encode()).decode()
    return {"resourceType": "Binary", "contentType": PATCH_TYPE, "data": data}

"""Two records that point at each other: nobody sees a row of the other one, by whichever door and whatever link.

The cases are those of Microsoft's SMART compartment tests (https://github.com/microsoft/fhir-server, pull 5683), whose own bundles are
asked too where they are at hand; ours are made here.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fhir_dmp.call import Call
from fhir_dmp.store.port import Page
from fhir_dmp.store.query import EVERYTHING
from tests.access_world import observation

SHARED = Path(__file__).parents[3] / "shared" / "data" / "bundles-and-smart-compartment" / "R4"
BUNDLES = ("SmartCommon", "SmartPatientA", "SmartPatientB", "SmartPatientC", "SmartPatientD", "SmartCompartmentLeak")


def _own():
    """Return a parent and a child whose rows name each other, a coverage of both, a list, a group."""
    child, parent = ({"reference": f"Patient/{name}"} for name in ("child", "parent"))
    device = {"reference": "Device/parents"}
    seen = {"status": "final", "code": {"text": "x"}}
    rows = [
        {"resourceType": "Patient", "id": "child", "name": [{"family": "Petit"}]},
        {"resourceType": "Patient", "id": "parent", "name": [{"family": "Grand"}], "link": [{"other": child, "type": "seealso"}]},
        {"resourceType": "Coverage", "status": "active", "beneficiary": child, "subscriber": parent, "payor": [parent]},
        {"resourceType": "Device", "id": "parents", "patient": parent},
        observation("Patient/child", id="of-child"),
        observation("Patient/child", id="focus", focus=[parent], device=device),
        observation("Patient/parent", id="of-parent", derivedFrom=[{"reference": "Observation/of-child"}], note=[{"text": "secret"}]),
        {"resourceType": "Observation", **seen, "subject": {"reference": "Group/both"}, "focus": [parent]},
        {"resourceType": "Group", "id": "both", "type": "person", "actual": True, "member": [{"entity": child}, {"entity": parent}]},
        {"resourceType": "DiagnosticReport", **seen, "subject": parent, "result": [{"reference": "Observation/of-child"}]},
        {"resourceType": "DiagnosticReport", **seen, "subject": child, "result": [{"reference": "Observation/of-parent"}]},
        {"resourceType": "List", "id": "mixed", "status": "current", "mode": "working", "subject": child, "entry": [{"item": {"reference": "Observation/of-parent"}}]},
        {"resourceType": "Provenance", "target": [{"reference": "Observation/of-parent"}, {"reference": "Observation/of-child"}], "recorded": "2026-11-23T10:00:00Z", "agent": [{"who": child}]},
    ]  # fmt: skip
    return [{"resource": row, "request": _request(row)} for row in rows]


def _request(row):
    return (
        {"method": "PUT", "url": f"{row['resourceType']}/{row['id']}"}
        if "id" in row
        else {"method": "POST", "url": row["resourceType"]}
    )


def _theirs():
    entries = [entry for name in BUNDLES for entry in json.loads((SHARED / f"{name}.json").read_text())["entry"]]
    return list({entry["request"]["url"]: entry for entry in entries}.values())


@pytest.fixture(params=["own", "shared"])
def world(request, world):
    """All of it stored by one EHR; what its senders wrote against R4 is left out by the server."""
    if request.param == "shared" and not SHARED.is_dir():
        pytest.skip("the SMART compartment bundles are read from ../shared/data, which is absent")
    stored = world.ehr.transaction(*(_own() if request.param == "own" else _theirs()), kind="batch").body["entry"]
    assert sum(each["response"]["status"][0] == "2" for each in stored) > 0.8 * len(stored)
    return world


def doors(world, patient, rows):
    """Yield calls by which a person asks for anything at all: one of each kind for each type and row."""
    types = sorted({row.ref.type for row in rows})
    for kind in types:
        for query in (
            (("_count", "500"),),
            (("_count", "500"), ("_include", "*"), ("_include:iterate", "*")),
            (("_count", "500"), *(("_revinclude", f"{other}:*") for other in types)),
            (("_count", "500"), ("_sort", "-_lastUpdated"), ("_total", "accurate")),
        ):
            yield Call("search-type", kind, params=query)
        yield Call("history-type", kind, params=(("_count", "500"),))
    yield Call("history-system", params=(("_count", "500"),))
    yield Call(
        "search-type", "Patient", params=(("_has:Observation:subject:_id", "of-parent,of-child,smart-leak-child-obs"),)
    )
    yield Call("search-type", "Observation", params=(("subject:Patient.family", "Grand,Petit"),))
    yield Call("search-type", "Observation", params=(("_list", "mixed"),))
    yield Call("search-type", "Observation", params=(("_filter", "status eq final"),))
    yield Call("search-type", "Observation", params=(("_content", "secret"),))
    for row in rows:
        yield Call("read", row.ref.type, row.ref.id)
        yield Call("vread", row.ref.type, row.ref.id, "1")
        yield Call("history-instance", row.ref.type, row.ref.id)
    yield Call("operation", "Patient", patient.partition("/")[2], operation="everything", params=(("_count", "500"),))
    wanted = [{"request": {"method": "GET", "url": str(row.ref)}} for row in rows]
    yield Call("bundle", body=json.dumps({"resourceType": "Bundle", "type": "batch", "entry": wanted}).encode())


def told(body):
    """Return the references of all resources that an answer holds, a batch's inner answers among them."""
    if body.get("resourceType") != "Bundle":
        return {f"{body['resourceType']}/{body['id']}"} if "id" in body else set()
    return {ref for entry in body.get("entry", ()) if "resource" in entry for ref in told(entry["resource"])}


def test_no_door_tells_a_row_of_another_record(world):
    """Each holder is told rows of the own record alone and what the directory holds, and all of their own."""
    rows = world.server.store.search(EVERYTHING, Page(1000)).rows
    patients = [str(row.ref) for row in rows if row.ref.type == "Patient" and str(row.ref) != world.patient]
    assert len(patients) >= 2
    for patient in patients:
        holder = world.holder(patient)
        own = {str(row.ref) for row in rows if set(row.index.get("pt") or ()) == {patient}}
        common = {str(row.ref) for row in rows if row.ref.type in ("Practitioner", "Organization", "Location")}
        seen = set()
        for call in doors(world, patient, rows):
            answer = holder.ask(call)
            found = {
                ref for ref in told(answer.body) if not ref.startswith(("AuditEvent/", "Bundle/", "OperationOutcome/"))
            }
            assert found <= own | common, (patient, call.name, call.type, call.params, found - own - common)
            seen |= found
        assert own <= seen


def test_what_is_hidden_and_what_is_absent_cannot_be_told_apart(world):
    """Status and words are the same for a row of another record and for one that never was."""
    rows = world.server.store.search(EVERYTHING, Page(1000)).rows
    patient = next(str(row.ref) for row in rows if row.ref.type == "Patient" and str(row.ref) != world.patient)
    holder = world.holder(patient)
    common = ("Practitioner", "Organization", "Location")
    others = [row for row in rows if patient not in (row.index.get("pt") or ()) and row.ref.type not in common]
    assert len({row.ref.type for row in others}) >= 5
    for row in others:
        kind, own = row.ref.type, row.ref.id
        for hidden, absent in (
            (Call("read", kind, own), Call("read", kind, "nobody")),
            (Call("vread", kind, own, "1"), Call("vread", kind, "nobody", "1")),
            (Call("history-instance", kind, own), Call("history-instance", kind, "nobody")),
            (Call("delete", kind, own), Call("delete", kind, "nobody")),
            (Call("search-type", kind, params=(("_id", own),)), Call("search-type", kind, params=(("_id", "nobody"),))),
        ):
            one, other = holder.ask(hidden), holder.ask(absent)
            assert (one.status, one.text.replace(own, "nobody")) == (other.status, other.text), (hidden.name, row.ref)

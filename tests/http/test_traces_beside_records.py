"""What is in no record and names a patient has its events among the traces of that patient."""

from __future__ import annotations

import json

import pytest

from fhir_dmp.call import Call
from fhir_dmp.definitions.loader import load
from fhir_dmp.interactions.about import ELEMENTS
from tests.access_world import INS, observation
from tests.balp import claimed
from tests.balp_facts import FACTS


def about(kind, patient):
    """Return a resource of a type that R4 puts into nobody's compartment, which names a patient itself."""
    reference = {"reference": patient}
    return {
        "Contract": {"resourceType": "Contract", "subject": [{"display": "somebody"}, reference]},
        "Device": {"resourceType": "Device", "patient": reference},
        "GuidanceResponse": {
            "resourceType": "GuidanceResponse",
            "status": "success",
            "moduleUri": "urn:x",
            "subject": reference,
        },
        "Task": {"resourceType": "Task", "status": "draft", "intent": "order", "for": reference},
    }[kind]


def test_every_type_outside_of_records_that_names_a_patient_is_known():
    """By the definitions: those whose search parameter is called patient, with the element that it reads."""
    tables = load()
    inside = tables.compartments["Patient"].members
    named = {
        resource_type: [step.name for path in params["patient"].paths for step in path.steps]
        for resource_type, params in tables.search_params.items()
        if "patient" in params and resource_type not in inside
    }

    assert named == {resource_type: [element] for resource_type, element in ELEMENTS.items()}


@pytest.mark.parametrize("kind", ELEMENTS)
def test_what_is_in_no_record_and_names_a_patient_has_its_events_in_the_journal(world, world_auditor, kind):
    """The patient does not see it by the rules, and is told that it was made, read, changed, listed and removed: by whom and when, without its name."""
    item = about(kind, world.patient)
    made = world.ehr.made(item)
    name = f"{kind}/{made['id']}"
    other = world.new_patient()
    assert world.ehr.read(name).status == 200
    assert world.ehr.search(kind, f"_id={made['id']}").body["total"] == 1
    moved = {**about(kind, other), "id": made["id"]}
    assert world.ehr.ask(Call("update", kind, made["id"], body=json.dumps(moved).encode())).status == 200
    assert world.ehr.ask(Call("vread", kind, made["id"], version="1")).status == 200
    assert world.ehr.ask(Call("delete", kind, made["id"])).status == 204

    acts = {"create", "read", "search-type", "update", "vread"}
    for patient, told in ((world.patient, acts), (other, {"update", "delete"})):
        found = world_auditor.search("AuditEvent", f"date=ge2000&patient={patient}&agent=ehr-one&_count=100").body[
            "entry"
        ]
        events = [each["resource"] for each in found if name in json.dumps(each["resource"])]
        assert {event["subtype"][0]["code"] for event in events} == told
        assert all(claimed(event, FACTS) == [] for event in events)
        journal = world.holder(patient).search("AuditEvent", "agent=ehr-one&_count=100").body["entry"]
        assert {event["id"] for event in events} <= {each["resource"]["id"] for each in journal}
        assert name not in json.dumps(journal)
    assert world.holder().read(name).status == 404


def test_what_names_its_patient_by_an_identifier_alone_has_its_events_in_no_record(world, world_auditor):
    """It is in nobody's: its patient does not see it by the rules, and is not told of it; auditors find it by itself."""
    item = observation(world.patient, subject={"identifier": {"system": INS, "value": "279035121518989"}})
    made = world.ehr.made(item)
    name = f"{made['resourceType']}/{made['id']}"
    assert world.ehr.read(name).status == 200

    found = world_auditor.search("AuditEvent", f"date=ge2000&entity={name}").body["entry"]
    assert len(found) == 2
    for event in (entry["resource"] for entry in found):
        assert "Patient/" not in json.dumps(event["entity"])
    assert world.holder().read(name).status == 404
    assert name not in json.dumps(world.holder().search("AuditEvent", "action=C").body)

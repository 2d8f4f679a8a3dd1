"""Each way in is narrowed by the same rules: what is masked is absent from all of them, and a shut record is shut on all."""

from __future__ import annotations

import json

import pytest

from fhir_dmp.call import Call
from fhir_dmp.fhir.labels import SYSTEM
from fhir_dmp.fhir.reference import Ref
from tests.access_world import RPPS, consent, document, observation

STATUS = json.dumps([{"op": "test", "path": "/status", "value": "final"}]).encode()
TAG = {"resourceType": "Parameters", "parameter": [{"name": "meta", "valueMeta": {"tag": [{"code": "x"}]}}]}


@pytest.fixture
def items(world):
    """What the EHR wrote: one plain observation, and one that is masked from professionals."""
    labels = {"security": [{"system": SYSTEM, "code": "MASQUE_PS"}]}
    plain = world.ehr.made(observation(world.patient, effectiveDateTime="2026-01-01"))
    masked = world.ehr.made(observation(world.patient, meta=labels, effectiveDateTime="2026-02-01"))
    return plain["id"], masked["id"]


def lists(world):
    """Return a call for each way to list what the record holds."""
    record = world.patient.partition("/")[2]
    within = Ref("Patient", record)
    subject = (("subject", world.patient),)
    return {
        "everything": Call("operation", "Patient", record, operation="everything"),
        "everything of a type": Call(
            "operation", "Patient", record, operation="everything", params=(("_type", "Observation"),)
        ),
        "everything of the token's record": Call("operation", "Patient", operation="everything"),
        "lastn": Call("operation", "Observation", operation="lastn", params=(*subject, ("max", "9"))),
        "compartment": Call("search-type", "Observation", compartment=within),
        "whole compartment": Call("search-system", compartment=within),
        "several types": Call("search-system", params=(("_type", "Observation,Encounter"),)),
        "summaries": Call("search-type", "Observation", params=(*subject, ("_summary", "true"))),
    }


def touches(name):
    """Return a call for each way to touch one observation."""
    return {
        "meta": Call("operation", "Observation", name, operation="meta"),
        "validate": Call("operation", "Observation", name, operation="validate"),
        "meta-add": Call("operation", "Observation", name, operation="meta-add", body=TAG),
        "json patch": Call("patch", "Observation", name, body=STATUS),
        "fhirpath patch": Call("patch", "Observation", name, body=json.dumps({"resourceType": "Parameters"}).encode()),
        "part": Call("read", "Observation", name, params=(("_elements", "status"),)),
        "conditional patch": Call("patch", "Observation", criteria=f"_id={name}", body=STATUS),
    }


def test_what_is_masked_is_absent_from_every_list(world, items):
    """Its author sees it on each way, an authorised professional on none, and totals agree."""
    plain, masked = items
    world.holder().made(consent(world.patient, "permit", actors=[f"{RPPS}|1", f"{RPPS}|2"]))
    author, doctor = world.professional("2", structure="urn:s|1"), world.professional("1")

    for way, call in lists(world).items():
        seen, told = author.ask(call), doctor.ask(call)
        assert (seen.status, told.status) == (200, 200), (way, seen, told)
        assert {plain, masked} <= seen.ids, way
        assert plain in told.ids, way
        assert masked not in json.dumps(told.body), way
        assert told.body.get("total") == seen.body.get("total") - (1 if masked in seen.ids else 0), way


def test_what_is_masked_cannot_be_touched_and_looks_absent(world, items):
    """Each way answers as for an id that nobody has."""
    _, masked = items
    world.holder().made(consent(world.patient, "permit", actors=[f"{RPPS}|1"]))
    doctor = world.professional("1")

    for (way, call), nobody in zip(touches(masked).items(), touches("nobody").values(), strict=True):
        hidden, absent = doctor.ask(call), doctor.ask(nobody)
        assert hidden.status == 404, (way, hidden)
        assert (hidden.status, hidden.text.replace(masked, "")) == (absent.status, absent.text.replace("nobody", "")), (
            way
        )
    assert world.ehr.read(f"Observation/{masked}").body["meta"]["versionId"] == "1"


def test_a_record_that_is_shut_is_shut_on_every_way(world, items):
    """A professional whom nobody authorised gets the same words everywhere, and no number of rows."""
    plain, _ = items
    doctor = world.professional("1")

    calls = {**lists(world), **touches(plain)}
    answers = {way: doctor.ask(call) for way, call in calls.items()}

    assert {way: answer.status for way, answer in answers.items() if answer.status != 403} == {}
    assert {answer.text for answer in answers.values()} == {"This record is not open to you."}


def test_a_provenance_is_judged_by_itself(world, items):
    """Who may not write into the record writes no Provenance into it either, nor the change that it comes with."""
    document_of_it = json.dumps(document(world.patient)).encode()
    header = json.dumps(
        {"resourceType": "Provenance", "recorded": "2026-01-01T00:00:00Z", "agent": [{"who": {"display": "x"}}]}
    )
    stranger = world.professional("1")
    world.holder().made(consent(world.patient, "deny", actors=["Practitioner/p1"]))

    refused = stranger.ask(Call("create", "DocumentReference", body=document_of_it, provenance=header))

    assert refused.status == 403
    assert world.ehr.search("Provenance").ids == set()
    assert world.ehr.search("DocumentReference").ids == set()

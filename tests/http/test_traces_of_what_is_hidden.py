"""What is hidden from whoever reads the traces of a record is told by none of them, and what came of a deletion or of another patient neither."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from fhir_dmp.call import Call
from tests.access_world import NOON, consent, document
from tests.http.journal import acts, named, parent_of, told, traces, user


def test_an_item_that_is_hidden_from_the_holder_is_not_named_and_its_reading_is_told(world, world_auditor):
    """Who, when and where stand there; which document it was is told once the law lets it be seen."""
    world.holder().made(consent(world.patient, "permit"))
    doctor = world.professional("1", name="Dr Anne Martin")
    hidden = doctor.made(document(world.patient, "INVISIBLE_PATIENT"))
    plain = doctor.made(document(world.patient))
    doctor.read(f"DocumentReference/{hidden['id']}")
    doctor.search("DocumentReference", f"_id={hidden['id']},{plain['id']}")
    search, read, *rest = traces(world.holder())

    assert acts([search, read]) == [("search-type", "0"), ("read", "0")]
    assert hidden["id"] not in json.dumps([search, read, *rest])
    assert plain["id"] in json.dumps(search)
    assert "Dr Anne Martin" in told(read)
    assert [label["code"] for label in read["meta"]["security"]] == ["REDACTED"]
    assert hidden["id"] in json.dumps(traces(world_auditor, "date=ge2026&subtype=read&patient=" + world.patient)[0])

    world.clock.set(NOON + timedelta(days=40))
    later = traces(world.holder(), "subtype=read")[-1]
    assert hidden["id"] in json.dumps(later["entity"])


WHO = {
    "the holder": (lambda world: world.holder(), "INVISIBLE_PATIENT", False),
    "a representative": (parent_of, "INVISIBLE_REPRESENTANTS_LEGAUX", False),
    "the holder of another record": (lambda world: world.holder(), None, True),
}


@pytest.mark.rule("L13")
@pytest.mark.parametrize("who", WHO)
def test_traces_tell_no_more_than_the_answers_whether_something_is_there(world, who):
    """By an item that is hidden, what others did with it is not found; one's own attempt is told as that about an id which nobody has."""
    make, label, elsewhere = WHO[who]
    caller = make(world)
    patient = world.new_patient() if elsewhere else world.patient
    hidden, absent = world.ehr.made(document(patient, *([label] if label else [])))["id"], "a" * 36
    world.ehr.read(f"DocumentReference/{hidden}")
    assert traces(caller, f"entity=DocumentReference/{hidden}") == []
    seen = {}
    for own in (hidden, absent):
        ref = f"DocumentReference/{own}"
        assert [caller.read(ref).status, caller.vread(ref, 1).status, caller.delete(ref).status] == [404, 404, 204]
        checked = json.dumps(document(patient, id=own)).encode()
        assert caller.ask(Call("operation", *ref.split("/"), operation="validate", body=checked)).status == 200
        found = traces(caller, f"entity={ref}&subtype=read,vread,delete,$validate")
        latest = traces(caller, "subtype=read,vread,delete,$validate")[:4]
        assert [event["id"] for event in found] == [event["id"] for event in latest]
        assert all(caller.read(f"AuditEvent/{event['id']}").body == event for event in found)
        seen[own] = [
            (acts([event]), event.get("outcomeDesc"), event["meta"].get("security"), named(event, own))
            for event in found
        ]

    assert seen[hidden] == seen[absent]
    assert len(seen[hidden]) == 4
    assert bool(traces(world.holder(patient), "subtype=read&outcome=4")) or not elsewhere


def test_what_is_hidden_is_found_by_no_name_that_says_its_type_apart(world):
    """``entity:DocumentReference=d`` asks what ``entity=DocumentReference/d`` does."""
    hidden = world.ehr.made(document(world.patient, "INVISIBLE_PATIENT"))["id"]
    plain = world.ehr.made(document(world.patient))["id"]
    found = {own: len(traces(world.holder(), f"entity:DocumentReference={own}")) for own in (hidden, plain)}

    assert found == {hidden: 0, plain: 1}


@pytest.mark.rule("L13")
def test_what_others_asked_for_in_vain_is_told_alike_hidden_or_absent(world):
    """Somebody who is not let in asks for ids; the traces of it would tell the holder which of them is something that waits to be announced."""
    hidden = world.ehr.made(document(world.patient, "INVISIBLE_PATIENT"))["id"]
    stranger, told = world.professional("1"), []
    for own in (hidden, "a" * 36):
        assert stranger.read(f"DocumentReference/{own}").status == 403
        (event,) = traces(world.holder(), "subtype=read&_count=1")[:1]
        found = traces(world.holder(), f"entity=DocumentReference/{own}")
        told.append((named(event, own), event["meta"].get("security"), event["entity"], found))

    assert told[0] == told[1]
    assert "ID" not in told[0][0]


def test_of_a_deleted_item_that_was_hidden_the_traces_tell_no_more_than_before(world, world_auditor):
    """To a representative nothing at all: that it was deleted would say that there was one. To the minor and the auditor who asked for it."""
    parent = parent_of(world)
    hidden = world.ehr.made(document(world.patient, "INVISIBLE_REPRESENTANTS_LEGAUX"))["id"]
    ref = f"DocumentReference/{hidden}"
    world.ehr.delete(ref)
    before = [event["id"] for event in traces(parent)]

    assert world.ehr.read(ref).status == 410
    assert world.ehr.vread(ref, 2).status == 410
    assert world.ehr.delete(ref).status == 204

    assert [event["id"] for event in traces(parent, "agent=ehr-one") if event["id"] not in before] == []
    assert acts(traces(world.holder(), f"entity={ref}&outcome=4")) == [("delete", "4"), ("vread", "4"), ("read", "4")]
    found = traces(world_auditor, f"date=ge2026&patient={world.patient}&outcome=4&entity={ref}")
    assert acts(found) == [("delete", "4"), ("vread", "4"), ("read", "4")]


def test_an_attempt_at_another_patient_is_told_as_one_at_nobody(world):
    """It stands among the traces of who tried in both cases, and among those of the other one."""
    other, caller = world.new_patient(), world.holder()
    told_of = []
    for patient in (other, "Patient/nobody"):
        caller.read(patient)
        event = traces(caller, "subtype=read")[0]
        told_of.append(json.dumps([event["outcomeDesc"], named(event, patient)]).replace(patient, "ID"))

    assert told_of[0] == told_of[1]
    assert acts(traces(world.holder(other), "subtype=read")) == [("read", "4")]


def test_what_a_client_reports_of_a_hidden_item_is_masked_too(world, world_auditor):
    """A trace of another system may not name what the holder may not know of yet."""
    hidden = world.ehr.made(document(world.patient, "INVISIBLE_PATIENT"))
    reported = {
        "resourceType": "AuditEvent",
        "type": {"system": "http://terminology.hl7.org/CodeSystem/audit-event-type", "code": "rest"},
        "recorded": "2026-11-23T10:00:00Z",
        "agent": [{"requestor": True, "who": {"display": "somebody"}}],
        "source": {"observer": {"display": "their system"}},
        "entity": [
            {"what": {"reference": world.patient}},
            {"what": {"reference": f"DocumentReference/{hidden['id']}"}, "name": "a grave diagnosis"},
        ],
    }
    own = world.ehr.made(reported)["id"]
    seen = world.holder().read(f"AuditEvent/{own}").body

    assert hidden["id"] not in json.dumps(seen)
    assert "grave" not in json.dumps(seen)
    assert hidden["id"] in json.dumps(world_auditor.read(f"AuditEvent/{own}").body)


@pytest.mark.rule("F11")
def test_a_representative_sees_the_traces_but_those_of_a_secret_sign_in(world):
    """A minor's secret hides who was there, too."""
    world.patient = world.new_patient(birthDate="2011-05-31")
    world.holder().made(consent(world.patient, "permit"))
    related = world.insurance.made(
        {"resourceType": "RelatedPerson", "patient": {"reference": world.patient}, "active": True}
    )
    parent = world.representative(f"RelatedPerson/{related['id']}")
    doctor = world.professional("1")
    doctor.search("Observation")
    world.professional("2", secret=True).search("Condition")
    seen = traces(parent)
    names = [user(event)["who"]["identifier"]["value"] for event in seen if "reference" in user(event)["who"]]

    assert "1" in names
    assert "2" not in names
    assert "2" in [
        user(event)["who"]["identifier"]["value"] for event in traces(world.holder()) if event["outcome"] == "0"
    ]
    secret = next(event for event in traces(world.holder()) if user(event)["who"]["identifier"]["value"] == "2")
    assert secret["meta"]["security"][0]["code"] == "INVISIBLE_REPRESENTANTS_LEGAUX"
    assert parent.read(f"AuditEvent/{secret['id']}").status == 404

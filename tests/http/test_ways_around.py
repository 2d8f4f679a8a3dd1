"""Ways around what the patient said: each is shut, and what passes is told."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from msgspec.structs import replace

from tests.access_world import INS, NOON, RPPS, Actor, changed, consent, document, observation
from tests.http.test_choices_of_the_patient import say
from tests.http.test_notices import in_emergency, letters


@pytest.mark.rule("L12")
def test_an_emergency_that_comes_by_the_directory_is_told(world):
    """A search of professionals that brings observations along has opened the record; one that brings none has not."""
    known = world.ehr.made({"resourceType": "Practitioner"})
    made = world.ehr.made(observation(world.patient, performer=[{"reference": f"Practitioner/{known['id']}"}]))
    doctor = in_emergency(world)

    assert doctor.search("Practitioner").status == 200
    before = letters(world.holder())
    found = doctor.search("Practitioner", f"_id={known['id']}&_revinclude=Observation:performer")

    assert made["id"] in found.ids
    assert before == []
    assert len(letters(world.holder())) == 1


@pytest.mark.rule("L12")
def test_an_emergency_that_comes_by_a_condition_is_told(world, item):
    """What a conditional create finds is shown, and what a conditional reference finds is known to be there."""
    condition = f"_id={item.removeprefix('Observation/')}"
    member = observation(world.patient, hasMember=[{"reference": f"Observation?{condition}"}])

    found = in_emergency(world, jti="jti-1").create(observation(world.patient), criteria=condition)
    entry = {"resource": member, "request": {"method": "POST", "url": "Observation"}}
    linked = in_emergency(world, jti="jti-2").transaction(entry)

    assert (found.status, f"Observation/{found.body['id']}") == (200, item)
    assert linked.status == 200
    assert len(letters(world.holder())) == 2


@pytest.mark.rule("L19")
def test_an_occupational_doctor_breaks_no_glass(world, item):
    """Who enters by express consent alone has no emergency instead of it."""
    doctor = world.professional("1", specialty="SM25", purpose="BTG", reason="inconsciente, seule")

    assert doctor.read(item).status == 403
    assert letters(world.holder()) == []


@pytest.mark.rule("F2")
@pytest.mark.parametrize("number", ["3", "899700218896"])
def test_a_block_of_somebody_in_the_directory_holds_for_their_number(world, item, number):
    """The account of a professional is known by the national number, whatever resource it is tied to; and the block is lifted alike."""
    holder, doctor = world.holder(), world.professional(number)
    holder.made(consent(world.patient, "permit"))
    named = world.insurance.made({"resourceType": "Practitioner", "identifier": [{"system": RPPS, "value": number}]})
    actor = {"reference": f"Practitioner/{named['id']}"}
    assert doctor.read(item).status == 200

    assert say(holder, "block", actor=actor).status == 200
    blocked = doctor.read(item).status
    assert say(holder, "unblock", actor=actor).status == 200

    assert (blocked, doctor.read(item).status) == (403, 200)
    assert world.professional("4").read(item).status == 200


@pytest.mark.rule("L16")
def test_an_authorisation_of_a_structure_is_taken_back_by_its_name(world, item):
    """Whatever names the structure has besides the one that the holder knows it by."""
    named = world.insurance.made({"resourceType": "Organization", "identifier": [{"system": "urn:s", "value": "9"}]})
    holder, doctor = world.holder(), world.professional("1", structure="urn:s|9")
    actor = {"reference": f"Organization/{named['id']}"}

    assert say(holder, "authorize", actor=actor).status == 200
    opened = doctor.read(item).status
    assert say(holder, "revoke", actor=actor).status == 200

    assert (opened, doctor.read(item).status) == (200, 403)


def test_to_mask_what_others_wrote_makes_no_choice_of_it(world, item):
    """A Consent that an EHR wrote opens nothing, and goes on opening nothing when the holder hides it."""
    planted = world.ehr.made(consent(world.patient, "permit", actors=["Practitioner/p6"]))

    answer = say(world.holder(), "mask", item={"reference": f"Consent/{planted['id']}"})

    assert answer.status == 200
    assert world.professional("6").read(item).status == 403


@pytest.mark.rule("L25", "L24")
def test_a_doctor_whom_others_wrote_down_is_not_named_by_closing_and_reopening(world):
    """Each operation says one thing of the Patient; what stands beside it may be anybody's data."""
    made = world.ehr.made({"resourceType": "Patient", "generalPractitioner": [{"reference": "Practitioner/p6"}]})
    patient = f"Patient/{made['id']}"
    item = f"Observation/{world.ehr.made(observation(patient))['id']}"
    doctor, holder = world.professional("6", patient=patient), world.holder(patient)

    def ask(name, **given):
        return say(holder, name, patient, **given).status

    assert (ask("close"), ask("reopen")) == (200, 200)
    before = doctor.read(item).status
    assert ask("attending-doctor", actor={"reference": "Practitioner/p6"}) == 200
    named = doctor.read(item).status
    assert (ask("close"), doctor.read(item).status, ask("reopen")) == (200, 403, 200)

    assert (before, named, doctor.read(item).status) == (403, 200, 200)


@pytest.mark.rule("L15")
def test_a_representative_does_not_prolong_what_the_holder_gave(world, item):
    """Neither by a new word nor by another end of the old one; to give it back is free."""
    related = world.ehr.made({"resourceType": "RelatedPerson", "patient": {"reference": world.patient}})
    ref = f"RelatedPerson/{related['id']}"
    given = consent(
        world.patient,
        "permit",
        actors=[ref],
        purposes=["FAMRQT"],
        period={"end": (NOON + timedelta(days=3)).isoformat()},
    )
    made = world.holder().made(given)
    someone = world.representative(ref)
    assert someone.read(item).status == 200

    again = someone.create(consent(world.patient, "permit", actors=[ref], purposes=["FAMRQT"]))
    longer = someone.update(changed(made, provision={**made["provision"], "period": {"end": "2099"}}))

    assert (again.status, longer.status) == (403, 403)
    assert someone.create(consent(world.patient, "permit", actors=["Practitioner/p1"])).status == 201
    assert someone.update(changed(made, status="inactive")).status == 200
    assert someone.read(item).status == 403


def test_a_scope_for_some_consents_closes_no_record(world):
    """An operation on access is judged by no row, so that a search restriction could not hold it."""
    holder = world.holder()
    narrow = Actor(
        world, replace(holder.subject, scopes=("user/Consent.c?status=inactive", "user/Consent.s?status=active"))
    )

    assert say(narrow, "close").status == 403
    assert say(narrow, "access-list").status == 403
    assert say(holder, "close").status == 200


@pytest.mark.rule("L9")
def test_a_masked_item_that_comes_back_after_its_deletion_is_masked(world):
    """Who deletes a document and sends it again under its id does not unmask it, nor its past versions."""
    world.holder().made(consent(world.patient, "permit"))
    doctor, made = world.professional("1"), world.ehr.made(document(world.patient))
    ref = f"DocumentReference/{made['id']}"
    assert say(world.holder(), "mask", item={"reference": ref}).status == 200

    assert world.ehr.delete(ref).status == 204
    assert world.ehr.update(changed(made)).status == 201

    assert world.ehr.read(ref).status == 200
    assert [doctor.read(ref).status, doctor.vread(ref, 1).status, doctor.history(ref).status] == [404, 404, 404]


HELD = {
    "a patient": {"contained": [{"resourceType": "Patient", "id": "p", "name": [{"family": "Petit"}]}], "partOf": {"reference": "#p"}},
    "an item of a record": {"contained": [{**observation("PATIENT"), "id": "o"}], "partOf": {"reference": "#o"}},
    "a reference": {"extension": [{"url": "urn:x", "valueReference": {"reference": "PATIENT"}}]},
    "an INS": {"extension": [{"url": "urn:x", "valueReference": {"type": "Patient", "identifier": {"system": INS, "value": "279035121518989"}}}]},
    "an INS within": {"contained": [{**observation("PATIENT"), "id": "o", "subject": {"identifier": {"system": INS, "value": "279035121518989"}}}], "partOf": {"reference": "#o"}},
    "a reference to elsewhere": {"extension": [{"url": "urn:x", "valueReference": {"reference": "http://x.test/Patient/1"}}]},
}  # fmt: skip


def test_a_practitioner_with_the_numbers_of_two_is_nobody(world, item):
    """By the name of one professional another one would be let in. An older number beside is the same person's."""
    system, older = "urn:oid:1.2.250.1.71.4.2.1", {"system": "urn:oid:1.2.250.1.71.4.2.1", "value": "0759900000"}
    one, other = ({"system": system, "value": f"8{number}"} for number in ("10001234567", "10009876543"))
    same = {"system": "https://rpps.esante.gouv.fr", "value": "10001234567"}

    def authorised(*numbers):
        made = world.insurance.made({"resourceType": "Practitioner", "identifier": list(numbers)})
        who = f"Practitioner/{made['id']}"
        return world.holder().create(consent(world.patient, "permit", actors=[who])).status

    assert authorised(one, other) == 422
    assert world.professional("810009876543").read(item).status == 403
    assert authorised(one, same, older) == 201
    assert world.professional("810001234567").read(item).status == 200
    assert world.professional("810009876543").read(item).status == 403


def test_a_profile_names_the_system_of_the_ins(world):
    """It says what numbers look like, and is nobody's."""
    asked = {"id": "Patient.identifier", "path": "Patient.identifier", "patternIdentifier": {"system": INS}}
    profile = {
        "resourceType": "StructureDefinition",
        "url": "urn:x",
        "name": "Ins",
        "status": "draft",
        "kind": "resource",
        "abstract": False,
    }
    profile |= {
        "type": "Patient",
        "baseDefinition": "http://hl7.org/fhir/StructureDefinition/Patient",
        "derivation": "constraint",
    }

    made = world.ehr.create({**profile, "differential": {"element": [{"id": "Patient", "path": "Patient"}, asked]}})

    assert made.status == 201


@pytest.mark.parametrize("what", HELD)
def test_the_directory_holds_nothing_of_a_record(world, what):
    """Whoever is known reads it, whatever the record's holder says, and no trace would tell the holder of it."""
    own, held = {"resourceType": "Organization", "name": "Hospital"}, HELD[what]
    named = json.loads(json.dumps(held).replace("PATIENT", world.patient))

    made = world.ehr.made(own)
    refused = [
        world.ehr.create({**own, **named}),
        world.ehr.update(changed(made, **named)),
        world.ehr.transaction({"request": {"method": "POST", "url": "Organization"}, "resource": {**own, **named}}),
    ]

    assert [each.status for each in refused] == [422] * 3
    assert "Petit" not in str(refused)
    assert world.professional("1", patient="").search("Organization").ids == {made["id"]}


def test_what_was_deleted_comes_back_by_its_author_alone(world):
    """It would be told as theirs, as the patient's own or as a laboratory's, whoever wrote what it holds now."""
    world.holder().made(consent(world.patient, "permit"))
    lab = world.system("lab", "lab", "urn:s|2")
    for author, kind in ((world.holder(), observation), (lab, observation), (world.professional("1"), document)):
        made = author.made(kind(world.patient))
        ref = f"{made['resourceType']}/{made['id']}"
        assert author.delete(ref).status == 204

        others = [world.ehr, world.professional("2", structure="urn:s|8"), world.system("ehr-two", "ehr", "urn:s|8")]

        assert {each.update(changed(made)).status for each in others} == {403}
        assert author.update(changed(made)).status == 201

"""A choice that would be stored and not enforced is refused at the door, and being accepted tells nobody what is hidden."""

from __future__ import annotations

from tests.access_world import changed, consent, document, observation, reference
from tests.http.test_choices_of_the_patient import say


def about(patient, *items):
    """Return a denial of single items."""
    return consent(patient, "deny", data=[{"meaning": "instance", "reference": reference(item)} for item in items])


def test_a_choice_without_effect_is_refused_and_nothing_is_stored(world):
    """With a reason, by all who are entitled: the holder, and the insurance."""
    idle = [
        consent(world.patient, "deny", actors=[world.patient]),
        consent(world.patient, "permit", purposes=["HPAYMT"]),
        {**consent(world.patient, "deny"), "scope": {"text": "patient-privacy"}},
        {name: value for name, value in consent(world.patient, "deny").items() if name != "patient"},
    ]

    answers = [world.insurance.create(tree) for tree in idle] + [world.holder().create(tree) for tree in idle[:3]]

    assert [answer.status for answer in answers] == [422] * 7
    assert all("cannot be enforced as it stands" in answer.text for answer in answers)
    assert world.holder().search("Consent").ids == set()


def test_what_a_consent_names_is_seen_in_the_record(world):
    """Absent, of another record and hidden are one answer; what is seen is denied as it says."""
    other = world.new_patient()
    hidden = world.ehr.made(document(world.patient, "INVISIBLE_PATIENT"))
    foreign = world.ehr.made(observation(other))
    seen = world.ehr.made(observation(world.patient))
    names = ["Observation/absent", f"Observation/{foreign['id']}", f"DocumentReference/{hidden['id']}"]
    holder, doctor = world.holder(), world.professional("1")
    holder.made(consent(world.patient, "permit"))

    answers = [holder.create(about(world.patient, name)) for name in names]
    holder.made(about(world.patient, f"Observation/{seen['id']}"))

    assert {(each.status, each.text.replace(name, "")) for each, name in zip(answers, names, strict=True)} == {
        (422, "This Consent cannot be enforced as it stands:  is nothing that you see in this record.")
    }
    assert doctor.read(f"Observation/{seen['id']}").status == 404


def test_a_representative_is_named_in_their_own_record(world):
    """The RelatedPerson of somebody else, and one who is not there, represent nobody."""
    other = world.insurance.made({"resourceType": "RelatedPerson", "patient": {"reference": world.new_patient()}})

    for name in (f"RelatedPerson/{other['id']}", "RelatedPerson/absent"):
        assert world.holder().create(consent(world.patient, "permit", actors=[name])).status == 422


def test_a_group_that_a_consent_may_not_name_is_as_absent(world):
    """A foreign group of patients is told neither by an acceptance nor by another refusal."""
    group = world.ehr.made({"resourceType": "Group", "type": "person", "actual": True})

    there = world.holder().create(consent(world.patient, "deny", actors=[f"Group/{group['id']}"]))
    absent = world.holder().create(consent(world.patient, "deny", actors=["Group/absent"]))

    assert (there.status, there.text) == (absent.status, absent.text)
    assert there.status == 422


def test_who_leaves_a_group_or_whose_group_goes_leaves_the_record(world):
    """A group that names nobody any more opens to nobody."""
    item = f"Observation/{world.ehr.made(observation(world.patient))['id']}"
    member = {"entity": {"reference": "Practitioner/p1"}}
    group = world.insurance.made({"resourceType": "Group", "type": "practitioner", "actual": True, "member": [member]})
    world.holder().made(consent(world.patient, "permit", actors=[f"Group/{group['id']}"]))
    before = world.professional("1").read(item).status

    nobody = {name: value for name, value in group.items() if name != "member"}
    assert world.insurance.update(changed(nobody)).status == 200

    assert (before, world.professional("1").read(item).status) == (200, 403)


def test_a_doctor_whom_others_wrote_down_is_not_named_by_a_change_of_the_structure(world):
    """What is compiled anew is the holder's word and not what stands in the Patient by now."""
    place = world.insurance.made(
        {"resourceType": "Organization", "name": "x", "identifier": [{"system": "urn:s", "value": "9"}]}
    )
    role = world.insurance.made(
        {
            "resourceType": "PractitionerRole",
            "practitioner": {"reference": "Practitioner/p1"},
            "organization": {"reference": f"Organization/{place['id']}"},
        }
    )
    ehr = world.ehr
    made = ehr.made({"resourceType": "Patient"})
    patient = f"Patient/{made['id']}"
    named = {"generalPractitioner": [{"reference": f"PractitionerRole/{role['id']}"}]}
    assert world.insurance.update(changed(made, **named)).status == 200
    forged = {"generalPractitioner": [{"reference": "Practitioner/p2"}]}
    assert ehr.update(changed(made, **forged)).status == 200
    item = f"Observation/{ehr.made(observation(patient))['id']}"
    for operation in ("close", "reopen"):
        assert say(world.holder(patient), operation, patient).status == 200

    assert world.insurance.update(changed(place, name="y")).status == 200

    assert world.professional("1", patient=patient).read(item).status == 200
    assert world.professional("2", patient=patient).read(item).status == 403

"""Records that are found by the INS of their holder: one at a time, by who may, and not beside the one that a token is for."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.access_world import INS, Actor, observation


def test_a_professional_seeks_one_ins_at_a_time(world):
    """A list of numbers finds nobody, so that nobody tries numbers out; one is found under each of its systems."""
    numbers = ["279035121518989", "279035121518988"]
    for number in numbers:
        world.new_patient(identifier=[{"system": INS, "value": number}])
    doctor = world.professional(patient="")
    named = [f"{INS}|{number}" for number in numbers]

    assert len(doctor.search("Patient", f"identifier={named[0]}").ids) == 1
    assert len(doctor.search("Patient", f"identifier={named[0]},urn:oid:1.2.250.1.213.1.4.8|{numbers[0]}").ids) == 1
    assert doctor.search("Patient", f"identifier={','.join(named)}").ids == set()


@pytest.mark.rule("F3", "L7")
def test_a_laboratory_writes_into_a_record_that_it_finds_by_ins(world):
    """It learns the id and no more: neither a read nor a conditional create shows the Patient, its version, or when it changed."""
    ins = {"system": INS, "value": "279035121518989"}
    patient = world.insurance.made({"resourceType": "Patient", "identifier": [ins], "birthDate": "1980-01-01"})
    lab = world.system("lab-one", "lab", "urn:l|1")
    named = f"Patient?identifier={INS}|279035121518989"
    result = observation(named, category=[{"coding": [{"code": "laboratory"}]}])
    entry = {"request": {"method": "POST", "url": "Observation"}, "resource": result}

    answer = lab.transaction(entry)

    assert answer.status == 200
    location = answer.body["entry"][0]["response"]["location"]
    made = lab.read("Observation/" + location.split("Observation/")[1].split("/")[0])
    assert made.body["subject"]["reference"] == f"Patient/{patient['id']}"
    again = lab.create({"resourceType": "Patient"}, criteria=named.partition("?")[2])
    assert (again.status, again.body) == (200, {})
    request = {"method": "POST", "url": "Patient", "ifNoneExist": named.partition("?")[2]}
    (found,) = lab.transaction({"request": request, "resource": {"resourceType": "Patient"}}).body["entry"]
    assert found["response"] == {"status": "200 OK", "location": f"{world.server.base_url}/Patient/{patient['id']}"}
    assert lab.read(f"Patient/{patient['id']}").status == 404
    assert lab.search("Patient", "birthdate=1980-01-01").ids == set()


def test_a_professional_without_a_record_finds_one_patient_by_ins(world, item):
    """By the exact number alone, and nothing of the record."""
    made = world.insurance.made(
        {"resourceType": "Patient", "identifier": [{"system": INS, "value": "279035121518989"}]}
    )
    doctor = world.professional("1", patient="")

    assert doctor.search("Patient", f"identifier={INS}|279035121518989").ids == {made["id"]}
    assert doctor.search("Patient", "identifier=279035121518989").ids == set()
    assert doctor.search("Patient", f"identifier={INS}|279035121518989&_revinclude=Observation:patient").ids == {
        made["id"]
    }
    assert doctor.read(f"Patient/{made['id']}").status == 404
    assert doctor.read(item).status == 404


def test_a_token_for_one_record_finds_no_other_by_ins(world):
    """Neither by a condition: it would tell of any number whether somebody has it, and the id of that record."""
    own, other = "279035121518989", "124018852493334"
    made = [
        world.insurance.made({"resourceType": "Patient", "identifier": [{"system": INS, "value": each}]})["id"]
        for each in (own, other)
    ]
    record = f"Patient/{made[0]}"
    lab = world.system("lab-one", "lab", "urn:l|1")
    callers = world.professional("1", patient=record), Actor(world, replace(lab.subject, patient=record))

    def outcome(caller, number):
        criteria = f"identifier={INS}|{number}"
        found = caller.create({"resourceType": "Patient"}, criteria=criteria)
        resource = observation(f"Patient?{criteria}", category=[{"coding": [{"code": "laboratory"}]}])
        told = caller.transaction({"request": {"method": "POST", "url": "Observation"}, "resource": resource})
        assert made[1] not in str((found, told))
        return found.status, told.status

    assert [outcome(each, own) for each in callers] == [(200, 200)] * 2
    assert [outcome(each, other) for each in callers] == [outcome(each, "288091720220371") for each in callers]

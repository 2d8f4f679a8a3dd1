"""A row of several records is judged by all of them, and so it is found by who may see it whichever of them is named."""

from __future__ import annotations

import pytest

from fhir_dmp.call import Call
from fhir_dmp.fhir.reference import Ref
from tests.access_world import changed, consent, observation
from tests.http.test_choices_of_the_patient import say


@pytest.fixture
def other(world):
    """Another record, of who pays for the first one's insurance."""
    return world.new_patient()


@pytest.fixture
def cover(world, other):
    """The insurance of the first patient, which the other one subscribed; the EHR of structure 1 wrote it."""
    return world.ehr.made(coverage(world.patient, other))["id"]


def coverage(beneficiary, subscriber):
    """Return an insurance that two records hold."""
    payor = [{"display": "x"}]
    whom = {"beneficiary": {"reference": beneficiary}, "subscriber": {"reference": subscriber}}
    return {"resourceType": "Coverage", "status": "active", "payor": payor, **whom}


def open_to(world, structure, *patients):
    """Let a structure into these records; return its EHR."""
    for patient in patients:
        world.holder(patient).made(consent(patient, "permit", actors=[structure]))
    return world.system("ehr-two", "ehr", structure)


def found(actor, cover, patient):
    """Tell by which ways the actor finds the row."""
    query = f"beneficiary={patient}" if patient == actor.world.patient else f"subscriber={patient}"
    whole = actor.ask(Call("operation", "Patient", patient.partition("/")[2], operation="everything"))
    return {
        "read": actor.read(f"Coverage/{cover}").status == 200,
        "patient": cover in actor.search("Coverage", f"patient={actor.world.patient}").ids,
        "named": cover in actor.search("Coverage", query).ids,
        "brought along": cover in actor.search("Patient", f"_id={patient}&_revinclude=Coverage:subscriber").ids
        or patient != actor.world.patient,
        "whole": cover in whole.ids,
        "list": cover in actor.search("Coverage").ids,
    }


@pytest.mark.parametrize("named", [0, 1])
def test_a_structure_that_both_let_in_finds_it_by_either(world, other, cover, named):
    """By reading it, in a list of either record, in its whole, and in a list that names none."""
    ehr = open_to(world, "urn:s|2", world.patient, other)

    ways = found(ehr, cover, (world.patient, other)[named])

    assert {way for way, here in ways.items() if not here} <= {"brought along"}
    assert any("open by each of its records" in reason for reasons in world.reasons() for reason in reasons)


@pytest.mark.parametrize("opened", [0, 1])
def test_one_record_does_not_open_what_is_the_others_as_well(world, other, cover, opened):
    """Neither by name nor without; what is that record's alone is found."""
    patient = (world.patient, other)[opened]
    item = world.ehr.made(observation(patient))["id"]
    ehr = open_to(world, "urn:s|2", patient)

    ways = found(ehr, cover, patient)

    assert {way for way, here in ways.items() if here} <= {"brought along"}
    assert ehr.search("Observation", f"patient={patient}").ids == {item}


def test_what_the_other_record_refuses_is_found_no_more(world, other, cover):
    """By the next request: a denial, what one record opens in part, a closing that hides it from its author too."""
    ehr = open_to(world, "urn:s|2", world.patient, other)
    before = found(ehr, cover, world.patient)["patient"], found(world.ehr, cover, world.patient)["patient"]

    denied = world.holder(other).made(consent(other, "deny", actors=["urn:s|2"]))
    after = found(ehr, cover, world.patient)
    world.holder(other).update(changed(denied, status="inactive"))
    again = found(ehr, cover, world.patient)["patient"]
    say(world.holder(other), "close", other)

    assert before == (True, True)
    assert not any(here for way, here in after.items() if way != "brought along")
    assert again
    assert not found(ehr, cover, world.patient)["patient"]
    assert not found(world.ehr, cover, world.patient)["patient"]
    assert not found(world.ehr, cover, world.patient)["read"]


def test_a_permission_of_a_part_holds_for_that_part(world, other, cover):
    """What the other record opens is a single item of it: another one, and then this one too."""
    ehr = open_to(world, "urn:s|2", world.patient)
    elsewhere = world.ehr.made(observation(other))["id"]

    def let_in(ref):
        data = [{"meaning": "instance", "reference": {"reference": ref}}]
        world.holder(other).made(consent(other, "permit", actors=["urn:s|2"], data=data))

    let_in(f"Observation/{elsewhere}")
    part = ehr.search("Coverage", f"patient={world.patient}").ids, ehr.search("Observation", f"patient={other}").ids

    assert part == (set(), {elsewhere})


@pytest.mark.parametrize(("number", "listed"), [(20, True), (21, False)])
def test_a_row_of_too_many_records_is_in_no_list_of_one(world, number, listed):
    """It is read by who may see it; a list of one record looks at so many others and no more."""
    patients = [world.new_patient() for _ in range(number)]
    members = [{"entity": {"reference": each}} for each in patients]
    group = world.ehr.made({"resourceType": "Group", "type": "person", "actual": True, "member": members})["id"]
    within = Ref("Patient", patients[0].partition("/")[2])

    assert world.ehr.read(f"Group/{group}").status == 200
    assert (group in world.ehr.ask(Call("search-type", "Group", compartment=within)).ids) is listed

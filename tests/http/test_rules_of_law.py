"""Rules of the law that are shown by nothing but several people and Consents together."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from fhir_dmp.access.decide import decide
from fhir_dmp.access.policy import Entry, Member, Policy, Provision
from fhir_dmp.access.rules import rules_for
from fhir_dmp.definitions.loader import load
from fhir_dmp.settings import Readings
from fhir_dmp.store.query import NOTHING
from tests.access_world import NOON, RPPS, consent, document, observation, reference


def team(world, *members):
    """Return a care team of the record."""
    participants = [{"member": reference(each)} for each in members]
    whom = {"reference": world.patient}
    return {"resourceType": "CareTeam", "status": "active", "subject": whom, "participant": participants}


@pytest.mark.rule("L3")
def test_the_team_enters_unless_opposed_and_others_by_a_word_for_each_consultation(world, item):
    """One of the team until the holder opposes it; who is not of it for the hours of a consultation, and not for the next one."""
    holder = world.holder()
    holder.made(team(world, "Practitioner/p1", "Practitioner/p2"))
    hours = {"period": {"end": (NOON + timedelta(hours=2)).isoformat()}}
    holder.made(consent(world.patient, "permit", actors=[f"{RPPS}|3"], **hours))
    holder.made(consent(world.patient, "deny", actors=["Practitioner/p2"]))

    first = [world.professional(number).read(item).status for number in "1234"]
    world.clock.set(NOON + timedelta(hours=3))
    next_one = [world.professional(number).read(item).status for number in "1234"]

    assert first == [200, 403, 200, 403]
    assert next_one == [200, 403, 403, 403]


@pytest.mark.rule("L6")
def test_the_holder_decides_otherwise_than_the_matrix_by_taking_away(world, item):
    """What the matrix gives a doctor is taken back by a Consent; what it does not give an optician is given by none."""
    holder = world.holder()
    holder.made(consent(world.patient, "permit"))
    doctor, optician = world.professional("1"), world.professional("2", profession="28")
    before = doctor.read(item).status

    data = [{"meaning": "instance", "reference": {"reference": item}}]
    holder.made(consent(world.patient, "deny", actors=[f"{RPPS}|1"], data=data))
    holder.made(consent(world.patient, "permit", actors=[f"{RPPS}|2"], data=data))

    assert before == 200
    assert doctor.read(item).status == 404
    assert optician.read(item).status == 404


@pytest.mark.rule("L7")
def test_a_laboratory_writes_against_what_opposes_everybody_and_not_against_its_name(world):
    """To oppose who enters stops no deposit; a denial that names the laboratory's structure blocks it, writing included."""
    lab = world.system("lab-one", "lab", "urn:s|lab")
    world.holder().made(consent(world.patient, "deny"))
    opposed = lab.create(observation(world.patient))

    world.holder().made(consent(world.patient, "deny", actors=["urn:s|lab"]))

    assert opposed.status == 201
    assert lab.create(observation(world.patient)).status == 403


EXPLICIT = {"SM25": False, "urn:s|brigade": True}
"""Occupational doctors, and who works for a fire brigade: each by express consent, the second ones in an emergency too."""


def enters(world, subject, *entries):
    """Tell whether the rules let somebody see an item of the record, where ``EXPLICIT`` are to be named."""
    matrix = replace(load().matrix, explicit=EXPLICIT)
    policies = {world.patient: Policy(world.patient, entries)}
    row = {"_id": "Observation/o", "ty": "Observation", "pt": [world.patient], "ca": "10", "t": ["Observation"]}
    return decide(
        rules_for(subject, "read", policies, NOON, matrix, lambda _: NOTHING, readings=Readings()), row
    ).permit


@pytest.mark.rule("L19", "L20")
@pytest.mark.parametrize("who", [{"specialty": "SM25"}, {"structure": "urn:s|brigade"}], ids=["specialty", "structure"])
@pytest.mark.parametrize(
    ("opening", "read"),
    [
        (Entry("CareTeam/t", 1, members=(Member((("Practitioner/p1",),)),)), False),
        (Entry("Patient/p", 1, doctors=(Member((("Practitioner/p1",),)),)), False),
        (Entry("Consent/c", 1, Provision(permit=True)), False),
        (Entry("Consent/c", 1, Provision(permit=True, actors=(("Practitioner/p1",),))), True),
    ],
    ids=["team", "doctor", "everybody", "by name"],
)
def test_who_the_matrix_lists_as_explicit_enters_by_name_alone(world, who, opening, read):
    """By a specialty, or by the structure that they work for: no code of a specialty tells the fire brigade's doctors."""
    assert enters(world, world.professional("1", **who).subject, opening) is read


@pytest.mark.rule("L19", "L20", "L10")
@pytest.mark.parametrize(
    ("who", "read"), [({"specialty": "SM25"}, False), ({"structure": "urn:s|brigade"}, True)], ids=["works", "brigade"]
)
def test_a_doctor_of_the_fire_brigade_breaks_the_glass_and_an_occupational_one_does_not(world, who, read):
    """Where consent cannot be expressed, and unless it was opposed before; who is both enters as the stricter of the two."""
    doctor = world.professional("1", purpose="BTG", reason="inconsciente, seule", **who).subject
    both = world.professional("1", purpose="BTG", reason="inconsciente, seule", **{**who, "specialty": "SM25"})
    opposed = Provision(permit=False, purposes=("http://terminology.hl7.org/CodeSystem/v3-ActReason|BTG",))

    assert enters(world, doctor) is read
    assert not enters(world, doctor, Entry("Consent/c", 1, opposed))
    assert not enters(world, replace(doctor, person=replace(doctor.person, reason=None)))
    assert not enters(world, both.subject)


@pytest.mark.rule("L21")
def test_a_doctor_of_a_structure_that_was_let_in_reads_and_deposits(world, item):
    """As one of maternal and child protection: a doctor by profession, whose structure the holder names."""
    doctor = world.professional("1", structure="urn:s|pmi")
    before = doctor.read(item).status
    world.holder().made(consent(world.patient, "permit", actors=["urn:s|pmi"]))

    assert before == 403
    assert doctor.read(item).status == 200
    assert doctor.create(document(world.patient)).status == 201


@pytest.mark.rule("F23")
def test_the_team_sees_by_the_matrix_before_the_patient_has_ever_signed_in(world, item):
    """Nothing waits for a first sign-in: what was deposited is seen by the team that the insurance states, and no further than the matrix."""
    world.insurance.made(team(world, "Practitioner/p1", "Practitioner/p2"))
    doctor, optician = world.professional("1"), world.professional("2", profession="28")

    assert doctor.read(item).status == 200
    assert optician.read(item).status == 404


@pytest.mark.rule("F21")
def test_a_client_that_may_not_consult_feeds_and_finds_its_own(world, item):
    """One that is registered without the right to read, for who is not strongly authenticated: no consultation, not even of a record that is open."""
    world.holder().made(consent(world.patient, "permit"))
    feeder = world.system("feeder", "ehr", "urn:s|f", scopes=("system/DocumentReference.cs",))
    own = feeder.made(document(world.patient, identifier=[{"system": "urn:i", "value": "1"}]))

    assert feeder.search("DocumentReference", "identifier=urn:i|1").ids == {own["id"]}
    assert feeder.read(f"DocumentReference/{own['id']}").status == 403
    assert feeder.search("Observation").status == 403
    assert feeder.read(item).status == 403

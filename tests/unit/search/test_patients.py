"""Whom and what criteria name, by the definitions of their parameters. https://hl7.org/fhir/R4/search.html#reference."""

from __future__ import annotations

import pytest

from fhir_dmp.search.patients import named_by
from tests.unit.search.world import BASE, request_of

OF_PATIENTS = {
    "Observation?subject=p": {"Patient/p"},
    "Observation?subject=Patient/p,Group/g,q": {"Patient/p", "Patient/q"},
    f"Observation?patient={BASE}/Patient/p/_history/2": {"Patient/p"},
    "Observation?patient=https://elsewhere.example/Patient/p": set(),
    "Observation?performer:Patient=p&code=x": {"Patient/p"},
    "Coverage?beneficiary=p": {"Patient/p"},
    "Appointment?actor=Practitioner/d,Patient/p": {"Patient/p"},
    "Communication?recipient=Patient/p&sender=Patient/q": {"Patient/p", "Patient/q"},
    "Provenance?target=Patient/p": {"Patient/p"},
    "Observation?patient._id=p": {"Patient/p"},
    "DiagnosticReport?result.has-member.subject=Patient/p": {"Patient/p"},
    "Observation?subject:Patient.link=Patient/p": {"Patient/p"},
    "Patient?_id=p": {"Patient/p"},
    "Patient?_has:Observation:patient:performer=Patient/p": {"Patient/p"},
    "Patient?_has:Observation:patient:_has:Provenance:target:target=Patient/p": {"Patient/p"},
    "Observation?_filter=not (code eq x and subject eq Patient/p) or performer re Patient/q": {
        "Patient/p",
        "Patient/q",
    },
    "Observation?_filter=subject pr true": set(),
    "AuditEvent?entity=Patient/p&agent=Patient/q": {"Patient/p", "Patient/q"},
    "Observation?subject:missing=true&subject:identifier=p": set(),
}


@pytest.mark.parametrize("asked", OF_PATIENTS)
def test_a_reference_that_may_point_at_a_patient_names_one(asked):
    """Whatever its parameter is called, and wherever it stands."""
    assert set(named(asked).patients) == OF_PATIENTS[asked]


OF_ITEMS = {
    "Observation?_id=o,bad!": {"Observation/o"},
    "Observation?encounter=Encounter/e": {"Encounter/e"},
    "Observation?encounter=e": {"Encounter/e", "EpisodeOfCare/e"},
    "Observation?performer=x": {f"{kind}/x" for kind in ("Practitioner", "Organization", "CareTeam", "Patient", "PractitionerRole", "RelatedPerson")},
    "Observation?encounter:Encounter=e": {"Encounter/e"},
    "Observation?patient=p&encounter=e&_id=o": {"Observation/o"},
    "Observation?_filter=patient eq p or encounter eq Encounter/e": {"Encounter/e"},
    "Patient?_has:Observation:patient:_id=o": {"Observation/o"},
    "Patient?_list=l,List/m": {"List/l", "List/m"},
    "AuditEvent?policy=Consent/c": {"Consent/c"},
    "Observation?code=x&_id:not=o": set(),
}  # fmt: skip


@pytest.mark.parametrize("asked", OF_ITEMS)
def test_what_is_named_by_id_may_be_of_each_type_that_its_parameter_points_at(asked):
    """Beside a patient whose all must be, what others refer to is told of nothing else."""
    assert {str(each) for each in named(asked).items} == OF_ITEMS[asked]


OF_NUMBERS = {
    "Patient?identifier=s|1,|2,3,s|": {("Patient", "s|1"), ("Patient", "|2"), ("Patient", "3")},
    "Patient?identifier:of-type=s|MR|1": {("Patient", "1")},
    "Patient?identifier:not=s|1": set(),
    "Observation?subject:identifier=s|1": {("Patient", "s|1")},
    "Observation?performer:Patient.identifier=s|1": {("Patient", "s|1")},
    "Observation?encounter.identifier=s|1": {("Encounter", "s|1"), ("EpisodeOfCare", "s|1")},
    "Observation?patient=p&identifier=s|1": set(),
    "Observation?patient=p&_filter=patient.identifier eq s|1": {("Patient", "s|1")},
    "Patient?_has:Observation:patient:identifier=s|1": {("Observation", "s|1")},
}


@pytest.mark.parametrize("asked", OF_NUMBERS)
def test_a_number_names_whatever_its_parameter_points_at(asked):
    """None does that is of a whole system."""
    assert set(named(asked).numbers) == OF_NUMBERS[asked]


@pytest.mark.parametrize(
    ("asked", "asks"),
    [
        ("Observation?_id=o", False),
        ("Patient?identifier=s|1&_count=0&_include=Patient:link", False),
        ("Observation?subject=p", True),
        ("Observation?_id:not=o", True),
        ("Patient?identifier:not=s|1", True),
        ("Patient?_id=p&_tag=x", True),
        ("Patient?_id=p&_filter=name eq x", True),
    ],
)
def test_what_is_named_by_its_own_id_or_number_is_asked_nothing_by_that(asked, asks):
    """It is told as much by a read."""
    assert named(asked).asks is asks


def named(asked):
    """Return what the criteria name."""
    kind, _, query = asked.partition("?")
    return named_by(request_of(kind, query).criteria, BASE)

"""Codes above, below and within a value set. https://hl7.org/fhir/R4/search.html#token."""

from __future__ import annotations

import json

import pytest

from fhir_dmp.errors import FhirError, NotSupported, TooCostly
from tests.unit.search.world import finds_value

ROLE = "http://terminology.hl7.org/CodeSystem/v3-RoleCode"
GENDER = "http://hl7.org/fhir/ValueSet/administrative-gender"


def related(code, system=ROLE):
    return {"resourceType": "RelatedPerson", "relationship": [{"coding": [{"system": system, "code": code}]}]}


def stored(*resources):
    """Return what the server would give for a look-up of any canonical."""
    return lambda query, _: tuple(
        json.dumps(each).encode() for each in resources if str(each["resourceType"]) in str(query)
    )


@pytest.mark.parametrize(
    ("modifier", "asked", "code", "expected"),
    [
        ("below", "PRN", "MTH", True),
        ("below", "PRN", "NMTH", True),
        ("below", "PRN", "PRN", True),
        ("below", "PRN", "SIS", False),
        ("above", "NMTH", "PRN", True),
        ("above", "NMTH", "FAMMEMB", True),
        ("above", "NMTH", "SIS", False),
        ("above", "PRN", "MTH", False),
    ],
)
def test_codes_are_found_above_and_below_in_their_hierarchy(modifier, asked, code, expected):
    """A natural mother is a mother is a parent is a member of the family."""
    assert finds_value(f"relationship:{modifier}", f"{ROLE}|{asked}", related(code)) is expected
    assert not finds_value(f"relationship:{modifier}", f"{ROLE}|{asked}", related(code, "urn:other"))


def test_a_code_of_an_unknown_hierarchy_is_refused():
    """Nobody knows what lies below it; and without its system nobody knows where it stands."""
    for value in ("http://snomed.info/sct|73211009", "PRN", "|PRN", f"{ROLE}|"):
        with pytest.raises(FhirError) as refusal:
            finds_value("relationship:below", value, related("PRN"))
        assert refusal.value.status == 400


@pytest.mark.parametrize(("modifier", "expected"), [("in", True), ("not-in", False)])
def test_codes_are_found_in_a_value_set_of_the_definitions(modifier, expected):
    """Of an element of codes, and of a concept with its system."""
    patient = {"resourceType": "Patient", "gender": "female"}
    assert finds_value(f"gender:{modifier}", GENDER, patient) is expected
    assert finds_value(f"gender:{modifier}", GENDER + "|4.0.1", patient) is expected
    assert finds_value(f"gender:{modifier}", GENDER, {"resourceType": "Patient"}) is (modifier == "not-in")
    clinical = "http://hl7.org/fhir/ValueSet/condition-clinical"
    system = "http://terminology.hl7.org/CodeSystem/condition-clinical"
    active = {"resourceType": "Condition", "clinicalStatus": {"coding": [{"system": system, "code": "active"}]}}
    other = {"resourceType": "Condition", "clinicalStatus": {"coding": [{"system": "urn:x", "code": "active"}]}}
    assert finds_value(f"clinical-status:{modifier}", clinical, active) is expected
    assert finds_value(f"clinical-status:{modifier}", clinical, other) is not expected


def test_a_value_set_that_is_stored_here_is_worked_out():
    """Concepts, all of a system, filters by is-a, other value sets, and what is left out."""
    value_set = {
        "resourceType": "ValueSet",
        "compose": {
            "include": [
                {"system": "urn:a", "concept": [{"code": "1"}, {"code": "2"}]},
                {"system": "urn:all"},
                {"system": ROLE, "filter": [{"property": "concept", "op": "is-a", "value": "PRN"}]},
            ],
            "exclude": [{"system": "urn:a", "concept": [{"code": "2"}]}],
        },
    }
    options = {"bodies": stored(value_set)}
    for code, system, expected in (
        ("1", "urn:a", True),
        ("2", "urn:a", False),
        ("any", "urn:all", True),
        ("NMTH", ROLE, True),
        ("SIS", ROLE, False),
    ):
        assert finds_value("relationship:in", "http://a.fr/vs", related(code, system), **options) is expected


def test_a_hierarchy_that_is_stored_here_is_known():
    """A CodeSystem that is complete."""
    system = {
        "resourceType": "CodeSystem",
        "content": "complete",
        "concept": [{"code": "a", "concept": [{"code": "b", "concept": [{"code": "c"}]}]}],
    }
    options = {"bodies": stored(system)}
    assert finds_value("relationship:below", "urn:s|a", related("c", "urn:s"), **options)
    assert not finds_value("relationship:below", "urn:s|b", related("a", "urn:s"), **options)
    with pytest.raises(NotSupported):
        finds_value("relationship:below", "urn:s|a", related("a"), bodies=stored({**system, "content": "fragment"}))


@pytest.mark.parametrize(
    ("include", "error"),
    [
        ([{"system": "urn:x", "filter": [{"property": "parent", "op": "regex", "value": ".*"}]}], NotSupported),
        ([{"valueSet": ["http://a.fr/vs"]}], TooCostly),
        ([{"system": "urn:x", "concept": [{"code": str(number)} for number in range(6000)]}], TooCostly),
    ],
)
def test_a_value_set_that_cannot_be_worked_out_whole_is_refused(include, error):
    """Filters that nobody knows, sets within themselves, thousands of codes."""
    value_set = {"resourceType": "ValueSet", "compose": {"include": include}}
    with pytest.raises(error):
        finds_value("relationship:in", "http://a.fr/vs", related("1"), bodies=stored(value_set))


def test_a_value_set_that_is_not_known_is_refused():
    """Not answered as if it were empty, nor as if all were in it."""
    for modifier in ("in", "not-in"):
        with pytest.raises(NotSupported):
            finds_value(f"relationship:{modifier}", "http://a.fr/unknown", related("1"))


def test_an_identifier_is_found_by_its_type():
    """System and code of the type, and the value."""
    types = "http://terminology.hl7.org/CodeSystem/v2-0203"
    patient = {
        "resourceType": "Patient",
        "identifier": [
            {"type": {"coding": [{"system": types, "code": "MR"}]}, "system": "urn:h", "value": "12|345"},
            {"type": {"coding": [{"system": types, "code": "SS"}]}, "value": "9"},
        ],
    }
    assert finds_value("identifier:of-type", f"{types}|MR|12\\|345", patient)
    assert not finds_value("identifier:of-type", f"{types}|MR|9", patient)
    assert not finds_value("identifier:of-type", "urn:x|MR|12\\|345", patient)
    for wrong in (f"{types}|MR", "MR|9", f"{types}|MR|", "a|b|c|d"):
        with pytest.raises(FhirError):
            finds_value("identifier:of-type", wrong, patient)

"""The invariants of R4 are held, by their FHIRPath, at every place that they are about. https://hl7.org/fhir/R4/conformance-rules.html#constraints."""

from __future__ import annotations

import re

import pytest

from fhir_dmp.definitions.loader import load
from fhir_dmp.fhir import codec
from fhir_dmp.validation.fhirpath import Scene, compile_truth
from fhir_dmp.validation.structure import build_validator
from scripts import build_definitions

validate = build_validator(load())
CONDITION = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
PERSON = {"reference": "Patient/p"}


def coded(system, code):
    """Return a CodeableConcept."""
    return {"coding": [{"system": system, "code": code}]}


def broken(resource_type, **elements):
    """Return the keys of the invariants that the resource breaks, with their places."""
    tree = codec.loads(codec.dumps({"resourceType": resource_type, **elements}))
    found = validate(resource_type, tree)
    assert all(issue.code == "invariant" for issue in found), found
    return [(re.search(r"breaks ([a-z]+-\w+)", str(issue.text))[1], issue.expression) for issue in found]


ALLERGY = {"patient": PERSON}
OBSERVATION = {"status": "final", "code": coded("urn:c", "a")}
DOSE = {
    "status": "completed",
    "subject": PERSON,
    "medicationCodeableConcept": {"text": "x"},
    "effectiveDateTime": "2024",
}
ORDER = {"status": "active", "intent": "order", "subject": PERSON, "medicationCodeableConcept": {"text": "x"}}
ITEM = {"linkId": "1", "type": "string"}
LIST = {"status": "current", "mode": "working"}
CASES = [
    ("AllergyIntolerance", ALLERGY, ["ait-1"]),
    ("AllergyIntolerance", {**ALLERGY, "clinicalStatus": {"text": "active"}}, []),
    ("Condition", {"subject": PERSON, "abatementDateTime": "2024"}, ["con-4"]),
    (
        "Condition",
        {
            "subject": PERSON,
            "verificationStatus": coded(CONDITION, "entered-in-error"),
            "clinicalStatus": {"text": "x"},
        },
        ["con-5"],
    ),
    (
        "Condition",
        {"subject": PERSON, "evidence": [{"id": "x", "extension": [{"url": "u", "valueCode": "x"}]}]},
        ["con-2"],
    ),
    ("Observation", {**OBSERVATION, "valueString": "x", "dataAbsentReason": {"text": "x"}}, ["obs-6"]),
    ("Observation", {**OBSERVATION, "valueString": "x", "component": [{"code": coded("urn:c", "a")}]}, ["obs-7"]),
    ("Observation", {**OBSERVATION, "valueString": "x", "component": [{"code": coded("urn:c", "b")}]}, []),
    ("Observation", {**OBSERVATION, "referenceRange": [{"age": {"low": {"value": 1}}}]}, ["obs-3"]),
    ("Observation", {**OBSERVATION, "valueRange": {"low": {"value": 2}, "high": {"value": 1}}}, ["rng-2"]),
    (
        "Observation",
        {**OBSERVATION, "valueRange": {"low": {"value": 2, "unit": "mg"}, "high": {"value": 1, "unit": "g"}}},
        [],
    ),
    ("Observation", {**OBSERVATION, "valueRatio": {"numerator": {"value": 1}}}, ["rat-1"]),
    ("Observation", {**OBSERVATION, "valueQuantity": {"value": 1, "code": "g"}}, ["qty-3"]),
    ("Observation", {**OBSERVATION, "effectivePeriod": {"start": "2024-02", "end": "2024-01"}}, ["per-1"]),
    ("Observation", {**OBSERVATION, "effectivePeriod": {"start": "2024-02-03", "end": "2024-02"}}, []),
    ("Patient", {"telecom": [{"value": "1"}]}, ["cpt-2"]),
    ("Patient", {"contact": [{"gender": "male"}]}, ["pat-1"]),
    ("Patient", {"photo": [{"data": "AAAA"}]}, ["att-1"]),
    ("Organization", {"active": True}, ["org-1"]),
    ("Organization", {"name": "x", "telecom": [{"system": "phone", "use": "home"}]}, ["org-3"]),
    ("Organization", {"_name": {"extension": [{"url": "u", "valueCode": "x"}]}}, []),
    ("MedicationAdministration", {**DOSE, "dosage": {"text": "x"}}, ["mad-1"]),
    ("MedicationAdministration", {**DOSE, "dosage": {"rateQuantity": {"value": 1}}}, []),
    ("MedicationRequest", {**ORDER, "dosageInstruction": [{"timing": {"repeat": {"period": 1}}}]}, ["tim-2"]),
    (
        "MedicationRequest",
        {**ORDER, "dosageInstruction": [{"timing": {"repeat": {"duration": -1, "durationUnit": "h"}}}]},
        ["tim-4"],
    ),
    (
        "MedicationRequest",
        {**ORDER, "dosageInstruction": [{"timing": {"repeat": {"when": ["C"], "offset": 5}}}]},
        ["tim-9"],
    ),
    ("Questionnaire", {"status": "draft", "item": [ITEM, ITEM]}, ["que-2"]),
    ("Questionnaire", {"status": "draft", "item": [{**ITEM, "type": "group"}]}, ["que-1"]),
    ("Questionnaire", {"status": "draft", "item": [{**ITEM, "type": "group", "item": [{**ITEM, "linkId": "2"}]}]}, []),
    ("List", {**LIST, "entry": [{"item": PERSON, "deleted": True}]}, ["lst-2"]),
    ("Group", {"type": "person", "actual": False, "member": [{"entity": PERSON}]}, ["grp-1"]),
    ("Appointment", {"status": "booked", "participant": [{"status": "accepted", "actor": PERSON}]}, ["app-3"]),
    ("RiskAssessment", {"status": "final", "subject": PERSON, "prediction": [{"probabilityDecimal": 101}]}, ["ras-2"]),
    ("RiskAssessment", {"status": "final", "subject": PERSON, "prediction": [{"rationale": "x"}]}, []),
    ("Bundle", {"type": "collection", "total": 1}, ["bdl-1"]),
    (
        "Bundle",
        {"type": "collection", "entry": [{"fullUrl": "http://x.test/Patient/1/_history/2"}]},
        ["bdl-5", "bdl-8"],
    ),
    (
        "Bundle",
        {"type": "document", "timestamp": "2024-01-01T00:00:00Z", "identifier": {"system": "u", "value": "1"}},
        ["bdl-11"],
    ),
    ("ValueSet", {"status": "draft", "compose": {"include": [{"concept": [{"code": "a"}]}]}}, ["vsd-1", "vsd-2"]),
    (
        "Parameters",
        {"parameter": [{"name": "a", "valueString": "x", "part": [{"name": "b", "valueString": "y"}]}]},
        ["inv-1"],
    ),
]


@pytest.mark.parametrize(("kind", "elements", "keys"), CASES)
def test_what_breaks_an_invariant_is_told_by_its_key(kind, elements, keys):
    """One fault at a time, and beside them what looks like one and is none."""
    assert sorted(key for key, _ in broken(kind, **elements)) == keys


def test_an_invariant_is_told_where_it_is_broken():
    """At the element it is about, within a resource that another contains as well."""
    inner = {
        "resourceType": "Observation",
        "id": "o",
        **OBSERVATION,
        "valueString": "x",
        "dataAbsentReason": {"text": "x"},
    }
    report = {"status": "final", "code": {"text": "r"}, "contained": [inner], "result": [{"reference": "#o"}]}

    assert broken("DiagnosticReport", **report) == [("obs-6", "DiagnosticReport.contained[0]")]


def test_what_is_contained_has_no_labels_of_its_own():
    """dom-5: it is seen with what contains it. That nothing refers to it, or that it tells a version, is let be: what ANS publishes does so."""
    contained = {
        "resourceType": "Organization",
        "id": "o",
        "name": "x",
        "meta": {"lastUpdated": "2024-01-01T00:00:00Z"},
    }
    labelled = {**contained, "meta": {"security": [{"code": "R"}]}}

    assert broken("Patient", contained=[contained]) == []
    assert broken("Patient", contained=[labelled]) == [("dom-5", "Patient")]


@pytest.mark.parametrize(
    ("elements", "place"),
    [
        ({"_birthDate": {"id": "b"}}, "Patient._birthDate"),
        ({"birthDate": "1980", "_birthDate": {"id": "b"}}, None),
        ({"_birthDate": {"extension": [{"url": "u", "valueCode": "x"}]}}, None),
        ({"name": [{"given": ["a", None], "_given": [None, {"id": "g"}]}]}, "Patient.name[0]._given"),
        ({"name": [{"given": ["a", "b"], "_given": [None, {"id": "g"}]}]}, None),
    ],
)
def test_an_id_alone_makes_no_element(elements, place):
    """ele-1: a primitive has a value or an extension, whatever it is called by."""
    found = validate("Patient", {"resourceType": "Patient", **elements})

    assert [issue.expression for issue in found if "ele-1" in issue.text] == ([place] if place else [])


@pytest.mark.parametrize(
    ("repeat", "elsewhere"),
    [
        ({"when": 5, "_when": [None]}, "when"),
        ({"when": [None, "C"], "_when": {"id": "x"}}, "_when"),
        ({"when": {"a": 1}, "_when": [{"id": "x"}]}, "when"),
    ],
)
def test_what_has_no_shape_is_told_and_no_fault(repeat, elsewhere):
    """A list where none belongs, or none where one does: the rules that look there say what they can of it."""
    order = {**ORDER, "dosageInstruction": [{"timing": {"repeat": {**repeat, "offset": 5}}}]}
    found = validate("MedicationRequest", codec.loads(codec.dumps({"resourceType": "MedicationRequest", **order})))

    place = f"MedicationRequest.dosageInstruction[0].timing.repeat.{elsewhere}"
    assert place in [issue.expression for issue in found if issue.code == "structure"]


@pytest.mark.parametrize("kind", ["Patient", "FHIR.Patient", "FHIR.`Patient`"])
def test_a_type_is_called_with_its_namespace_or_without(kind):
    """https://hl7.org/fhirpath/N1/#is-type-specifier."""
    holds = compile_truth(f"entry.resource is {kind} and entry.exists()", frozenset())

    assert holds([{"entry": [{"resource": {"resourceType": "Patient"}}]}], Scene({}, {})) is True
    assert holds([{"entry": [{"resource": {"resourceType": "Group"}}]}], Scene({}, {})) is False


def test_every_invariant_of_r4_is_held_or_named():
    """What is an error there is compiled, known to the validator by itself, or in the short list of those that nobody checks."""
    tabled = {each.key for table in load().types.values() for each in table.invariants}
    official = {
        constraint["key"]
        for name in ("profiles-types", "profiles-resources")
        for each in build_definitions.read(name)
        if each["resourceType"] == "StructureDefinition" and each.get("derivation") != "constraint"
        for element in each["snapshot"]["element"]
        for constraint in element.get("constraint", ())
        if constraint["severity"] == "error"
    }

    assert official - tabled - build_definitions.ELSEWHERE == build_definitions.UNCHECKED
    assert len(tabled) > 150


def test_what_is_the_same_for_all_is_worked_out_once():
    """A rule that holds each element against the resource does not grow with the square of it."""
    looks = []

    class Watched(dict):
        def get(self, key, default=None):
            looks.append(key)
            return super().get(key, default)

    resource = {"code": Watched(coding=[{"code": "a"}]), "component": [{"code": {"coding": [{"code": "b"}]}}] * 50}
    holds = compile_truth("component.code.where(coding.intersect(%resource.code.coding).exists()).empty()", frozenset())

    assert holds([resource], Scene(resource, resource)) is True
    assert len(looks) <= 2


@pytest.mark.parametrize("text", ["a.", "a b", "(a", "a.f(", "'a", "a.unknown()", "a +", "a.where(b,c)", "a is"])
def test_what_lies_outside_of_the_language_is_refused_when_it_is_compiled(text):
    """An expression that nobody here understands fails the build and no request."""
    with pytest.raises(ValueError, match=r"\S"):
        compile_truth(text, frozenset())

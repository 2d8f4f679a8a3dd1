"""References in every form, and composites on the same element. https://hl7.org/fhir/R4/search.html#reference."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_dmp.errors import FhirError
from tests.unit.search.world import BASE, finds, finds_value, row_of

OTHER = "http://other.fr/fhir"


def observation(reference, **more):
    return {"resourceType": "Observation", "subject": {"reference": reference, **more}}


@pytest.mark.parametrize(
    "written", ["Patient/p", f"{BASE}/Patient/p", "Patient/p/_history/3", f"{BASE}/Patient/p/_history/1"]
)
@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("subject=Patient/p", True), ("subject=p", True), (f"subject={BASE}/Patient/p", True), ("subject:Patient=p", True), ("subject:Patient=Patient/p", True),
        ("patient=p", True), ("patient=Patient/p", True), ("subject=Patient/q,Patient/p", True), ("subject:missing=false", True), ("subject=Patient/p/_history/3", True),
        ("subject=Group/p", False), ("subject:Group=p", False), ("subject=Patient/P", False), (f"subject={OTHER}/Patient/p", False), ("subject=Patient/p2", False),
    ],
)  # fmt: skip
def test_what_lies_here_is_found_whatever_it_is_called(written, question, found):
    """Relative, absolute, with or without version, by id alone, by type."""
    assert finds(question, observation(written)) is found


@pytest.mark.parametrize(
    "written", [f"{OTHER}/Patient/p", "urn:uuid:8c4b4b3e-4b1c-4f0a-9c5e-2b0d2c9f4a11", "http://x.fr/anything?a=b"]
)
def test_what_lies_elsewhere_is_found_by_its_url_alone(written):
    """Its id means nothing here."""
    assert finds_value("subject", written, observation(written))
    assert not finds("subject=Patient/p", observation(written))
    assert not finds("subject=p", observation(written))


def test_contained_and_displayed_references_are_not_found():
    """There is nothing here that they name."""
    assert row_of(observation("#p"))["t"] == ["Observation"]
    shown = {"resourceType": "Observation", "subject": {"display": "Ève Curie"}}
    assert finds("subject:missing=true", shown)
    assert finds("subject:text=eve", shown)
    assert not finds("subject:text=curie", shown)


def test_a_logical_reference_is_found_by_its_identifier():
    """:identifier is a token search."""
    resource = {
        "resourceType": "Observation",
        "subject": {"type": "Patient", "identifier": {"system": "urn:ins", "value": "1"}},
    }
    assert finds_value("subject:identifier", "urn:ins|1", resource)
    assert finds("subject:identifier=1", resource)
    assert finds_value("patient:identifier", "urn:ins|1", resource)
    assert not finds("subject:identifier=2", resource)
    assert finds("subject:missing=false", resource)


def test_a_type_that_the_parameter_does_not_point_at_is_refused():
    """subject:Observation is no question."""
    with pytest.raises(FhirError, match="not supported"):
        finds("subject:Observation=1", observation("Patient/p"))
    with pytest.raises(FhirError, match="not of the type"):
        finds("subject:Patient=Group/1", observation("Patient/p"))


def test_canonicals_are_found_with_and_without_their_version():
    """url finds every version, url|version one, :below those that begin so."""
    answered = {"resourceType": "QuestionnaireResponse", "questionnaire": "http://a.fr/Q|1.1"}
    for question, found in (
        ("http://a.fr/Q", True),
        ("http://a.fr/Q|1.1", True),
        ("http://a.fr/Q|1", False),
        ("http://a.fr/R", False),
    ):
        assert finds_value("questionnaire", question, answered) is found, question
    assert finds_value("questionnaire:below", "http://a.fr/Q|1", answered)
    assert finds_value("questionnaire:below", "http://a.fr/Q", answered)
    assert not finds_value("questionnaire:below", "http://a.fr/Q|2", answered)


def test_compartments_follow_the_references():
    """A row belongs to each patient, practitioner and encounter that its member parameters name, and a patient to its own."""
    row = row_of(
        {
            **observation("Patient/p"),
            "performer": [{"reference": "Practitioner/d"}],
            "encounter": {"reference": "Encounter/e"},
        }
    )
    assert {each for each in row["t"] if each.startswith("@")} == {"@Patient/p", "@Practitioner/d", "@Encounter/e"}
    assert row["pt"] == ["Patient/p"]
    assert row_of({"resourceType": "Patient", "id": "p"})["pt"] == ["Patient/p"]
    assert "pt" not in row_of(observation(f"{OTHER}/Patient/p"))
    assert row_of({"resourceType": "Coverage", "beneficiary": {"reference": "Patient/p"}})["pt"] == ["Patient/p"]


codes = st.sampled_from(["8480-6", "8462-4", "x"])
systems = st.sampled_from([None, "http://loinc.org", "urn:s"])
components = st.lists(
    st.tuples(st.lists(st.tuples(systems, codes), max_size=2), st.integers(50, 70), st.sampled_from(["mm[Hg]", "kPa"])),
    max_size=3,
)


@settings(max_examples=400)
@given(components, st.booleans(), systems, codes, st.sampled_from(["", "gt", "lt", "ge", "ne"]), st.integers(50, 70))
def test_the_parts_of_a_composite_hold_on_the_same_component(given_components, at_root, system, code, prefix, asked):
    """Code and value of one component, never the code of one with the value of another."""

    def element(of):
        coding, value, unit = of
        return {
            "code": {"coding": [{**({"system": a} if a else {}), "code": b} for a, b in coding]},
            "valueQuantity": {"value": value, "unit": unit},
        }

    def met(of):
        coding, value, _ = of
        by_code = any(b == code and (system is None or a == system) for a, b in coding)
        by_value = {
            "": value == asked,
            "gt": value > asked,
            "lt": value < asked,
            "ge": value >= asked,
            "ne": value != asked,
        }[prefix]
        return by_code and by_value

    question = f"{system}|{code}${prefix}{asked}" if system else f"{code}${prefix}{asked}"
    inside = {"resourceType": "Observation", "component": [element(each) for each in given_components]}
    expected = any(map(met, given_components))
    assert finds_value("component-code-value-quantity", question, inside) == expected
    assert finds_value("combo-code-value-quantity", question, inside) == expected
    if at_root and given_components:
        root = {"resourceType": "Observation", **element(given_components[0])}
        assert finds_value("code-value-quantity", question, root) == met(given_components[0])
        assert finds_value("combo-code-value-quantity", question, root) == met(given_components[0])
        assert not finds_value("component-code-value-quantity", question, root)


def test_a_composite_may_ask_for_the_unit():
    """As in the standard's example of potassium."""
    ucum = "http://unitsofmeasure.org"
    value = {"value": 6, "unit": "mmol/L", "code": "mmol/L", "system": ucum}
    for where in (
        {"code": {"coding": [{"code": "2823-3"}]}, "valueQuantity": value},
        {"component": [{"code": {"coding": [{"code": "2823-3"}]}, "valueQuantity": value}]},
    ):
        resource = {"resourceType": "Observation", **where}
        assert finds_value("combo-code-value-quantity", f"2823-3$gt5.4|{ucum}|mmol/L", resource)
        assert finds_value("combo-code-value-quantity", "2823-3$gt5.4||mmol/L", resource)
        assert not finds_value("combo-code-value-quantity", f"2823-3$gt5.4|{ucum}|mg/dL", resource)
        assert not finds_value("combo-code-value-quantity", f"2823-3$gt6.4|{ucum}|mmol/L", resource)
        assert finds_value("combo-code-value-quantity", f"2823-3$6000|{ucum}|umol/L", resource)


def test_the_unit_of_a_composite_belongs_to_its_value():
    """One component's unit is not another's."""
    ucum = "http://unitsofmeasure.org"
    resource = {
        "resourceType": "Observation",
        "component": [
            {"code": {"coding": [{"code": "a"}]}, "valueQuantity": {"value": 6, "code": "kg", "system": ucum}},
            {"code": {"coding": [{"code": "a"}]}, "valueQuantity": {"value": 7, "code": "m", "system": ucum}},
        ],
    }
    assert finds_value("component-code-value-quantity", f"a$gt6.5|{ucum}|m", resource)
    assert not finds_value("component-code-value-quantity", f"a$gt6.5|{ucum}|kg", resource)
    assert finds_value("component-code-value-quantity", f"a$6000|{ucum}|g", resource)


def test_other_composites_hold_too():
    """Code with date, with concept, with string; a document's relation to another; the window of a sequence."""
    dated = {"resourceType": "Observation", "code": {"coding": [{"code": "d"}]}, "valueDateTime": "2024-01-01"}
    assert finds("code-value-date=d%242024", dated)
    assert not finds("code-value-date=d%242025", dated)
    said = {"resourceType": "Observation", "code": {"coding": [{"code": "s"}]}, "valueString": "Été"}
    assert finds("code-value-string=s%24ete", said)
    chosen = {
        "resourceType": "Observation",
        "component": [
            {
                "code": {"coding": [{"code": "a"}]},
                "valueCodeableConcept": {"coding": [{"code": "b", "system": "urn:s"}]},
            }
        ],
    }
    assert finds_value("combo-code-value-concept", "a$b", chosen)
    assert finds_value("combo-code-value-concept", "a$urn:s|", chosen)
    assert not finds_value("combo-code-value-concept", "b$a", chosen)
    related = {
        "resourceType": "DocumentReference",
        "relatesTo": [{"code": "replaces", "target": {"reference": "DocumentReference/1"}}],
    }
    assert finds_value("relationship", "DocumentReference/1$replaces", related)
    assert not finds_value("relationship", "DocumentReference/1$appends", related)
    of_system = "DocumentReference/1$http://hl7.org/fhir/document-relationship-type|"
    assert finds_value("relationship", f"{of_system}replaces", related)
    assert finds_value("relationship", of_system, related)
    assert not finds_value("relationship", f"{of_system}appends", related)
    assert not finds_value("relationship", "DocumentReference/1$http://x|replaces", related)
    sequence = {
        "resourceType": "MolecularSequence",
        "referenceSeq": {"chromosome": {"coding": [{"code": "1"}]}, "windowStart": 10, "windowEnd": 20},
    }
    assert finds_value("chromosome-window-coordinate", "1$lt345$gt15", sequence)
    assert not finds_value("chromosome-window-coordinate", "1$lt345$gt25", sequence)
    context = {
        "resourceType": "Questionnaire",
        "useContext": [{"code": {"code": "age"}, "valueRange": {"low": {"value": 10}}}],
    }
    assert finds_value("context-type-quantity", "age$gt20", context)
    assert not finds_value("context-type-quantity", "age$lt5", context)


@pytest.mark.parametrize("value", ["a", "a$b$c", "$5", "a$", "http://loinc.org|$5", "a$b"])
def test_a_composite_that_does_not_parse_is_refused(value):
    """400, never an answer to something else."""
    with pytest.raises(FhirError) as refusal:
        finds_value("component-code-value-quantity", value, {"resourceType": "Observation"})
    assert refusal.value.status == 400


@pytest.mark.parametrize("modifier", ["missing", "not", "exact"])
def test_composites_take_no_modifiers(modifier):
    """R4: modifiers are not used on composite parameters."""
    with pytest.raises(FhirError, match="not supported"):
        finds(f"code-value-quantity:{modifier}=true", {"resourceType": "Observation"})

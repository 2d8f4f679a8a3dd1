"""Tokens: codes with and without their system. https://hl7.org/fhir/R4/search.html#token."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_dmp.errors import FhirError
from tests.unit.search.world import finds, finds_value

LOINC = "http://loinc.org"
texts = st.text(st.sampled_from("aB1|,$\\é -"), min_size=1, max_size=4)
systems = st.sampled_from([None, LOINC, "urn:oid:1.2", "http://loinc.org/x", "a|b"])
codings = st.lists(st.tuples(systems, texts), max_size=3)


def escaped(text):
    for mark in "\\|,$":
        text = text.replace(mark, "\\" + mark)
    return text


@st.composite
def questions(draw, known):
    """A system and a code, often those of the resource."""
    system, code = (
        draw(st.sampled_from(known) if known else st.tuples(systems, texts))
        if draw(st.booleans())
        else draw(st.tuples(systems, texts))
    )
    return draw(st.sampled_from(["code", "pair", "bare", "system"])), system, code


@settings(max_examples=500)
@given(st.data(), codings)
def test_a_code_is_found_in_the_four_ways_of_the_standard(data, given_codings):
    """code, system|code, |code and system|, whatever characters they hold."""
    form, system, code = data.draw(questions(given_codings))
    coding = [{"code": each, **({"system": of} if of else {})} for of, each in given_codings]
    written, met = {
        "code": (escaped(code), lambda of, each: each == code),
        "pair": (f"{escaped(system or 'x')}|{escaped(code)}", lambda of, each: (of, each) == (system or "x", code)),
        "bare": (f"|{escaped(code)}", lambda of, each: of is None and each == code),
        "system": (f"{escaped(system or 'x')}|", lambda of, each: of == (system or "x")),
    }[form]
    expected = any(met(*each) for each in given_codings)
    concept = {"resourceType": "Observation", "code": {"coding": coding}}
    identified = {
        "resourceType": "Observation",
        "identifier": [{**({"system": of} if of else {}), "value": each} for of, each in given_codings],
    }
    assert finds_value("code", written, concept) == expected
    assert finds_value("combo-code", written, concept) == expected
    assert finds_value("code:not", written, concept) != expected
    assert finds_value("identifier", written, identified) == expected


def test_a_code_is_not_its_beginning():
    """Tokens are whole."""
    resource = {"resourceType": "Observation", "code": {"coding": [{"system": LOINC, "code": "1234-5"}]}}
    assert not finds("code=1234", resource)
    assert not finds_value("code", f"{LOINC}|1234", resource)
    assert not finds_value("code", "http://loinc|", resource)


def test_case_counts_in_codes_and_not_in_strings():
    """R4: literal, but not case sensitive where the element is a string."""
    coded = {"resourceType": "Observation", "code": {"coding": [{"code": "mg"}]}}
    versioned = {"resourceType": "ValueSet", "version": "V1.A"}
    assert finds("code=mg", coded)
    assert not finds("code=MG", coded)
    assert finds("version=v1.a", versioned)
    assert finds("version=V1.A", versioned)


def test_booleans_have_no_system():
    """R4: for elements of the types boolean and uri the bar shall not be used."""
    patient = {"resourceType": "Patient", "active": True}
    assert finds("active=true", patient)
    assert not finds("active=false", patient)
    with pytest.raises(FhirError, match="no system"):
        finds("active=http://x%7Ctrue", patient)


GENDER, STATUS = "http://hl7.org/fhir/administrative-gender", "http://hl7.org/fhir/observation-status"


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("gender=male", True),
        ("gender=female,male", True),
        (f"gender={GENDER}%7Cmale", True),
        (f"gender={GENDER}%7Cfemale", False),
        (f"gender={GENDER}%7Cfemale,{GENDER}%7Cmale", True),
        (f"gender={GENDER}%7C", True),
        (f"gender={STATUS}%7C", False),
        (f"gender={STATUS}%7Cmale", False),
        ("gender=http://x%7Cmale", False),
        ("gender=%7Cmale", False),
        (f"gender:not={GENDER}%7Cmale", False),
        (f"gender:not={GENDER}%7Cfemale", True),
        (f"gender:not={STATUS}%7Cmale", True),
        (f"gender:not=http://x%7Cmale,{GENDER}%7Cmale", False),
        ("gender:missing=false", True),
        ("gender:missing=true", False),
        ("gender:in=http://hl7.org/fhir/ValueSet/administrative-gender", True),
        ("gender:not-in=http://hl7.org/fhir/ValueSet/administrative-gender", False),
        ("gender:in=http://hl7.org/fhir/ValueSet/observation-status", False),
    ],
)
def test_a_code_has_the_system_of_its_binding(question, found):
    """R4: the system of an element of the type code is implied by its value set; so it is never one without a system."""
    assert finds(question, {"resourceType": "Patient", "gender": "male"}) == found


def test_a_code_of_several_systems_has_the_one_that_knows_it():
    """A value set may take codes from more than one system: each code is of its own."""
    condition = {"resourceType": "Task", "intent": "proposal"}
    assert finds("intent=http://hl7.org/fhir/request-intent%7Cproposal", condition)
    assert not finds("intent=http://hl7.org/fhir/task-intent%7Cproposal", condition)


def test_a_code_whose_system_is_not_listed_here_is_found_by_any_of_it():
    """Media types are a system of which the definitions hold no list."""
    document = {"resourceType": "DocumentReference", "content": [{"attachment": {"contentType": "text/plain"}}]}
    assert finds("contenttype=urn:ietf:bcp:13%7Ctext/plain", document)
    assert finds("contenttype=urn:ietf:bcp:13%7C", document)
    assert not finds("contenttype=urn:ietf:bcp:13%7Ctext/html", document)
    assert not finds("contenttype=%7Ctext/plain", document)


def test_a_death_is_told_by_a_flag_or_a_date():
    """deceased is true for a date, and false for who is not said to be dead."""
    assert finds("deceased=true", {"resourceType": "Patient", "deceasedDateTime": "2020"})
    assert finds("deceased=true", {"resourceType": "Patient", "deceasedBoolean": True})
    assert finds("deceased=false", {"resourceType": "Patient", "deceasedBoolean": False})
    assert finds("deceased=false", {"resourceType": "Patient"})
    assert not finds("deceased=true", {"resourceType": "Patient"})


def test_contact_points_are_found_by_value_and_kind():
    """phone and email are parts of telecom. R4 gives a ContactPoint no system in tokens; who writes its own is understood, as by others."""
    patient = {
        "resourceType": "Patient",
        "telecom": [{"system": "phone", "value": "0123"}, {"system": "email", "value": "a@b.fr"}],
    }
    assert finds("telecom=0123", patient)
    assert finds("phone=0123", patient)
    assert not finds("email=0123", patient)
    assert finds("email=a@b.fr", patient)
    assert finds("telecom=phone%7C0123", patient)
    assert finds("phone=phone%7C0123", patient)
    assert not finds("telecom=email%7C0123", patient)
    assert not finds("telecom=%7C0123", patient)


def test_text_finds_what_a_code_is_called():
    """:text is a string search over text, displays and the type of an identifier."""
    resource = {
        "resourceType": "Observation",
        "code": {"text": "Céphalée", "coding": [{"code": "1", "display": "Headache, nos"}]},
        "identifier": [{"value": "1", "type": {"text": "Dossier"}}],
    }
    assert finds("code:text=cephal", resource)
    assert finds("code:text=HEADACHE", resource)
    assert finds("combo-code:text=headache%20nos", resource)
    assert finds("identifier:text=dossier", resource)
    assert not finds("code:text=nos", resource)
    assert not finds("code=cephalee", resource)


def test_a_concept_of_words_alone_is_not_missing():
    """:missing asks for the element, not for a code."""
    words, nothing = {"resourceType": "Observation", "code": {"text": "pain"}}, {"resourceType": "Observation"}
    assert finds("code:missing=false", words)
    assert not finds("code:missing=true", words)
    assert finds("code:missing=true", nothing)
    assert finds("combo-code:missing=true", nothing)
    assert finds("code:not=x", nothing)


def test_labels_tags_and_profiles_are_found():
    """The parameters of every resource."""
    meta = {
        "tag": [{"system": "http://x", "code": "t"}],
        "security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}],
        "profile": ["http://hl7.org/p|1.0"],
        "source": "urn:ehr",
    }
    patient = {"resourceType": "Patient", "meta": meta}
    for question in (
        "_tag=t",
        "_tag=http://x%7Ct",
        "_security=R",
        "_profile=http://hl7.org/p",
        "_profile=http://hl7.org/p%7C1.0",
        "_source=urn:ehr",
    ):
        assert finds(question, patient), question
    for question in ("_tag=u", "_security=N", "_profile=http://hl7.org/q", "_profile=http://hl7.org/p%7C2.0"):
        assert not finds(question, patient), question


@pytest.mark.parametrize("modifier", ["exact", "contains", "of-type", "Patient", "nonsense", "a:b"])
def test_a_modifier_that_tokens_do_not_take_is_refused(modifier):
    """R4: reject, never ignore."""
    with pytest.raises(FhirError, match="not supported") as refusal:
        finds(f"code:{modifier}=1", {"resourceType": "Observation"})
    assert refusal.value.status == 400


@pytest.mark.parametrize("value", ["|", "a\\b", "a\\"])
def test_a_value_that_says_nothing_or_escapes_nothing_is_refused(value):
    """400 in plain words."""
    with pytest.raises(FhirError):
        finds_value("code", value, {"resourceType": "Observation"})


def test_a_very_long_code_is_found_whole_and_only_whole():
    """The index holds a digest; the question does too."""
    long = "x" * 5000
    resource = {"resourceType": "Observation", "identifier": [{"system": LOINC, "value": long}]}
    assert finds_value("identifier", long, resource)
    assert finds_value("identifier", f"{LOINC}|{long}", resource)
    assert finds_value("identifier", f"{LOINC}|", resource)
    assert not finds_value("identifier", long[:-1], resource)


def test_ids_are_found_as_they_are():
    """_id takes no part of a token but its value; case counts."""
    patient = {"resourceType": "Patient", "id": "Abc"}
    assert finds("_id=Abc", patient)
    assert finds("_id=x,Abc", patient)
    assert not finds("_id=abc", patient)
    assert not finds("_id:not=Abc", patient)
    assert not finds("_id:missing=true", patient)
    assert finds("_id:missing=false", patient)
    with pytest.raises(FhirError):
        finds("_id:exact=Abc", patient)

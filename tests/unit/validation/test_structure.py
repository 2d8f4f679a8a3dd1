"""What the tables accept and refuse: official examples, one-fault edits of them, and another library as an oracle."""

from __future__ import annotations

import gzip
import json
import tarfile
from collections import defaultdict
from pathlib import Path

import pytest
from fhir.resources.R4B import get_fhir_model_class

from fhir_dmp.definitions.loader import load
from fhir_dmp.errors import FhirError
from fhir_dmp.fhir import codec, xml
from fhir_dmp.validation.structure import build_validator

DATA = Path(__file__).parents[2] / "data"
INVALID_EXAMPLES = {
    "DeviceMetric-example.json": "parent points at a DeviceDefinition; R4 allows a Device",
    "DeviceUseStatement-example.json": "reasonReference points at a Procedure; R4 does not",
    "MedicationRequest-medrx0301.json": "dispenseRequest.performer points at a Practitioner; R4 allows an Organization",
    "Observation-clinical-gender.json": "performer points at an Encounter",
    "Questionnaire-qs1.json": "items have no linkId",
}
"""Official examples that break R4, each with the reason."""

validate = build_validator(load())


def examples():
    """Yield name and bytes of every official example."""
    with tarfile.open(DATA / "all-examples.tar.xz") as archive:
        for member in archive:
            if member.name.endswith(".json") and "counts" not in member.name:
                yield Path(member.name).name, archive.extractfile(member).read()


def mutations():
    """Return the one-fault edits by their class."""
    by_class = defaultdict(list)
    with gzip.open(DATA / "mutations.ndjson.gz") as lines:
        for line in lines:
            each = json.loads(line)
            by_class[each["cls"]].append(each)
    return by_class


MUTATIONS = mutations()


def verdict(body, expected_type):
    """Return accept or reject, as a create would, and why."""
    try:
        issues = validate(expected_type, codec.loads_object(body))
    except FhirError as refusal:
        return "reject", [str(refusal)]
    return ("reject", [issue.text for issue in issues]) if issues else ("accept", [])


def test_every_official_example_passes_but_for_those_known_to_break_r4():
    """722 resources of 130 types."""
    broken = {}
    count = 0
    for name, body in examples():
        count += 1
        judged, why = verdict(body, codec.loads(body)["resourceType"])
        if judged == "reject":
            broken[name] = why

    assert count == 722
    assert broken.keys() == INVALID_EXAMPLES.keys(), broken


def test_what_lies_beside_a_value_of_another_type_is_a_second_choice():
    """An extension alone stands for a value of its type as well; beside its own value it is the same choice."""
    observation = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "valueString": "x"}
    beside = {"extension": [{"url": "urn:x:why", "valueCode": "y"}]}

    assert validate("Observation", {**observation, "_valueString": beside}) == []
    for twice in ({**observation, "_valueInteger": beside}, {"_valueInteger": beside, **observation}):
        assert [issue.code for issue in validate("Observation", twice)] == ["structure"]


@pytest.mark.parametrize("cls", sorted(MUTATIONS))
def test_every_one_fault_edit_is_judged_as_r4_says(cls):
    """Unknown elements, cardinality, JSON types, choices, formats, references, codes, and named invariants."""
    wrong = [
        (each["id"], each["mutation"], each["expect"], why[:2])
        for each in MUTATIONS[cls]
        if each["expect"] != "either" and each["source"] not in INVALID_EXAMPLES
        for judged, why in [verdict(each["body"].encode(), each["resourceType"])]
        if judged != each["expect"]
    ]

    assert wrong == []


def test_whatever_is_wrong_is_told_with_its_place():
    """All issues at once, each with a FHIRPath."""
    tree = codec.loads(
        b'{"resourceType":"Patient","nickname":"x","gender":"femme","birthDate":"1980-02-30",'
        b'"name":[{"family":""}],"contact":[{}],"link":[{"other":{"reference":"Patient/1"}}]}'
    )

    places = {issue.expression for issue in validate("Patient", tree)}

    assert places == {
        "Patient.nickname",
        "Patient.gender",
        "Patient.birthDate",
        "Patient.name[0].family",
        "Patient.contact[0]",
        "Patient.link[0].type",
    }


NARRATIVES = {
    "<div xmlns='http://www.w3.org/1999/xhtml'><p>caf&#233; <b>noir</b>&nbsp;</p></div>": True,
    "<div><script>alert(1)</script></div>": False,
    "<div onclick='x()'>a</div>": False,
    "<div><a href='javascript:x()'>a</a></div>": False,
    "<div><a href='java&#10;script:x()'>a</a></div>": False,
    "<div><a href='https://a.example/x'>a</a></div>": True,
    "<div><p></div>": False,
    "<div xmlns='http://www.w3.org/2000/svg'>a</div>": False,
    "<div><p xmlns='http://www.w3.org/2000/svg'>a</p></div>": False,
    "<!DOCTYPE x [<!ENTITY a 'b'>]><div>&a;</div>": False,
    "plain": False,
}


@pytest.mark.parametrize("div", NARRATIVES)
def test_a_narrative_is_formatting_and_nothing_that_acts(div):
    """No scripts, events, script links, entities; well formed."""
    tree = {"resourceType": "Basic", "code": {"text": "x"}, "text": {"status": "generated", "div": div}}

    assert (not validate("Basic", tree)) == NARRATIVES[div]


def test_a_resource_with_very_many_faults_is_told_a_hundred():
    """The answer is bounded whatever is sent."""
    assert len(validate("Patient", {"resourceType": "Patient", **{f"x{n}": 1 for n in range(5000)}})) == 100


def test_another_library_agrees_on_most_examples_that_it_knows():
    """fhir.resources (R4B models) accepts what we accept, where it has the type; where it does not, R4B or it differs."""
    agreed, differed = 0, []
    for name, body in list(examples())[::6]:
        kind = json.loads(body)["resourceType"]
        if name in INVALID_EXAMPLES:
            continue
        try:
            model = get_fhir_model_class(kind)
        except (KeyError, ValueError):
            continue
        try:
            model.model_validate(json.loads(body))
            agreed += 1
        except ValueError:
            differed.append(name)

    assert agreed > 60
    assert len(differed) < agreed / 5, differed


@pytest.mark.parametrize("name", ["system", "version", "code", "display"])
def test_no_text_holds_control_characters(name):
    """JSON can write them, XML cannot, and the standard forbids most: in codes and URIs as in strings."""
    for character in "\x00\x01\x1f\ufffe\uffff":
        tree = {"resourceType": "Basic", "code": {"coding": [{name: f"a{character}b"}]}}

        assert [issue.expression for issue in validate("Basic", tree)] == [f"Basic.code.coding[0].{name}"]


def test_what_is_nested_deeper_than_xml_is_read_is_refused():
    """What one form takes the other gives back: whoever asks for XML gets what can be sent again."""
    for levels, taken in ((97, True), (98, False), (2000, False)):
        tree = {"url": "urn:x:leaf", "valueString": "x"}
        for _ in range(levels):
            tree = {"url": "urn:x:branch", "extension": [tree]}
        whole = {"resourceType": "Basic", "extension": [tree], "code": {"text": "x"}}

        assert [issue.expression for issue in validate("Basic", whole)] == ([] if taken else ["Basic"])
        if taken:
            assert xml.read(xml.write(whole, load().types), load().types) == whole

"""FHIRPath Patch on trees. https://hl7.org/fhir/R4/fhirpatch.html."""

from __future__ import annotations

import asyncio
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from fhir_dmp.definitions.loader import load
from fhir_dmp.errors import FhirError, Invalid, Unprocessable
from fhir_dmp.fhir import codec, xml
from fhir_dmp.fibres import Fibre
from fhir_dmp.interactions.fhirpath_patch import apply

SUITE = Path(__file__).parents[3] / "../shared/data/fhirpath-patch-tests/fhir-patch-tests.xml"
PATIENT = {
    "resourceType": "Patient",
    "active": True,
    "name": [{"family": "Durand", "given": ["Zoé", "Zoé"]}, {"family": "Zoé"}],
    "contact": [{"gender": "male", "name": {"text": "one"}}],
    "deceasedBoolean": False,
}


def operation(kind, **parts):
    """Return one operation; a part is a value, or (property, value)."""
    names = {"type": "valueCode", "path": "valueString", "name": "valueString"}
    listed = [{"name": "type", "valueCode": kind}]
    for name, value in parts.items():
        key, held = value if isinstance(value, tuple) else (names.get(name, "valueInteger"), value)
        listed.append({"name": name, key: held})
    return {"name": "operation", "part": listed}


def patched(tree, *operations):
    """Return the tree after the operations."""
    return apply({"resourceType": "Parameters", "parameter": list(operations)}, tree, load())


def test_equal_values_are_told_apart():
    """Two given names and a family name that are the same text: the path means one of them."""
    made = patched(PATIENT, operation("replace", path="Patient.name[0].given[1]", value=("valueString", "Anne")))

    assert [{"family": "Durand", "given": ["Zoé", "Anne"]}, {"family": "Zoé"}] == made["name"]
    assert PATIENT["name"][0]["given"] == ["Zoé", "Zoé"]


@pytest.mark.parametrize("path", ["Patient.active is", "Patient.active as FHIR.", "Patient.name.where(use is "])
def test_a_path_that_ends_in_its_midst_is_refused(path):
    """Where a type is asked for as well."""
    with pytest.raises(Unprocessable, match="no FHIRPath"):
        patched(PATIENT, operation("replace", path=path, value=("valueBoolean", False)))


@pytest.mark.parametrize(
    "path",
    [
        "Patient.name.where($index = 1).family",
        "Patient.name[1].family /* the second */ // of two",
        "Patient.name.where(5 'mg' = 5 'mg' and 1 day = 1 days)[1].family",
    ],
)
def test_a_path_may_count_comment_and_measure(path):
    """Whatever is FHIRPath is taken for it, though no invariant of R4 says it."""
    made = patched(PATIENT, operation("replace", path=path, value=("valueString", "Anne")))

    assert [{"family": "Durand", "given": ["Zoé", "Zoé"]}, {"family": "Anne"}] == made["name"]


def test_a_boolean_is_found_by_its_path():
    """Also where it is one of a choice."""
    made = patched(
        PATIENT,
        operation("replace", path="Patient.active", value=("valueBoolean", False)),
        operation("replace", path="Patient.deceased", value=("valueDateTime", "2024-05")),
    )

    assert made["active"] is False
    assert made["deceasedDateTime"] == "2024-05"
    assert "deceasedBoolean" not in made


def test_a_choice_is_added_by_the_type_of_its_value():
    """value[x] with a Quantity is valueQuantity, with its digits; a second one is refused."""
    tree = codec.loads_object(b'{"resourceType":"Observation","status":"final"}')
    value = codec.loads_object(b'{"value":36.70}')
    add = operation("add", path="Observation", name="value", value=("valueQuantity", value))
    made = patched(tree, add)

    assert codec.dumps(made) == b'{"resourceType":"Observation","status":"final","valueQuantity":{"value":36.70}}'
    with pytest.raises(Unprocessable):
        patched(made, operation("add", path="Observation", name="value", value=("valueString", "x")))


def test_what_a_path_chooses_is_found_through_conditions():
    """where, first, last, ofType, extension."""
    tree = {**PATIENT, "extension": [{"url": "urn:a", "valueString": "a"}, {"url": "urn:b", "valueString": "b"}]}

    assert patched(tree, operation("delete", path="Patient.name.where(family = 'Durand')"))["name"] == [
        {"family": "Zoé"}
    ]
    assert patched(tree, operation("delete", path="Patient.name.last()"))["name"] == [PATIENT["name"][0]]
    made = patched(tree, operation("replace", path="Patient.extension('urn:b').value", value=("valueString", "c")))
    assert made["extension"][1] == {"url": "urn:b", "valueString": "c"}
    made = patched(tree, operation("replace", path="Patient.extension('urn:b').value", value=("valueInteger", 3)))
    assert made["extension"][1] == {"url": "urn:b", "valueInteger": 3}


def test_what_is_left_empty_goes_too():
    """FHIR has no empty objects and no empty lists."""
    made = patched(
        PATIENT,
        operation("delete", path="Patient.contact[0].name.text"),
        operation("delete", path="Patient.contact[0].gender"),
    )

    assert "contact" not in made


def test_an_unnamed_type_is_built_of_its_parts():
    """A contact with a name and two telecoms."""
    value = {
        "name": "value",
        "part": [
            {"name": "name", "valueHumanName": {"text": "two"}},
            {"name": "telecom", "valueContactPoint": {"value": "1"}},
            {"name": "telecom", "valueContactPoint": {"value": "2"}},
        ],
    }
    add = operation("add", path="Patient", name="contact")
    add["part"].append(value)

    assert patched(PATIENT, add)["contact"][1] == {
        "name": {"text": "two"},
        "telecom": [{"value": "1"}, {"value": "2"}],
    }


def test_extensions_of_primitives_stay_in_step_with_them():
    """_given has a place for each given name, whatever is inserted, moved or deleted."""
    tree = {
        "resourceType": "Patient",
        "name": [{"given": ["a", "b", "c"], "_given": [None, {"id": "of-b"}, None]}],
        "birthDate": "1980",
        "_birthDate": {"id": "x"},
    }

    def name(*operations):
        return patched(tree, *operations)["name"][0]

    assert name(operation("move", path="Patient.name[0].given", source=1, destination=0)) == {
        "given": ["b", "a", "c"],
        "_given": [{"id": "of-b"}, None, None],
    }
    insert = operation("insert", path="Patient.name[0].given", index=0, value=("valueString", "z"))
    assert name(insert) == {"given": ["z", "a", "b", "c"], "_given": [None, None, {"id": "of-b"}, None]}
    assert name(operation("delete", path="Patient.name[0].given[1]")) == {"given": ["a", "c"]}
    assert "_birthDate" not in patched(tree, operation("delete", path="Patient.birthDate"))


def test_a_list_that_is_not_there_takes_its_first_item():
    """insert at 0 of what does not exist yet."""
    made = patched(
        PATIENT, operation("insert", path="Patient.telecom", index=0, value=("valueContactPoint", {"value": "1"}))
    )

    assert made["telecom"] == [{"value": "1"}]


def test_to_delete_nothing_changes_nothing():
    """A path that chooses nothing is no error for delete alone."""
    assert patched(PATIENT, operation("delete", path="Patient.photo")) == PATIENT


@pytest.mark.parametrize(
    "asked",
    [
        operation("add", path="Patient.photo", name="title", value=("valueString", "x")),
        operation("add", path="Patient.name", name="text", value=("valueString", "x")),
        operation("add", path="Patient", name="nonsense", value=("valueString", "x")),
        operation("add", path="Patient", name="active", value=("valueBoolean", False)),
        operation("add", path="Patient.active", name="x", value=("valueBoolean", False)),
        operation("replace", path="Patient.gender", value=("valueCode", "male")),
        operation("replace", path="Patient", value=("valueCode", "male")),
        operation("replace", path="1 + 1", value=("valueInteger", 3)),
        operation("delete", path="Patient"),
        operation("delete", path="Patient.name"),
        operation("delete", path="Patient.name["),
        operation("insert", path="Patient.name", index=9, value=("valueHumanName", {"text": "x"})),
        operation("insert", path="Patient.active", index=0, value=("valueBoolean", True)),
        operation("move", path="Patient.name", source=0, destination=2),
        operation("move", path="Patient.name.given[0]", source=0, destination=0),
    ],
)
def test_what_does_not_apply_is_unprocessable(asked):
    """The message tells which operation."""
    with pytest.raises(Unprocessable, match="Operation 0"):
        patched(PATIENT, asked)


@pytest.mark.parametrize(
    "asked",
    [
        {"name": "other"},
        {"name": "operation"},
        {"name": "operation", "part": "x"},
        "x",
        operation("destroy", path="Patient"),
        operation("add", path="Patient"),
        operation("insert", path="Patient.name", index=-1, value=("valueHumanName", {})),
        operation("insert", path="Patient.name", index=("valueString", "0"), value=("valueHumanName", {})),
        operation("delete", path=("valueInteger", 1)),
        operation("add", path="Patient", name="contact", value=("part", "x")),
        operation("add", path="Patient", name="contact", value=("part", [1])),
        operation("delete", path="Patient.name.where(family.matches('(a+)+$'))"),
        operation("delete", path="Patient.repeat(name)"),
        operation("delete", path="Patient.name.where(%context.name.where(%context.name.exists()).exists())"),
        operation("delete", path="Patient.name.where(%`context`.name.exists())"),
        operation("delete", path="Patient" + ".name" * 300),
    ],
)
def test_what_is_no_patch_is_invalid(asked):
    """Missing parts, wrong types, functions whose work has no bound."""
    with pytest.raises(Invalid):
        patched(PATIENT, asked)


def test_an_absurd_number_of_operations_is_refused():
    """A thousand are enough for anybody."""
    with pytest.raises(FhirError):
        patched(PATIENT, *[operation("delete", path="Patient.photo")] * 1001)


@pytest.mark.skipif(not SUITE.exists(), reason=f"the suite is not there: {SUITE.name}")
def test_the_suite_of_the_standards_authors_passes():
    """Every case: the resource that is expected, or an error."""
    types = load().types
    cases = ET.parse(SUITE).getroot().findall("case")
    assert len(cases) > 25
    for case in cases:
        given, diff, expected = (
            xml.read(ET.tostring(found[0]), types) if (found := case.find(name)) is not None else None
            for name in ("input", "diff", "output")
        )
        try:
            made = apply(diff, given, load())
        except FhirError:
            made = None
        assert made == expected, case.get("name")


def test_a_patch_in_a_fibre_lets_others_go_on():
    """A path takes its time to evaluate: the loop goes on meanwhile, and patches at once do not mix up what they find."""
    done: list[int] = []

    def name(text):
        found = patched(PATIENT, operation("replace", path="Patient.name[1].family", value=("valueString", text)))
        done.append(len(done))
        return found["name"][1]["family"]

    async def together():
        loop = asyncio.get_running_loop()
        ends = [loop.create_future() for _ in range(8)]
        for number, end in enumerate(ends):
            Fibre(lambda number=number, end=end: end.set_result(name(f"n{number}")), loop).switch()
        assert done == []
        return await asyncio.wait_for(asyncio.gather(*ends), 30)

    assert asyncio.run(together()) == [f"n{number}" for number in range(8)]

"""What a resource is found by: all official examples, and what one resource may cost."""

from __future__ import annotations

import tarfile
from hashlib import sha256
from pathlib import Path

import pytest

from fhir_dmp.definitions.loader import load
from fhir_dmp.errors import Unprocessable
from fhir_dmp.fhir import codec
from fhir_dmp.search.extract import MAIN_DATES, build_extract, main_date
from fhir_dmp.search.form import FORM
from fhir_dmp.search.names import names_of, same_reading
from fhir_dmp.settings import Limits
from fhir_dmp.store.matching import matches
from tests.unit.search.world import BASE, extract, finds, query_of, row_of

EXAMPLES = Path(__file__).parents[2] / "data" / "all-examples.tar.xz"


@pytest.fixture(scope="module")
def examples():
    """All official examples of R4, parsed, with their rows."""
    with tarfile.open(EXAMPLES) as packed:
        trees = [codec.loads(packed.extractfile(each).read()) for each in packed if each.isfile()]
    known = [tree for tree in trees if tree["resourceType"] in load().search_params]
    return [(tree, row_of_tree(tree)) for tree in known]


def row_of_tree(tree):
    index = extract()(tree["resourceType"], tree)
    return {**index, "_id": f"{tree['resourceType']}/{tree.get('id')}", "ty": tree["resourceType"], "lu": "0"}


INDEXED = "20d0fae680a6642d"


def test_another_index_of_the_same_is_another_form(examples):
    """Raise ``FORM`` with whatever changes this digest, so that servers on older databases name the command that mends it."""
    parts = [
        repr(
            [sorted(row["t"]), row.get("r"), row.get("w"), row.get("ds"), row.get("ca"), row.get("pt"), row.get("sec")]
        )
        for _, row in examples
    ]
    assert (FORM, sha256("\n".join(sorted(parts)).encode()).hexdigest()[:16]) == (7, INDEXED)


def test_every_official_example_is_indexed(examples):
    """Each has its type, nothing twice, and ranges that are not inside out."""
    assert len(examples) > 700
    for tree, row in examples:
        assert row["t"][0] == tree["resourceType"]
        assert len(row["t"]) == len(set(row["t"])), tree["id"]
        keys = [(each["k"], each["lo"], each["hi"]) for each in row.get("r", ())]
        assert len(keys) == len(set(keys))
        assert all(low <= high for name, low, high in keys if name != "Location.near")


def test_every_parameter_finds_examples_or_misses_them(examples):
    """:missing=true and :missing=false part the examples of a type in two, for every parameter of every type."""
    by_type = {}
    for _, row in examples:
        by_type.setdefault(row["ty"], []).append(row)
    met = set()
    for resource_type, rows in by_type.items():
        for code, param in load().search_params[resource_type].items():
            if param.type in ("composite", "special"):
                continue
            absent, present = (query_of(resource_type, f"{code}:missing={flag}") for flag in ("true", "false"))
            for row in rows:
                assert matches(absent, row) != matches(present, row), (resource_type, code)
                if matches(present, row):
                    met.add((resource_type, code))
    assert len(met) > 900


def test_every_index_entry_is_found_by_the_question_that_it_answers(examples):
    """Tokens that are codes or references are asked for again, through the parser, and found."""
    met = set()
    for tree, row in examples[::7]:
        for token in row["t"][1:]:
            name, equals, value = token.partition("=")
            if not equals or ":" in name:
                continue
            resource_type, code = name.split(".")
            param = load().search_params[resource_type][code]
            if param.type in ("token", "reference") and value[-1:] != "|" and "\\" not in value and len(value) < 200:
                asked = value.replace(",", "\\,").replace("$", "\\$") if param.type == "token" else value
                asked = asked if param.type == "token" else asked.replace("\\", "\\\\").replace(",", "\\,")
                query = query_of_value(resource_type, code, asked)
                assert matches(query, row), (tree["id"], token)
                met.add(name)
    assert len(met) > 200


def query_of_value(resource_type, code, value):
    from urllib.parse import quote  # noqa: PLC0415

    return query_of(resource_type, f"{code}={quote(value, safe='')}")


def test_every_part_of_a_composite_of_the_whole_resource_has_a_parameter():
    """code-value-quantity is asked as code and value-quantity."""
    for resource_type, params in load().search_params.items():
        for param in params.values():
            if param.type == "composite" and any(not path.steps for path in param.paths):
                for part in param.components:
                    assert same_reading(params, part.type, part.paths), (resource_type, param.code, part.code)


def test_what_others_read_already_is_kept_once():
    """combo-code is code and component-code; phonetic is name."""
    homes = names_of(load().search_params["Observation"]).homes
    assert homes["combo-code"] == ("code", "component-code")
    assert homes["combo-code-value-quantity"] == ("code-value-quantity", "component-code-value-quantity")
    assert homes["code"] == ("code",)
    assert names_of(load().search_params["Patient"]).homes["phonetic"] == ("name",)
    assert not any(
        "combo" in token for token in row_of({"resourceType": "Observation", "code": {"coding": [{"code": "a"}]}})["t"]
    )


def test_a_resource_that_would_need_too_many_entries_is_refused():
    """422 with the number; nothing is left out in silence."""
    small = build_extract(load(), BASE, Limits(index_entries=10))
    with pytest.raises(Unprocessable, match="10 is the most"):
        small("Patient", {"resourceType": "Patient", "name": [{"given": [f"n{number}" for number in range(20)]}]})


def test_the_main_date_orders_a_patients_rows():
    """date where there is one, else what tells best when a thing was."""
    assert row_of({"resourceType": "Observation", "effectivePeriod": {"start": "1970-01-02"}})["ds"] == 86_400_000_000
    assert row_of({"resourceType": "Condition", "recordedDate": "1970-01-02"}).get("ds") is None
    assert row_of({"resourceType": "Condition", "onsetDateTime": "1970-01-02"})["ds"] == 86_400_000_000
    assert row_of({"resourceType": "MedicationRequest", "authoredOn": "1970-01-02"})["ds"] == 86_400_000_000
    assert main_date(load().search_params["Basic"]).code in MAIN_DATES


def test_security_labels_are_kept_as_system_and_code():
    """Rules narrow by them."""
    row = row_of({"resourceType": "Patient", "meta": {"security": [{"system": "urn:s", "code": "R"}, {"code": "V"}]}})
    assert row["sec"] == ["urn:s|R", "|V"]


@pytest.mark.parametrize(
    "reference", ["", "Patient", "Patient/", "/p", "http://", "Patient/" + "x" * 65, "urn:", "?", "\\"]
)
def test_what_is_no_reference_crashes_nothing(reference):
    """It is indexed as it stands, or not at all, and makes nobody's record."""
    assert "pt" not in row_of({"resourceType": "Observation", "subject": {"reference": reference}})


def test_paths_with_conditions_and_places_are_followed():
    """telecom.where(system='email'), and a reference to one type among several."""
    person = {
        "resourceType": "Practitioner",
        "telecom": [{"system": "email", "value": "a@b"}, {"system": "phone", "value": "1"}],
    }
    assert finds("email=a@b", person)
    assert not finds("phone=a@b", person)
    flag = {"resourceType": "Flag", "subject": {"reference": "Group/1"}}
    assert finds("subject=Group/1", flag)
    assert finds("patient:missing=true", flag)

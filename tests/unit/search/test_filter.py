"""_filter: one boolean expression. https://hl7.org/fhir/R4/search_filter.html."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_dmp.errors import FhirError, Invalid
from fhir_dmp.search.filter import parse_filter
from fhir_dmp.search.model import Comparison, EachOf, NoneOf, OneOf
from tests.unit.search.world import finds_value, request_of

EVE = {
    "resourceType": "Patient",
    "active": True,
    "gender": "female",
    "birthDate": "1980-05-01",
    "name": [{"family": "Lefèvre", "given": ["Ève", "Marie"]}],
    "identifier": [{"system": "urn:ins", "value": "1"}],
    "managingOrganization": {"reference": "Organization/hospital"},
}
WEIGHT = {
    "resourceType": "Observation",
    "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7", "display": "Weight"}]},
    "effectivePeriod": {"start": "2024-01-10", "end": "2024-01-20"},
    "valueQuantity": {"value": 70, "code": "kg", "system": "http://unitsofmeasure.org"},
}

leaves = st.sampled_from([("a", "1"), ("b", "2"), ("c", "3")])
trees = st.recursive(
    leaves.map(lambda each: ("is", *each)),
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner),
        st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3)),
    ),
    max_leaves=8,
)


def written(tree, brackets):
    """Return the tree as text, with more brackets than are needed if asked."""
    kind, *rest = tree
    if kind == "is":
        return f"{rest[0]} eq {rest[1]}"
    if kind == "not":
        return f"not ({written(rest[0], brackets)})"
    parts = [
        f"({written(each, brackets)})" if brackets or each[0] in ("and", "or") else written(each, brackets)
        for each in rest[0]
    ]
    return f" {kind} ".join(parts)


def meant(tree, held):
    """Say what the tree is where the leaves in ``held`` hold."""
    kind, *rest = tree
    if kind == "is":
        return rest[0] in held
    if kind == "not":
        return not meant(rest[0], held)
    return (all if kind == "and" else any)(meant(each, held) for each in rest[0])


def said(criterion, held):
    """Say what the parsed criterion is there."""
    match criterion:
        case EachOf(parts):
            return all(said(each, held) for each in parts)
        case OneOf(parts):
            return any(said(each, held) for each in parts)
        case NoneOf(part):
            return not said(part, held)
        case (name, Comparison("eq", value)):
            return value == {"a": "1", "b": "2", "c": "3"}[name] and name in held


@settings(max_examples=300)
@given(trees, st.booleans(), st.sets(st.sampled_from("abc")))
def test_and_or_not_and_brackets_mean_what_they_say(tree, brackets, held):
    """And binds more than or."""
    parsed = parse_filter(written(tree, brackets), lambda *leaf: leaf, 100)
    assert said(parsed, held) == meant(tree, held)


def test_and_binds_more_than_or():
    """Without brackets."""
    parsed = parse_filter("a eq 1 or b eq 2 and c eq 3", lambda name, _: name, 9)
    assert parsed == OneOf(("a", EachOf(("b", "c"))))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('family eq "lefevre"', True),
        ('family eq "lef"', False),
        ('family sw "lef"', True),
        ('family co "EVR"', True),
        ('family ew "vre"', True),
        ('family ew "lefe"', False),
        ('family ne "martin"', True),
        ('family ne "lefèvre"', False),
        ('address-city ne "Paris"', False),
        ("gender eq female and birthdate ge 1980", True),
        ("gender eq male or birthdate lt 1980", False),
        ("not (gender eq male)", True),
        ("not gender eq female", False),
        ("identifier eq urn:ins|1", True),
        ('identifier eq "urn:ins|2"', False),
        ("address-city pr false", True),
        ("address-city pr true", False),
        ("family pr true", True),
        ("organization re Organization/hospital", True),
        ("organization eq Organization/other", False),
        ("birthdate po 1980-05", True),
        ("birthdate po 1981", False),
        ("gender in http://hl7.org/fhir/ValueSet/administrative-gender", True),
        ("gender ni http://hl7.org/fhir/ValueSet/administrative-gender", False),
        ('given eq "Marie" and (family eq "x" or active eq true)', True),
    ],
)
def test_each_operator_asks_for_what_it_is_called(text, expected):
    """On strings, tokens, references and dates; ne is for what has a value."""
    assert finds_value("_filter", text, EVE) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("value-quantity gt 65||kg", True),
        ("value-quantity eq 70000|http://unitsofmeasure.org|g", True),
        ("value-quantity ap 75", True),
        ("date po 2024-01-15", True),
        ("date eq 2024-01-15", False),
        ("date sa 2024-01-15", False),
        ("date po 2024-02", False),
        ("date eb 2024-02", True),
    ],
)
def test_ranges_are_compared_as_by_prefixes(text, expected):
    """And po is overlap."""
    assert finds_value("_filter", text, WEIGHT) is expected


def test_a_filter_may_chain():
    """By the same names as a URL."""
    seen = []

    def lookup(query, *_):
        seen.append(query)
        return ("Organization/hospital",)

    assert finds_value("_filter", 'organization.name sw "hop" or gender eq male', EVE, lookup=lookup)
    assert len(seen) == 1


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "gender",
        "gender eq",
        "gender is male",
        "(gender eq male",
        "gender eq male)",
        "gender eq male and",
        "and gender eq male",
        "gender eq male or or",
        '"gender" eq male',
        'family eq "x',
        'family eq "\\x"',
        "family[a eq b] eq x",
        "nickname eq x",
        "family gt x",
        "gender gt x",
        "gender pr maybe",
        "gender:not eq male",
        "birthdate eq yesterday",
        "_text eq x",
        "(" * 50 + "gender eq male" + ")" * 50,
        "not " * 50 + "gender eq male",
        " or ".join(["gender eq male"] * 101),
        "gender eq " + "x" * 5000,
        "gender in http://nowhere/ValueSet/x",
    ],
)
def test_a_filter_that_does_not_parse_is_refused(text):
    """400, whatever the handling: half a filter would answer something else."""
    with pytest.raises(FhirError) as refusal:
        finds_value("_filter", text, EVE)
    assert refusal.value.status == 400


@given(st.text('abcgender eqnor()"\\:.[]|', max_size=40))
def test_no_text_breaks_the_reader(text):
    """A criterion, or Invalid."""
    with contextlib.suppress(Invalid):
        parse_filter(text, lambda *leaf: leaf, 10)


def test_a_filter_counts_as_used():
    """It stands in the self link."""
    request = request_of("Patient", "_filter=gender%20eq%20male")
    assert request.used == (("_filter", "gender eq male"),)

"""From a URL's parameters to a request: what is understood, what is refused, what is told. https://hl7.org/fhir/R4/search.html."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_dmp.definitions.loader import load
from fhir_dmp.errors import FhirError, Invalid, NotSupported, TooCostly
from fhir_dmp.search.model import Chain, Clause, Has
from fhir_dmp.search.order import orders
from fhir_dmp.settings import Limits
from fhir_dmp.store.port import Order
from tests.unit.search.world import finds_value, query_of, request_of


def test_commas_are_alternatives_and_repetitions_are_conditions():
    """code=a,b&code=c is (a or b) and c; an escaped comma belongs to its value."""
    first, second, third = request_of("Observation", "code=a,b&code=c&identifier=x%5C,y").criteria
    assert (first.values, second.values, third.values) == (("a", "b"), ("c",), ("x\\,y",))


def test_a_chain_is_taken_apart_from_the_left():
    """Types are told or found, as deep as it goes."""
    (chain,) = request_of("DiagnosticReport", "result.subject:Patient.name:exact=Eve").criteria
    assert isinstance(chain, Chain)
    (inner,) = chain.inner
    assert isinstance(inner, Chain)
    (clause,) = inner.inner
    assert isinstance(clause, Clause)
    assert (clause.type, clause.param.code, clause.modifier, clause.values) == ("Patient", "name", "exact", ("Eve",))


def test_a_chain_without_a_type_asks_all_types_that_have_the_parameter():
    """subject may be a patient, a group, a device, a location: those with a name are asked."""
    (chain,) = request_of("Observation", "subject.name=eve").criteria
    assert {each.type for each in chain.inner} == {"Patient", "Location"}


def test_a_reverse_chain_nests():
    """Fetch all patients with an observation that an audit event of a user names: the example of R4."""
    (has,) = request_of("Patient", "_has:Observation:patient:_has:Provenance:target:agent=Practitioner/1").criteria
    assert isinstance(has, Has)
    assert (has.source, has.param.code) == ("Observation", "patient")
    assert isinstance(has.inner, Has)
    assert has.inner.inner.param.code == "agent"


@pytest.mark.parametrize(
    ("asked", "count", "only"),
    [("", 50, False), ("_count=7", 7, False), ("_count=0", 0, True), ("_count=999999999999999999999", 1000, False), ("_summary=count", 50, True), ("_summary=false", 50, False)],
)  # fmt: skip
def test_count_is_bounded(asked, count, only):
    """Absurd values are cut to the limit, none is a count."""
    request = request_of("Patient", asked)
    assert (request.count, request.count_only) == (count, only)


REFUSED = {
    "a negative count": "_count=-1",
    "a count that is none": "_count=ten",
    "a count in other digits": "_count=%D9%A3",
    "two counts": "_count=1&_count=2",
    "two totals": "_total=none&_total=accurate",
    "a total that is none": "_total=maybe",
    "a chain on no reference": "birthdate.name=x",
    "a chain to a wrong type": "general-practitioner:Observation.code=x",
    "a chain without end": "link.link.link.link.link.link.link.name=x",
    "half a reverse chain": "_has:Observation:patient=x",
    "a reverse chain from nowhere": "_has:Nothing:patient:code=x",
    "a reverse chain by no reference": "_has:Observation:code:code=x",
    "an include of no type": "_include=Nothing:subject",
    "an include of no reference": "_include=Patient:name",
    "an order by a composite": "_sort=code-value-quantity",
    "too many alternatives of a range": "birthdate=" + ",".join(["2020"] * 51),
    "too many alternatives": "identifier=" + ",".join(["x"] * 2001),
    "a value of 100 kB": "name=" + "x" * 100_001,
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_parse_is_refused_even_if_lenient(case):
    """400 with words that the sender can use."""
    with pytest.raises(Invalid) as refusal:
        request_of("Observation" if "composite" in case else "Patient", REFUSED[case], strict=False)
    assert refusal.value.status == 400
    assert str(refusal.value)


UNKNOWN = [
    "nickname=x",
    "name=",
    "name=,",
    "_count=",
    "_sort=",
    "_sort=,",
    "_include=",
    "_elements=",
    "_list=$current-problems",
    "_query=x",
    "_sort=nickname,name",
    "nickname.name=x",
    "_sort=name,nickname",
]


@pytest.mark.parametrize("query", UNKNOWN)
def test_what_is_not_known_is_refused_if_strict_and_told_if_lenient(query):
    """It never counts as used, and half of it is never used either."""
    with pytest.raises(NotSupported):
        request_of("Patient", query)
    request = request_of("Patient", f"{query}&gender=male", strict=False)
    assert [issue.severity for issue in request.ignored] == ["warning"]
    assert request.used == (("gender", "male"),)
    assert len(request.criteria) == 1
    assert request.sort == ()


def test_words_that_are_not_kept_are_not_asked_for():
    """A limit of none turns them off, and they are told as unsupported."""
    for query in ("_text=x", "_content=x"):
        assert len(request_of("Patient", query).criteria) == 1
        with pytest.raises(NotSupported):
            request_of("Patient", query, limits=Limits(words=0))


def test_parameters_of_rendering_are_no_criteria():
    """_format and _pretty say nothing of what is searched."""
    request = request_of("Patient", "_format=json&_pretty=true")
    assert (request.criteria, request.used) == ((), ())


def test_more_criteria_than_the_limit_are_refused():
    """A thousand parameters are no search."""
    with pytest.raises(Invalid, match="criteria"):
        request_of("Patient", "&".join(["name=x"] * 101))


def test_a_chain_that_passes_through_too_many_is_refused():
    """422, with the cap; the look-up is asked for one more than that and no further."""
    asked = []

    def lookup(query, prefix, limit):
        asked.append(limit)
        return tuple(f"Patient/{number}" for number in range(limit))

    with pytest.raises(TooCostly) as refusal:
        query_of("Observation", "patient.name=x", lookup=lookup, limits=Limits(chain=10))
    assert refusal.value.status == 422
    assert asked == [11]


def test_sort_keys_follow_the_parameters_and_end_in_what_no_two_rows_share():
    """Rows that are equal keep an order of their own: that of creation, if nothing else was asked that tells them apart."""
    found = orders(request_of("Patient", "_sort=family,-birthdate"), load())
    assert found == (Order("t:Patient.family="), Order("ds", descending=True), Order("co"))
    found = orders(request_of("Patient", "_sort=family,-_lastUpdated,birthdate,_id"), load())
    assert found == (Order("t:Patient.family="), Order("lu", descending=True))
    assert orders(request_of("Patient", "_sort=_id,family"), load()) == (Order("_id"),)
    assert orders(request_of("Patient", "_sort=birthdate"), load()) == (Order("ds"), Order("co", descending=True))
    assert orders(request_of("Encounter", "_sort=-length"), load())[0] == Order("r:Encounter.length", descending=True)
    assert orders(request_of("Patient", "_sort=phonetic"), load())[0] == Order("t:Patient.name=")
    with pytest.raises(NotSupported):
        orders(request_of("Observation", "_sort=combo-code"), load())


NAMES = st.sampled_from(["name", "birthdate", "identifier", "_id", "_lastUpdated", "general-practitioner", "link", "_has:Observation:patient:code", "active", "_sort", "_include", "_count", "name:exact", "x.y", "general-practitioner.name", ""])  # fmt: skip


@settings(max_examples=300)
@given(NAMES, st.text(max_size=30))
def test_nothing_that_is_asked_breaks_the_server(name, value):
    """Any text is understood or refused with a 4xx."""
    try:
        assert finds_value(
            name, value, {"resourceType": "Patient", "name": [{"family": "x"}]}, lookup=lambda *_: ()
        ) in (True, False)
    except FhirError as refusal:
        assert 400 <= refusal.status < 500


def test_a_question_that_names_its_type_is_not_asked_the_type_as_well():
    """One narrow stretch of the index is enough; a range alone does not give the order of creation."""
    from fhir_dmp.store.query import And, Eq  # noqa: PLC0415

    assert query_of("Observation", "code=a") == Eq("t", "Observation.code=a")
    assert Eq("t", "Observation") in query_of("Observation", "date=2024").parts
    assert isinstance(query_of("Observation", "code:not=a"), And)
    assert query_of("Patient", "") == Eq("t", "Patient")


def test_quoted_signs_reach_their_module():
    """A % encoded bar separates as a bar does."""
    assert request_of("Patient", "identifier=" + quote("a|b", safe="")).criteria[0].values == ("a|b",)

"""Strings and URIs. https://hl7.org/fhir/R4/search.html#string."""

from __future__ import annotations

import unicodedata
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_dmp.errors import FhirError
from fhir_dmp.fhir.fold import fold
from fhir_dmp.search.form import FORM
from fhir_dmp.search.types.string import LENGTHS
from fhir_dmp.store.matching import matches
from fhir_dmp.store.query import And, Eq
from tests.unit.search.world import finds, finds_value, query_of, row_of

letters = st.text(st.sampled_from("aAàÀéÉeçnN oO-'.9"), min_size=1, max_size=8)


def base_characters(text):
    """Return the text without case, accents, punctuation and repeated spaces, read plainly from R4."""
    apart = unicodedata.normalize("NFD", text.replace("'", "").replace("-", " ").replace(".", " ").lower())
    return " ".join("".join(char for char in apart if not unicodedata.combining(char)).split())


@settings(max_examples=500)
@given(letters, letters)
def test_a_string_is_found_by_how_it_begins(value, asked):
    """Equal or starts with, after case, accents, punctuation and white space are gone."""
    resource = {"resourceType": "ValueSet", "title": value}
    wanted = base_characters(asked)
    if not wanted:
        with pytest.raises(FhirError, match="nothing to look for"):
            finds_value("title", asked, resource)
        return
    assert finds_value("title", asked, resource) == base_characters(value).startswith(wanted)
    assert finds_value("title:contains", asked, resource) == (wanted in base_characters(value))
    assert finds_value("title:exact", asked, resource) == (value == asked)
    assert finds_value("title:exact", value, resource)


@given(st.text(max_size=20))
def test_folding_twice_is_folding_once(text):
    """What is indexed and what is asked are folded the same way."""
    assert fold(fold(text)) == fold(text)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Œuvre", "oeuvre"),
        ("Jean-Pierre O'Brien", "jean pierre obrien"),
        ("Straße", "strasse"),
        ("D’Été", "dete"),
        ("ÅÆØ", "aaeo"),
    ],
)
def test_french_and_other_letters_are_folded(text, folded):
    """Ligatures too, which have no accent to take away."""
    assert fold(text) == folded


NAMES = {
    "resourceType": "Patient",
    "name": [{"family": "Carreño Quiñones", "given": ["Eve", "Séverine"], "prefix": ["Dr"], "text": "Madame Eve"}],
}


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("given=eve", True), ("given=EVE", True), ("given=sever", True), ("given=verine", False), ("given:contains=verine", True),
        ("given:exact=Eve", True), ("given:exact=eve", False), ("given:exact=EVE", False), ("given:exact=Ev", False),
        ("name=dr", True), ("name=madame", True), ("name=carreno", True), ("name=quinones", True), ("family=Quinones", True),
        ("family=carreno%20q", True), ("family=nones", False), ("family:exact=Quiñones", False), ("phonetic=eve", True),
        ("name=eve,adam", True), ("name=adam", False), ("name=eve&name=dr", True), ("family:missing=false", True), ("address:missing=true", True),
    ],
)  # fmt: skip
def test_each_part_of_a_name_is_found(question, found):
    """Given names, both halves of a double name, prefixes and text; exact means exact."""
    assert finds(question, NAMES) is found


@pytest.mark.parametrize("asked", ["c", "ca", "car", "carreno", "carreno q", "quin", "nobody"])
def test_a_beginning_is_asked_for_by_one_token_as_far_as_one_is_kept(asked):
    """Rows stand under it in the order of pages; what is asked beyond it is asked beside it."""
    query = query_of("Patient", f"family={asked}")
    parts = query.parts if isinstance(query, And) else (query,)

    assert parts[0] == Eq("t", f"Patient.family^{asked[: {3: 2, 9: 7, 6: 4}.get(len(asked), len(asked))]}")
    assert len(parts) == (1 if len(asked) in LENGTHS else 2)
    assert matches(query, row_of(NAMES)) is (asked != "nobody")


@settings(max_examples=300)
@given(letters, letters, letters)
def test_beginnings_find_what_whole_texts_find(given_name, family, asked):
    """In rows of this form both ways of asking mean the same; rows of an older form have no beginnings and are asked for none."""
    row = row_of({"resourceType": "Patient", "name": [{"given": [given_name], "family": family}]})
    older = {**row, "t": [token for token in row["t"] if "^" not in token]}
    if base_characters(asked):
        by_whole, by_beginning = (query_of("Patient", f"name={quote(asked)}", form=form) for form in (5, FORM))
        assert matches(by_beginning, row) is matches(by_whole, row) is matches(by_whole, older)


def test_exact_is_exact_also_when_the_case_was_already_low():
    """What folding leaves as it is, is not what was folded to it."""
    assert finds("given:exact=eve", {"resourceType": "Patient", "name": [{"given": ["eve"]}]})
    assert not finds("given:exact=eve", {"resourceType": "Patient", "name": [{"given": ["EVE"]}]})


def test_an_address_is_found_by_any_of_its_parts():
    """Lines, city, postal code, country."""
    patient = {
        "resourceType": "Patient",
        "address": [{"line": ["12, rue de l'Été"], "city": "Saint-Étienne", "postalCode": "42000", "country": "FR"}],
    }
    for question in (
        "address=12%20rue",
        "address=saint%20etienne",
        "address=42",
        "address-city=saint-e",
        "address-postalcode=42000",
        "address-country=fr",
    ):
        assert finds(question, patient), question
    assert not finds("address-city=etienne", patient)
    assert finds("address:contains=etienne", patient)


def test_signs_of_patterns_are_signs():
    """Nothing that is asked is a pattern."""
    for text in (".*", "a.*", "%", "^a", "(a+)+$", "[a"):
        resource = {"resourceType": "ValueSet", "title": "aaaa"}
        try:
            assert not finds_value("title:contains", text, resource) or fold(text) == "a"
        except FhirError as refusal:
            assert refusal.status == 400


def test_a_very_long_string_is_found_by_its_beginning_and_exactly():
    """The index keeps 120 folded characters, and a digest for :exact."""
    text = "Lorem ipsum " * 100
    resource = {"resourceType": "ValueSet", "title": text}
    assert finds_value("title", text, resource)
    assert finds_value("title", text[:50], resource)
    assert finds_value("title:exact", text, resource)
    assert not finds_value("title:exact", text + "x", resource)


addresses = st.text(st.sampled_from("ab/.#?"), max_size=8).map(lambda rest: "http://a.fr/" + rest)


@settings(max_examples=300)
@given(addresses, addresses)
def test_a_uri_is_found_whole_or_by_one_beginning_the_other(value, asked):
    """:below: the value begins with it; :above: it begins with the value."""
    resource = {"resourceType": "ValueSet", "url": value}
    assert finds_value("url", asked, resource) == (value == asked)
    assert finds_value("url:below", asked, resource) == value.startswith(asked)
    assert finds_value("url:above", asked, resource) == asked.startswith(value)


def test_above_and_below_are_for_urls_alone():
    """An OID has no parts."""
    resource = {"resourceType": "ValueSet", "url": "urn:oid:1.2.3"}
    assert finds("url=urn:oid:1.2.3", resource)
    assert not finds("url:below=urn:oid:1.2", resource)
    assert not finds("url:above=urn:oid:1.2.3.4", resource)


def test_a_canonical_url_may_name_a_version():
    """url|version asks for both; case and accents count in a uri."""
    resource = {"resourceType": "ValueSet", "url": "http://a.fr/V", "version": "2.0"}
    assert finds_value("url", "http://a.fr/V|2.0", resource)
    assert not finds_value("url", "http://a.fr/V|1.0", resource)
    assert not finds_value("url", "http://a.fr/v", resource)

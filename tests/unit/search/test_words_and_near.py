"""_text and _content by words, near by distance. https://hl7.org/fhir/R4/search.html#content."""

from __future__ import annotations

from math import acos, cos, radians, sin

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fhir_dmp.errors import FhirError
from fhir_dmp.settings import Limits
from fhir_dmp.store.query import EARTH
from tests.unit.search.world import finds_value, row_of

NOTE = {
    "resourceType": "Condition",
    "text": {
        "status": "generated",
        "div": '<div xmlns="http://www.w3.org/1999/xhtml"><p>Métastases <b>osseuses</b></p><p>du&#233; &amp; foie</p></div>',
    },
    "code": {"coding": [{"system": "http://snomed.info/sct", "code": "94222008", "display": "Secondary tumour"}]},
    "note": [{"text": "L'épaule est douloureuse."}],
    "subject": {"reference": "Patient/p", "display": "Jean Dupont"},
}


@pytest.mark.parametrize(
    ("name", "words", "expected"),
    [
        ("_text", "metastases", True),
        ("_text", "METASTASES osseuses", True),
        ("_text", "metastases poumon", False),
        ("_text", "poumon or foie", True),
        ("_text", "(poumon OR foie) and metastases", True),
        ("_text", "(poumon or rein) and metastases", False),
        ("_text", "due", True),
        ("_text", "p", False),
        ("_text", "tumour", False),
        ("_text", "metas", False),
        ("_content", "tumour", True),
        ("_content", "metastases tumour", True),
        ("_content", "lépaule douloureuse", True),
        ("_content", "dupont", True),
        ("_content", "94222008", False),
        ("_content", "snomed", False),
    ],
)
def test_words_are_found_folded_and_whole(name, words, expected):
    """All of them, wherever they stand; _text in the narrative alone."""
    assert finds_value(name, words, NOTE) is expected


@pytest.mark.parametrize("words", ["0612345678", "AB-12", "hopital saint louis", "75010 paris", "second opinion"])
def test_content_is_what_any_element_of_text_holds(words):
    """Numbers of contact points and identifiers too, and names that elsewhere are codes."""
    place = {
        "resourceType": "Organization",
        "identifier": [{"system": "urn:x", "value": "AB-12"}],
        "name": "Hôpital Saint-Louis",
        "telecom": [{"system": "phone", "value": "0612345678"}],
        "address": [{"postalCode": "75010", "city": "Paris"}],
        "contained": [{"resourceType": "Endpoint", "name": "Second opinion"}],
    }
    assert finds_value("_content", words, place)
    assert not finds_value("_content", "phone", place)


@pytest.mark.parametrize("words", ["(", "a and", "or a", "()", "a )", "...", "a and and b", " ", "x " * 21])
def test_words_that_do_not_parse_are_refused(words):
    """400, never an answer to something else."""
    with pytest.raises(FhirError) as refusal:
        finds_value("_content", words, NOTE)
    assert refusal.value.status == 400


def test_whether_there_is_a_narrative_can_be_asked():
    """:missing on words."""
    bare = {"resourceType": "Condition", "note": [{"text": "x"}]}
    assert finds_value("_text:missing", "false", NOTE)
    assert finds_value("_text:missing", "true", bare)
    assert finds_value("_content:missing", "false", bare)


def test_a_resource_keeps_so_many_words():
    """The limit bounds the index of a long text."""
    most = Limits().words
    text = " ".join(f"word{number}" for number in range(most * 2))
    row = row_of({"resourceType": "Condition", "note": [{"text": text}], "text": {"div": f"<div>{text}</div>"}})
    assert len(row["w"]) == 2 * most


def place(latitude, longitude):
    return {"resourceType": "Location", "position": {"latitude": latitude, "longitude": longitude}}


PARIS, LYON = place(48.8566, 2.3522), place(45.7640, 4.8357)


@pytest.mark.parametrize(
    ("value", "location", "expected"),
    [
        ("48.85|2.35", PARIS, True),
        ("48.85|2.35", LYON, False),
        ("48.8566|2.3522|391|km", LYON, False),
        ("48.8566|2.3522|393|km", LYON, True),
        ("48.8566|2.3522|393000|m", LYON, True),
        ("48.8566|2.3522|245|[mi_i]", LYON, True),
        ("0|179.99|5|km", place(0, -179.99), True),
        ("89.99|0|5|km", place(89.99, 180), True),
        ("90|0|1", place(90, 77), True),
        ("48.8566|2.3522|0", PARIS, True),
        ("1|1,48.8566|2.3522", PARIS, True),
    ],
)
def test_near_is_a_distance_over_the_sphere(value, location, expected):
    """Also across 180 degrees and around a pole; 5 km where none is named."""
    assert finds_value("near", value, location) is expected


coordinates = st.tuples(st.floats(-90, 90).map(lambda x: round(x, 4)), st.floats(-180, 180).map(lambda x: round(x, 4)))


@settings(max_examples=300)
@given(coordinates, coordinates, st.integers(1, 20000))
def test_no_place_within_the_distance_is_missed(point, other, km):
    """By the spherical law of cosines, which the server does not use."""
    (south, west), (north, east) = point, other
    one, two, across = radians(south), radians(north), radians(east - west)
    metres = EARTH * acos(max(-1.0, min(1.0, sin(one) * sin(two) + cos(one) * cos(two) * cos(across))))
    assume(abs(metres - km * 1000) > 10)
    assert finds_value("near", f"{south}|{west}|{km}|km", place(north, east)) == (metres < km * 1000)


@pytest.mark.parametrize(
    "value",
    ["", "48", "a|b", "91|0", "0|181", "0|0|-1", "0|0|1|mg", "0|0|1|km|x", "NaN|0", "0|0|1e400", "Infinity|0"],
)
def test_what_is_no_place_is_refused(value):
    """400."""
    with pytest.raises(FhirError) as refusal:
        finds_value("near", value, PARIS)
    assert refusal.value.status == 400


def test_a_position_that_is_no_place_indexes_nothing():
    """Latitude 200 is stored and not found."""
    assert "r" not in row_of(place(200, 0))
    assert finds_value("near:missing", "true", place(200, 0))
    assert finds_value("near:missing", "false", PARIS)

"""What a search brings along, in either direction, and by canonical URLs. https://hl7.org/fhir/R4/search.html#include."""

from __future__ import annotations

import pytest

from tests.search_world import ids

CANONICAL = {
    "Questionnaire/first": {"status": "active", "url": "http://a.fr/q", "version": "1A"},
    "Questionnaire/second": {"status": "active", "url": "http://a.fr/q", "version": "2"},
    "Library/lib": {"status": "active", "url": "http://a.fr/lib", "version": "1", "type": {"text": "x"}},
    "Measure/m": {"status": "active", "url": "http://a.fr/m", "library": ["http://a.fr/lib|1"]},
    "MeasureReport/r": {
        "status": "complete",
        "type": "summary",
        "period": {"start": "2024"},
        "measure": "http://a.fr/m",
    },
    "QuestionnaireResponse/any": {"status": "completed", "questionnaire": "http://a.fr/q"},
    "QuestionnaireResponse/one": {"status": "completed", "questionnaire": "http://a.fr/q|1A"},
    "QuestionnaireResponse/none": {"status": "completed", "questionnaire": "http://a.fr/q|3"},
    "QuestionnaireResponse/here": {"status": "completed", "questionnaire": "Questionnaire/second"},
    "ValueSet/other": {"status": "active", "url": "http://a.fr/q"},
}


@pytest.fixture(scope="module")
def still_world(still_world):
    """With what refers to each other by canonical URLs."""
    for name, body in CANONICAL.items():
        kind, _, own = name.partition("/")
        assert still_world.put(f"/{name}", {"resourceType": kind, "id": own, **body}).status_code == 201
    return still_world


@pytest.mark.parametrize(
    ("question", "matches", "included"),
    [
        ("Observation?_id=o1&_include=Observation:subject", {"o1"}, {"eve"}),
        ("Observation?_id=o1&_include=Observation:subject&_include=Observation:performer", {"o1"}, {"eve", "doctor"}),
        ("Observation?_id=o1&_include=Observation:performer:Organization", {"o1"}, set()),
        ("Observation?_id=o1&_include=*", {"o1"}, {"eve", "doctor"}),
        ("Observation?_id=o1&_include=Observation:subject&_include:iterate=Patient:organization", {"o1"}, {"eve", "hospital"}),
        ("Observation?_id=o1&_include=Observation:subject&_include=Patient:organization", {"o1"}, {"eve"}),
        ("Patient?_id=eve&_revinclude=Observation:subject", {"eve"}, {"o1", "o2", "o3"}),
        ("Patient?_id=eve&_revinclude=Observation:patient&_revinclude:iterate=DiagnosticReport:result", {"eve"}, {"o1", "o2", "o3", "report"}),
        ("Patient?_id=nobody&_revinclude=Observation:patient", set(), set()),
        ("Observation?_id=o1&_include=Observation:*", {"o1"}, {"eve", "doctor"}),
        ("Observation?_id=o1&_include=Observation:*:Patient", {"o1"}, {"eve"}),
        ("Observation?_id=o1&_include=Observation:subject:*", {"o1"}, {"eve"}),
        ("Observation?_id=o1&_include:iterate=*", {"o1"}, {"eve", "doctor", "hospital"}),
        ("Practitioner?_revinclude=*", {"doctor"}, {"eve", "o1"}),
        ("Observation?_id=o1&_revinclude=*", {"o1"}, {"report", "list"}),
    ],
)  # fmt: skip
def test_includes_bring_what_is_pointed_at_and_what_points(still_world, question, matches, included):
    """Each once, in a mode of their own, iterated only if asked."""
    answer = still_world.get(f"/{question}")
    assert (ids(answer), ids(answer, "include")) == (matches, included)


@pytest.mark.parametrize(
    ("question", "included"),
    [
        ("QuestionnaireResponse?_id=one&_include=QuestionnaireResponse:questionnaire", {"first"}),
        ("QuestionnaireResponse?_id=any&_include=QuestionnaireResponse:questionnaire", {"first", "second"}),
        ("QuestionnaireResponse?_id=none&_include=QuestionnaireResponse:questionnaire", set()),
        ("QuestionnaireResponse?_id=here&_include=QuestionnaireResponse:questionnaire:Questionnaire", {"second"}),
        ("QuestionnaireResponse?_id=one,none&_include=*", {"first"}),
        ("MeasureReport?_include=*", {"m"}),
        ("MeasureReport?_include:iterate=*", {"m", "lib"}),
        ("Questionnaire?_id=first&_revinclude=QuestionnaireResponse:questionnaire", {"any", "one"}),
        ("Questionnaire?_id=second&_revinclude=QuestionnaireResponse:questionnaire", {"any", "here"}),
        ("Library?_revinclude:iterate=*", {"m", "r"}),
        ("ValueSet?_revinclude=QuestionnaireResponse:questionnaire", set()),
    ],
)
def test_a_canonical_points_at_what_has_its_url_and_version(still_world, question, included):
    """In either direction; without a version at any."""
    answer = still_world.get(f"/{question}")
    assert ids(answer, "include") == included


def test_what_the_caller_may_not_read_is_neither_included_nor_chained_through(world, with_scopes):
    """Scopes narrow each hop: the answer is the same as if the others were not there."""
    reader = with_scopes("system/Observation.rs")
    only = reader.get("/Observation?_id=o1&_include=Observation:subject")
    assert (ids(only), ids(only, "include")) == ({"o1"}, set())
    assert ids(reader.get("/Observation?patient.name=lefevre")) == set()
    patients = with_scopes("system/Patient.rs")
    assert ids(patients.get("/Patient?_has:Observation:patient:code=2823-3")) == set()
    assert ids(patients.get("/Patient?_id=eve&_revinclude=Observation:patient"), "include") == set()
    searcher = with_scopes("system/Observation.rs", "system/Patient.s")
    assert ids(searcher.get("/Observation?_id=o1&_include=Observation:subject"), "include") == set()
    assert ids(searcher.get("/Observation?patient.name=lefevre")) == {"o1", "o2", "o3"}

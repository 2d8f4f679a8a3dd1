"""Search of one type at the endpoint, on a real database. https://hl7.org/fhir/R4/http.html#search."""

from __future__ import annotations

import base64
import gc
import threading
import tracemalloc
from urllib.parse import parse_qs, urlsplit

import pytest

from fhir_dmp.store.query import Query
from fhir_dmp.stores.mongo.compile import compile_query
from tests.http.conftest import make_app, register
from tests.unit.search.world import query_of

LOINC = "http://loinc.org"
ROLE = "http://terminology.hl7.org/CodeSystem/v3-RoleCode"
V2 = "http://terminology.hl7.org/CodeSystem/v2-0203"


def put(tree):
    return {"resource": tree, "request": {"method": "PUT", "url": f"{tree['resourceType']}/{tree['id']}"}}


def observation(number, patient, code, value, day, **more):
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": "final",
        "code": {"text": f"Text {code}", "coding": [{"system": LOINC, "code": code}]},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": day,
        "valueQuantity": {"value": value, "unit": "mg", "system": "http://unitsofmeasure.org", "code": "mg"},
        **more,
    }


WORLD = [
    {"resourceType": "Organization", "id": "hospital", "name": "Hôpital Saint-Louis"},
    {"resourceType": "Practitioner", "id": "doctor", "name": [{"family": "Curie", "given": ["Ève"]}]},
    {"resourceType": "Patient", "id": "eve", "active": True, "gender": "female", "birthDate": "1980-05-01",
     "identifier": [{"system": "urn:ins", "value": "1"}], "name": [{"family": "Lefèvre Dupont", "given": ["Ève"]}],
     "managingOrganization": {"reference": "Organization/hospital"}, "generalPractitioner": [{"reference": "Practitioner/doctor"}]},
    {"resourceType": "Patient", "id": "adam", "active": True, "gender": "male", "birthDate": "1975",
     "identifier": [{"system": "urn:ins", "value": "2"}], "name": [{"family": "Martin", "given": ["Adam"]}]},
    observation(1, "eve", "718-7", 5.4, "2024-01-10", performer=[{"reference": "Practitioner/doctor"}]),
    observation(2, "eve", "718-7", 6.0, "2024-02-10T10:00:00+01:00"),
    observation(3, "eve", "2823-3", 7.0, "2024-03-10"),
    observation(4, "adam", "718-7", 9.0, "2024-01-20"),
    {"resourceType": "Observation", "id": "bp", "status": "final", "code": {"coding": [{"system": LOINC, "code": "85354-9"}]},
     "subject": {"reference": "Patient/adam"}, "effectivePeriod": {"start": "2024-01-01"},
     "component": [{"code": {"coding": [{"system": LOINC, "code": "8480-6"}]}, "valueQuantity": {"value": 140}},
                   {"code": {"coding": [{"system": LOINC, "code": "8462-4"}]}, "valueQuantity": {"value": 80}}]},
    {"resourceType": "DiagnosticReport", "id": "report", "status": "final", "code": {"text": "Blood"}, "subject": {"reference": "Patient/eve"},
     "result": [{"reference": "Observation/o1"}, {"reference": "Observation/o3"}]},
    {"resourceType": "RiskAssessment", "id": "risk", "status": "final", "subject": {"reference": "Patient/eve"}, "prediction": [{"probabilityDecimal": 0.80}]},
    {"resourceType": "ValueSet", "id": "set", "status": "active", "url": "http://a.fr/fhir/ValueSet/x", "version": "2",
     "compose": {"include": [{"system": LOINC, "concept": [{"code": "718-7"}, {"code": "nothing"}]}]}},
    {"resourceType": "Location", "id": "paris", "name": "Paris", "position": {"latitude": 48.8566, "longitude": 2.3522}},
    {"resourceType": "Location", "id": "lyon", "name": "Lyon", "position": {"latitude": 45.7640, "longitude": 4.8357}},
    {"resourceType": "List", "id": "list", "status": "current", "mode": "working", "entry": [{"item": {"reference": "Observation/o1"}},
     {"item": {"reference": "Patient/eve"}}, {"item": {"reference": "Observation/gone"}}]},
    {"resourceType": "RelatedPerson", "id": "mother", "patient": {"reference": "Patient/eve", "display": "Ève Lefèvre"}, "identifier": [
     {"type": {"coding": [{"system": V2, "code": "SS"}]}, "value": "123"}], "relationship": [{"coding": [{"system": ROLE, "code": "NMTH"}]}],
     "text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">Mère de <b>Ève</b></div>'}},
]  # fmt: skip


def filled(ehr):
    """Return the EHR, which has stored the world."""
    answer = ehr.post("", {"resourceType": "Bundle", "type": "transaction", "entry": [put(tree) for tree in WORLD]})
    assert answer.status_code == 200, answer.data
    return ehr


@pytest.fixture
def world(ehr):
    """Two patients, their doctor, hospital, observations and a report."""
    return filled(ehr)


@pytest.fixture(scope="module")
def still_world(still_ehr):
    """The same, for all that only ask; and what refers to each other by canonical URLs."""
    for name, body in CANONICAL.items():
        kind, _, own = name.partition("/")
        assert still_ehr.put(f"/{name}", {"resourceType": kind, "id": own, **body}).status_code == 201
    return filled(still_ehr)


def ids(answer, mode="match"):
    assert answer.status_code == 200, answer.data
    return {entry["resource"]["id"] for entry in answer.json.get("entry", ()) if entry["search"]["mode"] == mode}


FOUND = {
    "Patient": {"eve", "adam"},
    "Patient?_id=eve": {"eve"},
    "Patient?_id=eve,adam,nobody": {"eve", "adam"},
    "Patient?_lastUpdated=ge2020": {"eve", "adam"},
    "Patient?_lastUpdated=lt2020": set(),
    "Patient?name=eve": {"eve"},
    "Patient?family=dupont": {"eve"},
    "Patient?name:exact=Martin": {"adam"},
    "Patient?name:contains=evre": {"eve"},
    "Patient?gender=male": {"adam"},
    "Patient?gender=male,female&active=true": {"eve", "adam"},
    "Patient?gender:not=male": {"eve"},
    "Patient?identifier=urn:ins|2": {"adam"},
    "Patient?identifier=urn:ins|": {"eve", "adam"},
    "Patient?birthdate=1975-06": set(),
    "Patient?birthdate=lt1976": {"adam"},
    "Patient?birthdate=1980": {"eve"},
    "Patient?general-practitioner:missing=true": {"adam"},
    "Observation?code=718-7": {"o1", "o2", "o4"},
    f"Observation?code={LOINC}|718-7&patient=eve": {"o1", "o2"},
    "Observation?code:text=text%2028": {"o3"},
    "Observation?subject=Patient/eve&date=ge2024-02&date=lt2024-03": {"o2"},
    "Observation?date=2024-02-10T09:00:00Z": {"o2"},
    "Observation?date=gt2030": {"bp"},
    "Observation?date=sa2024-01-15": {"o2", "o3", "o4"},
    "Observation?value-quantity=5.4": {"o1"},
    "Observation?value-quantity=gt5|http://unitsofmeasure.org|mg": {"o1", "o2", "o3", "o4"},
    "Observation?value-quantity=gt5||g": set(),
    "Observation?value-quantity=0.0054|http://unitsofmeasure.org|g": {"o1"},
    "Observation?code:in=http://a.fr/fhir/ValueSet/x&patient=eve": {"o1", "o2"},
    "Observation?code:in=ValueSet/set": {"o1", "o2", "o4"},
    "Observation?code:not-in=http://a.fr/fhir/ValueSet/x|2": {"o3", "bp"},
    f"RelatedPerson?relationship:below={ROLE}|PRN": {"mother"},
    f"RelatedPerson?relationship:above={ROLE}|PRN": set(),
    f"RelatedPerson?identifier:of-type={V2}|SS|123": {"mother"},
    "RelatedPerson?patient:text=eve": {"mother"},
    "RelatedPerson?_text=mere": {"mother"},
    "RelatedPerson?_text=pere": set(),
    "RelatedPerson?_content=lefevre%20mere": {"mother"},
    "Location?near=48.85|2.35|10|km": {"paris"},
    "Location?near=48.85|2.35|393|km": {"paris", "lyon"},
    "Location?near=0|0": set(),
    "Observation?_list=list": {"o1"},
    "Patient?_list=list,nothing": {"eve"},
    "Observation?_list=nothing": set(),
    "Observation?_filter=code%20eq%20718-7%20and%20(value-quantity%20gt%206%20or%20patient.name%20sw%20eve)": {
        "o1",
        "o2",
        "o4",
    },
    "Patient?_filter=not%20(gender%20eq%20male)": {"eve"},
    "Patient?_filter=family%20ew%20%22dupont%22": {"eve"},
    "Patient?_has:RelatedPerson:patient:_text=mere": {"eve"},
    "Observation?combo-value-quantity=80": {"bp"},
    "Observation?combo-code=8480-6,2823-3": {"bp", "o3"},
    "Observation?component-code-value-quantity=8480-6$gt100": {"bp"},
    "Observation?component-code-value-quantity=8462-4$gt100": set(),
    "Observation?combo-code-value-quantity=718-7$gt6,8480-6$140": {"o4", "bp"},
    "Observation?performer:Practitioner=doctor": {"o1"},
    "Observation?patient.name=lefevre": {"o1", "o2", "o3"},
    "Observation?subject:Patient.organization.name=hopital": {"o1", "o2", "o3"},
    "Observation?subject.name=adam": {"o4", "bp"},
    "Observation?patient.name=nobody": set(),
    "DiagnosticReport?result.code-value-quantity=2823-3$gt6.5": {"report"},
    "Patient?_has:Observation:patient:code=2823-3": {"eve"},
    "Patient?_has:Observation:patient:value-quantity=gt8": {"adam"},
    "Patient?_has:Observation:patient:_has:DiagnosticReport:result:status=final": {"eve"},
    "Practitioner?_has:Patient:general-practitioner:_has:Observation:patient:code=2823-3": {"doctor"},
    "RiskAssessment?probability=0.8": {"risk"},
    "RiskAssessment?probability=gt0.8": set(),
    "ValueSet?url=http://a.fr/fhir/ValueSet/x|2": {"set"},
    "ValueSet?url:below=http://a.fr/fhir": {"set"},
    "ValueSet?url:above=http://a.fr/fhir/ValueSet/x/y": {"set"},
}


def test_each_kind_of_parameter_finds_what_it_asks_for(still_world):
    """The nine types, modifiers, AND and OR, chains and reverse chains, on the same records."""
    for question, expected in FOUND.items():
        assert ids(still_world.get(f"/{question}")) == expected, question


def test_a_search_by_post_finds_the_same(still_world):
    """What is asked stands in the body, and in the URL as well."""
    for question in (
        "Patient?name=eve&gender=female",
        "Observation?code=718-7&date=ge2024-02",
        "Patient?_has:Observation:patient:code=2823-3",
    ):
        resource_type, _, form = question.partition("?")
        posted = still_world.post(
            f"/{resource_type}/_search", form.encode(), headers={"Content-Type": "application/x-www-form-urlencoded"}
        )
        assert ids(posted) == ids(still_world.get(f"/{question}")), question
    both = still_world.post(
        "/Observation/_search?code=718-7", b"patient=eve", headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert ids(both) == {"o1", "o2"}


def test_bodies_come_back_as_they_were_stored(still_world):
    """Digit for digit, with a full URL each."""
    answer = still_world.get("/RiskAssessment")
    assert b'"probabilityDecimal":0.8' in answer.data
    entry = answer.json["entry"][0]
    assert entry["fullUrl"] == "http://127.0.0.1:8000/fhir/RiskAssessment/risk"
    assert entry["resource"] == still_world.get("/RiskAssessment/risk").json


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


def test_a_deleted_resource_is_found_by_nothing(world):
    """Nor is it included, nor counted."""
    assert world.delete("/Observation/o3").status_code == 204
    assert ids(world.get("/Observation?code=2823-3")) == set()
    assert world.get("/Observation?_summary=count").json["total"] == 4
    assert ids(world.get("/DiagnosticReport?_include=DiagnosticReport:result"), "include") == {"o1"}


def test_a_changed_resource_is_found_by_what_it_is_now(world):
    """The index is part of the same commit."""
    eve = {**WORLD[2], "name": [{"family": "Durand"}]}
    assert world.put("/Patient/eve", eve).status_code == 200
    assert ids(world.get("/Patient?name=lefevre")) == set()
    assert ids(world.get("/Patient?name=durand")) == {"eve"}


def test_what_says_nothing_is_told_and_not_part_of_the_search(still_world):
    """Empty values: the self link has what was used, an outcome the rest; on a type and on all."""
    for url in ("/Patient?_sort=&_count=&name=&gender=male", "/?_type=&_type=Patient&_sort=,&_id=x"):
        bundle = still_world.get(url).json
        used = bundle["link"][0]["url"].partition("?")[2]
        assert used in ("gender=male", "_type=Patient&_id=x")
        assert "has no value" in str(
            [each["resource"] for each in bundle["entry"] if each["search"]["mode"] == "outcome"]
        )


@pytest.mark.parametrize(
    ("question", "expression"),
    [
        ("Observation?value-quantity=x||mg", "Observation.value-quantity"),
        ("Observation?component-code-value-quantity=8480-6$x||mg", "Observation.component-code-value-quantity"),
        ("Observation?component-code-value-quantity=8480-6$5|mg", "Observation.component-code-value-quantity"),
        ("Observation?combo-code-value-quantity=8480-6$x", "Observation.combo-code-value-quantity"),
    ],
)
def test_a_fault_names_the_parameter_and_not_where_it_is_kept(still_world, question, expression):
    """Neither the unit's place in the index nor the first part of a composite."""
    (issue,) = still_world.get(f"/{question}").json["issue"]
    assert issue["expression"] == [expression]
    assert "=" not in issue["diagnostics"] + issue.get("details", {}).get("text", "")


def test_what_is_not_known_is_told_or_refused(still_world):
    """Lenient tells it in an outcome entry and leaves it out of the self link; strict answers 400."""
    lenient = still_world.get("/Patient?nickname=x&gender=male")
    told = [entry["resource"] for entry in lenient.json["entry"] if entry["search"]["mode"] == "outcome"]
    assert ids(lenient) == {"adam"}
    assert "nickname" in told[0]["issue"][0]["diagnostics"]
    assert link(lenient, "self") == "http://127.0.0.1:8000/fhir/Patient?gender=male"
    strict = still_world.get("/Patient?nickname=x&gender=male", headers={"Prefer": "handling=strict"})
    assert strict.status_code == 400
    assert strict.json["issue"][0]["code"] == "not-supported"


@pytest.mark.parametrize(
    "question",
    ["Patient?birthdate=yesterday", "Patient?_count=-1", "Patient?name:below=x", "Patient?_sort=name&_total=x", "Observation?value-quantity=a", "Patient?_has:x=y",
     "Patient?_include=Patient", "Observation?code=a%5Cb", "Patient?_page=nonsense", "Observation?subject:Nothing=1", "Patient?name=...", "Patient?_filter=gender", "Observation?code:in=http://nowhere/x", "Location?near=a", "Patient?_text=(", "Observation?_sort=combo-code",
     "Patient?gender:=male", "Observation?_include=Observation:subject:Nothing", "Observation?_include=Observation:subject:Medication"],
)  # fmt: skip
def test_bad_questions_are_refused_in_words(still_world, question):
    """400 and an OperationOutcome that says what is wrong."""
    answer = still_world.get(f"/{question}")
    assert answer.status_code == 400
    assert answer.json["issue"][0]["diagnostics"]


HOSTILE = {
    "name:contains=(a%2B)%2B%24": 200,
    "name=.*": 400,
    "name:contains=" + "(" * 200: 400,
    "name=" + "a%5Cb": 400,
    "name:exact=%00%EF%BF%BF": 200,
    "_profile:below=%ED%9F%BF": 200,
    "_profile:below=%F4%8F%BF%BF": 200,
    "name=" + "a" * 90_000: 200,
    "name=" + "a" * 1_500_000: 413,
    "_id=" + ",".join(["x"] * 3000): 400,
    "birthdate=" + "9" * 5000: 400,
    "birthdate=ge0000-01-01": 400,
    "birthdate=9999-12-31": 200,
    "_count=0000000000000000000000000000001": 200,
    "_count=99999999999999999999999999": 200,
    "_count=1e3": 400,
    "_count=%D9%A3": 400,
    "_sort=family,-family": 400,
    "_sort=_id&_sort=-_id": 400,
    "_sort=" + ",".join(["-birthdate"] * 50): 400,
    "_sort=-": 200,
    "_filter=" + "(" * 3000: 400,
    "_filter=family%20co%20%22(a%2B)%2B%22": 200,
    "_text=" + "a%20" * 21: 400,
    "_has:" * 30 + "x=1": 400,
    "link." * 30 + "name=x": 400,
    "general-practitioner:Practitioner.name=x": 200,
    "_include=" + "*:" * 1000: 400,
    "_include:all=Observation:subject": 400,
    "_total=precise": 400,
    "%00=1": 200,
    "name:" + "x" * 5000 + "=1": 400,
}  # fmt: skip


def test_hostile_questions_are_answered_or_refused_and_break_nothing(still_world):
    """Patterns, nesting, megabytes, sorts that contradict each other, counts beyond all rows: 200 or a refusal, never a fault."""
    for question, status in HOSTILE.items():
        answer = still_world.post(
            "/Patient/_search", question.encode(), headers={"Content-Type": "application/x-www-form-urlencoded"}
        )
        assert answer.status_code == status, (question[:60], answer.data[:300])
    for question in ("probability=" + "9" * 190, "probability=0." + "1" * 190, "probability=1e-6000"):
        assert still_world.get(f"/RiskAssessment?{question}").status_code == 200, question[:40]
    for question in ("probability=1e99999", "probability=" + "9" * 900, "probability=NaN"):
        assert still_world.get(f"/RiskAssessment?{question}").status_code == 400, question[:40]


@pytest.mark.parametrize("sort", ["_sort=-value-quantity", "_sort=date,-_id", "_sort=code", "_sort=-_lastUpdated"])
def test_no_sort_shows_a_row_twice_while_others_create_and_delete(world, sort):
    """Rows whose value stays are shown once, whatever comes and goes around them."""
    for number in range(10, 40):
        assert (
            world.put(
                f"/Observation/o{number}", observation(number, "adam", "page", number % 5, "2024-01-01")
            ).status_code
            == 201
        )
    seen, url, turn = [], f"/Observation?code=page&_count=4&{sort}", 100
    while url:
        answer = world.get(url)
        seen += [entry["resource"]["id"] for entry in answer.json.get("entry", ())]
        url = link(answer, "next")
        turn += 1
        world.put(f"/Observation/o{turn}", observation(turn, "adam", "page", turn % 5, "2024-01-01"))
        world.delete(f"/Observation/o{turn - 95}")
    assert len(seen) == len(set(seen))
    assert {f"o{number}" for number in range(20, 40)} <= set(seen)
    assert not any(int(each[1:]) > 100 for each in seen)


def test_totals_are_given_where_they_cost_nothing_or_are_asked_for(still_world):
    """A first page that is the last knows it; another page counts only if asked."""
    assert still_world.get("/Observation").json["total"] == 5
    assert "total" not in still_world.get("/Observation?_count=2").json
    assert still_world.get("/Observation?_count=2&_total=accurate").json["total"] == 5
    for question in ("_summary=count", "_count=0"):
        counted = still_world.get(f"/Observation?code=718-7&{question}").json
        assert counted["total"] == 3
        assert "entry" not in counted


def link(answer, relation):
    return next((each["url"] for each in answer.json["link"] if each["relation"] == relation), None)


def pages(caller, url):
    """Follow the next links; return the ids of each page."""
    found = []
    while url:
        answer = caller.get(url)
        assert answer.status_code == 200, answer.data
        found.append(
            [entry["resource"]["id"] for entry in answer.json.get("entry", ()) if entry["search"]["mode"] == "match"]
        )
        url = link(answer, "next")
    return found


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("", ["o1", "o2", "o3", "o4", "bp"]),
        ("_sort=date", ["bp", "o1", "o4", "o2", "o3"]),
        ("_sort=-date", ["o3", "o2", "o4", "o1", "bp"]),
        ("_sort=-value-quantity", ["o4", "o3", "o2", "o1", "bp"]),
        ("_sort=value-quantity", ["o1", "o2", "o3", "o4", "bp"]),
        ("_sort=patient,-date", ["o4", "bp", "o3", "o2", "o1"]),
        ("_sort=code,-value-quantity", ["o3", "o4", "o2", "o1", "bp"]),
        ("_sort=-_id", ["o4", "o3", "o2", "o1", "bp"]),
    ],
)
def test_pages_follow_the_order_that_was_asked(still_world, sort, expected):
    """By keys, two at a time, each row once; what has no value comes last."""
    found = pages(still_world, f"/Observation?_count=2&{sort}")
    assert [each for page in found for each in page] == expected
    assert [len(page) for page in found] == [2, 2, 1]


def test_pages_keep_their_rows_while_others_write(world):
    """No repeat and no gap among what was there; what is created later is not seen, what is deleted is left out."""
    for number in range(10, 40):
        assert (
            world.put(f"/Observation/o{number}", observation(number, "adam", "page", number, "2024-01-01")).status_code
            == 201
        )
    first = world.get("/Observation?code=page&_count=7")
    stop = threading.Event()

    def write():
        number = 100
        while not stop.is_set():
            number += 1
            world.fresh().put(f"/Observation/o{number}", observation(number, "adam", "page", 1, "2024-01-01"))
            world.fresh().put("/Observation/o12", observation(12, "adam", "page", number, "2024-01-01"))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert world.delete("/Observation/o30").status_code == 204
        rest = pages(world, link(first, "next"))
    finally:
        stop.set()
        writer.join()
    seen = [entry["resource"]["id"] for entry in first.json["entry"]] + [each for page in rest for each in page]
    assert seen == [f"o{number}" for number in range(10, 40) if number != 30]


def test_listing_holds_no_more_than_a_page(ehr):
    """However many pages were read: nothing of those before is kept."""
    entry = {
        "request": {"method": "POST", "url": "Basic"},
        "resource": {"resourceType": "Basic", "code": {"text": "x" * 2000}},
    }
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry] * 400}
    assert ehr.post("", bundle).status_code == 200
    held, url = [], "/Basic?_count=10"
    gc.collect()
    gc.freeze()  # what was there before need not be gone through for each page
    tracemalloc.start()
    while url:
        answer = ehr.get(url)
        url = next((each["url"] for each in answer.json["link"] if each["relation"] == "next"), None)
        gc.collect()  # what is garbage is not kept
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    gc.unfreeze()

    assert len(held) == 40
    assert held[-1] - held[5] < 200_000


def test_a_page_belongs_to_who_asked_for_it_and_to_its_search(world, app):
    """Another client, another type, one changed character: 400 each time."""
    following = link(world.get("/Observation?_count=2"), "next")
    token = parse_qs(urlsplit(following).query)["_page"][0]
    other = register(app, "ehr-two")

    assert world.get(following).status_code == 200
    assert other.get(following).status_code == 400
    assert world.get(f"/Patient?_page={token}").status_code == 400
    changed = ("A" if token[9] != "A" else "B").join((token[:9], token[10:]))
    assert world.get(f"/Observation?_page={changed}").status_code == 400
    assert "code" not in token


def test_a_page_is_judged_anew(world, app):
    """Whoever has lost the right to search since gets nothing of the next page."""
    reader = register(app, "ehr-narrow", scopes=("system/Observation.rs",))
    following = link(reader.get("/Observation?_count=2"), "next")
    app.extensions["fhir_dmp"].clients.remove(
        "ehr-narrow", app.extensions["fhir_dmp"].operator_context("tester", "test")
    )
    assert reader.get(following).status_code == 401


def test_a_page_expires(mongodb_uri, database_name, tmp_path):
    """After its hour (here: at once) the search has to be repeated."""
    app = make_app(mongodb_uri, database_name, tmp_path, page_token_seconds=-1)
    caller = register(app, "ehr-one")
    for number in range(3):
        caller.post("/Organization", {"resourceType": "Organization", "name": f"n{number}"})
    answer = caller.get(link(caller.get("/Organization?_count=1"), "next"))
    app.extensions["fhir_dmp"].close()
    assert answer.status_code == 400
    assert "too old" in answer.json["issue"][0]["diagnostics"]


def test_pages_survive_a_restart(world, app, mongodb_uri, database_name, tmp_path):
    """Another process with the same secret opens them."""
    following = link(world.get("/Observation?_count=3"), "next")
    again = make_app(mongodb_uri, database_name, tmp_path)
    caller = world.fresh()
    caller.app, caller._http = again, again.test_client()
    assert ids(caller.get(following)) == {"o4", "bp"}
    again.extensions["fhir_dmp"].close()


def test_a_chain_through_too_many_is_refused(mongodb_uri, database_name, tmp_path):
    """422 with the cap, not an answer that lacks some."""
    app = make_app(mongodb_uri, database_name, tmp_path, chain=2, included=2)
    caller = register(app, "ehr-one")
    for number in range(4):
        caller.put(f"/Patient/p{number}", {"resourceType": "Patient", "id": f"p{number}", "active": True})
        caller.put(f"/Observation/o{number}", observation(number, "p0", "a", 1, "2024"))
    chained, reverse, wide = (
        caller.get(f"/{question}")
        for question in (
            "Observation?patient.active=true",
            "Observation?_id=o1&_has:Provenance:target:recorded=gt2000",
            "Patient?_revinclude=Observation:patient",
        )
    )
    app.extensions["fhir_dmp"].close()
    assert (chained.status_code, reverse.status_code, wide.status_code) == (422, 200, 422)
    assert chained.json["issue"][0]["code"] == "too-costly"


def test_the_event_of_a_search_names_each_patient_of_its_rows(world, auditor):
    """Matches and includes, each patient of theirs, and the query as it was sent."""
    world.get("/Observation?_id=o1&_include=Observation:subject&nickname=x")
    events = [
        entry["resource"] for entry in auditor.get("/AuditEvent?date=ge2000&subtype=search-type&_count=5").json["entry"]
    ]
    sent = [
        base64.b64decode(entity["query"]).decode()
        for event in events
        for entity in event["entity"]
        if "query" in entity
    ]
    named = [
        entity["what"]["reference"]
        for event in events
        for entity in event["entity"]
        if "reference" in entity.get("what", {})
    ]
    assert any("_include=Observation:subject" in query for query in sent)
    assert "Patient/eve" in named


EXPLAINED = [
    "code=718-7", "code=http://loinc.org|", "code:text=te", "patient=Patient/eve&date=ge2024", "date=2024-01", "value-quantity=gt5", "combo-code-value-quantity=8480-6$gt1",
    "_id=o1", "_lastUpdated=gt2020", "code:missing=true", "code:not=a", "value-string=a", "value-string:contains=a", "_profile=http://a", "_profile:below=http://a", "",
]  # fmt: skip


@pytest.mark.parametrize("question", EXPLAINED)
def test_no_question_scans_the_whole_collection(still_world, question):
    """Every plan begins with an index."""
    query: Query = query_of("Observation", question)
    current = still_world.app.extensions["fhir_dmp"].store.database["current"]
    plan = current.find(compile_query(query)).sort("co", 1).explain()["queryPlanner"]["winningPlan"]
    assert "COLLSCAN" not in str(plan)
    assert "IXSCAN" in str(plan)

"""Search of one type at the endpoint, on a real database. https://hl7.org/fhir/R4/http.html#search."""

from __future__ import annotations

import base64

import pytest

from fhir_dmp.store.query import Query
from fhir_dmp.stores.mongo.compile import compile_query
from tests.http.conftest import make_app, register
from tests.search_world import LOINC, ROLE, V2, WORLD, ids, link, observation
from tests.unit.search.world import query_of

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

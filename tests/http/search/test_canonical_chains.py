"""Chains and ``_has`` by canonical references: by URL, and by version where one is named. https://hl7.org/fhir/R4/references.html#canonical."""

from __future__ import annotations

import pytest

from fhir_dmp.search import canonical
from fhir_dmp.stores.mongo.store import MongoStore
from tests.search_world import ids

FORMS = {
    "a": {"url": "http://a.fr/q", "version": "1", "name": "Alpha"},
    "b": {"url": "http://a.fr/q", "version": "2", "name": "Beta"},
    "c": {"url": "http://a.fr/r", "name": "Gamma"},
    "d": {"url": "urn:oid:1.2.3", "version": "1.0-Draft", "name": "Delta"},
    "e": {"version": "1", "name": "Epsilon"},
}
ANSWERS = {
    "to-a": "http://a.fr/q|1",
    "to-b": "http://a.fr/q|2",
    "to-any": "http://a.fr/q",
    "to-none": "http://a.fr/q|10",
    "to-c": "http://a.fr/r",
    "to-no-c": "http://a.fr/r|9",
    "to-d": "urn:oid:1.2.3|1.0-Draft",
    "to-no-d": "urn:oid:1.2.3|1.0",
    "to-e": "Questionnaire/e",
    "to-absent": "http://a.fr/absent",
}


@pytest.fixture
def forms(ehr):
    """Return the EHR, with Questionnaires and responses to them; responses have their ids as identifiers."""
    return filled(ehr)


@pytest.fixture(scope="module")
def still_forms(still_ehr):
    """The same, for all that only ask."""
    return filled(still_ehr)


def filled(ehr):
    """Store them; return the EHR."""
    for name, body in FORMS.items():
        made = {"resourceType": "Questionnaire", "id": name, "status": "active", **body}
        assert ehr.put(f"/Questionnaire/{name}", made).status_code == 201
    for name, url in ANSWERS.items():
        made = {"resourceType": "QuestionnaireResponse", "id": name, "status": "completed", "questionnaire": url}
        made["identifier"] = {"value": name}
        assert ehr.put(f"/QuestionnaireResponse/{name}", made).status_code == 201
    return ehr


@pytest.mark.parametrize(
    ("criteria", "found"),
    [
        ("questionnaire.name=alpha", {"to-a", "to-any"}),
        ("questionnaire:Questionnaire.name=beta", {"to-b", "to-any"}),
        ("questionnaire.name=gamma", {"to-c"}),
        ("questionnaire.name=delta", {"to-d"}),
        ("questionnaire.name=epsilon", {"to-e"}),
        ("questionnaire.version=1", {"to-a", "to-any", "to-e"}),
        ("questionnaire.status=active", {"to-a", "to-b", "to-any", "to-c", "to-d", "to-e"}),
        ("questionnaire.status=draft", set()),
        ("questionnaire.name=alpha&identifier=to-a", {"to-a"}),
        ("_filter=questionnaire.name eq gamma", {"to-c"}),
        ("questionnaire._has:QuestionnaireResponse:questionnaire:identifier=to-b", {"to-b", "to-any"}),
    ],
)
def test_a_chain_follows_a_canonical(still_forms, criteria, found):
    """To what has its URL, and its version if it names one; by any criteria."""
    answer = still_forms.get(f"/QuestionnaireResponse?{criteria}")

    assert answer.status_code == 200, answer.data
    assert ids(answer) == found


@pytest.mark.parametrize(
    ("identifier", "found"),
    [
        ("to-a", {"a"}),
        ("to-any", {"a", "b"}),
        ("to-none", set()),
        ("to-c", {"c"}),
        ("to-no-c", set()),
        ("to-d", {"d"}),
        ("to-no-d", set()),
        ("to-e", {"e"}),
        ("to-absent", set()),
        ("to-a,to-any", {"a", "b"}),
        ("to-a,to-d,to-none", {"a", "d"}),
    ],
)
def test_has_follows_a_canonical_back(still_forms, identifier, found):
    """To what the responses refer to, as an include does."""
    criteria = f"_has:QuestionnaireResponse:questionnaire:identifier={identifier}"
    include = f"identifier={identifier}&_include=QuestionnaireResponse:questionnaire"

    assert ids(still_forms.get(f"/Questionnaire?{criteria}")) == found
    assert ids(still_forms.get(f"/QuestionnaireResponse?{include}"), "include") == found


def test_a_hop_by_a_canonical_shows_what_the_caller_sees_alone(forms, with_scopes):
    """Without the right to search the other type it is as if there were none."""
    responses, questions = with_scopes("system/QuestionnaireResponse.rs"), with_scopes("system/Questionnaire.rs")
    by_response = "/Questionnaire?_has:QuestionnaireResponse:questionnaire:status=completed"

    assert ids(responses.get("/QuestionnaireResponse?questionnaire.name=alpha")) == set()
    assert ids(questions.get(by_response)) == set()
    both = with_scopes("system/Questionnaire.s", "system/QuestionnaireResponse.rs")
    assert ids(both.get("/QuestionnaireResponse?questionnaire.name=alpha")) == {"to-a", "to-any"}


def test_a_hop_by_too_many_canonicals_is_refused(forms, monkeypatch):
    """In the query each is asked for by itself: 422, which says to narrow it."""
    monkeypatch.setattr(canonical, "MOST", 2)
    for url in (
        "/QuestionnaireResponse?questionnaire.status=active",
        "/Questionnaire?_has:QuestionnaireResponse:questionnaire:status=completed",
    ):
        answer = forms.get(url)
        assert answer.status_code == 422
        assert answer.json["issue"][0]["code"] == "too-costly"
    assert ids(forms.get("/QuestionnaireResponse?questionnaire.name=gamma")) == {"to-c"}


def test_a_url_counts_once_in_whatever_versions(forms, monkeypatch):
    """Of 200 URLs that a hop may pass through, one is not used up by each version of it, in either direction."""
    monkeypatch.setattr(canonical, "MOST", 2)
    back = "/Questionnaire?_has:QuestionnaireResponse:questionnaire:identifier="

    assert ids(forms.get(f"{back}to-a,to-b,to-none,to-d,to-no-d")) == {"a", "b", "d"}
    assert forms.get(f"{back}to-a,to-d,to-c").status_code == 422
    assert ids(forms.get("/QuestionnaireResponse?questionnaire.name=alpha,beta,delta")) == {
        "to-a",
        "to-b",
        "to-any",
        "to-d",
    }


def test_a_hop_asks_one_question_however_many_urls_it_meets(forms, monkeypatch):
    """One for the URLs and versions of what is meant, and one for how references write versions with letters."""
    for number in range(20):
        body = {"resourceType": "Questionnaire", "status": "draft", "version": f"{number}-A", "name": "Many"}
        assert forms.post("/Questionnaire", {**body, "url": f"http://a.fr/many/{number}"}).status_code == 201
        answer = {"resourceType": "QuestionnaireResponse", "status": "completed", "identifier": {"value": "many"}}
        answer["questionnaire"] = f"http://a.fr/many/{number}|{number}-A"
        assert forms.post("/QuestionnaireResponse", answer).status_code == 201
    asked = []
    tokens = MongoStore.tokens

    def counted(store, *question):
        asked.append(question)
        return tokens(store, *question)

    monkeypatch.setattr(MongoStore, "tokens", counted)

    assert len(ids(forms.get("/QuestionnaireResponse?questionnaire.name=many"))) == 20
    assert len(asked) == 2
    asked.clear()
    assert len(ids(forms.get("/Questionnaire?_has:QuestionnaireResponse:questionnaire:identifier=many"))) == 20
    assert len(asked) == 1

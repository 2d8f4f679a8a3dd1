"""Every act leaves exactly one event, before its answer."""

from __future__ import annotations

import pytest

from fhir_dmp.errors import Unavailable
from fhir_dmp.http.oauth.sign_in import SignInPages
from tests.http.test_interactions import PATIENT


def subtypes(auditor, **params):
    """Return what the log says, newest first, as (interaction, outcome)."""
    found = auditor.get("/AuditEvent", query_string={"_count": "200", "date": "ge2000", **params}).json
    events = [entry["resource"] for entry in found.get("entry", ())]
    return [(event["subtype"][0]["code"], event["outcome"]) for event in events]


def test_each_act_leaves_exactly_one_event(ehr, auditor):
    """Create, read, search, refusal and absence: one row each, with its outcome."""
    made = ehr.post("/Patient", PATIENT).json
    ehr.get(f"/Patient/{made['id']}")
    ehr.get("/Patient?family=Durand")
    ehr.get("/Patient/nobody")
    ehr.post("/Patient", {"resourceType": "Patient", "bogus": 1})

    acts = [act for act in subtypes(auditor) if act[0] not in ("operator-token", "client-add")]

    assert acts == [("create", "4"), ("read", "4"), ("search-type", "0"), ("read", "0"), ("create", "0")]


def test_reading_the_log_is_itself_logged(auditor):
    """The auditor's search stands in the next search."""
    auditor.get("/AuditEvent?date=ge2000")

    assert ("search-type", "0") in subtypes(auditor)


def test_an_event_names_patient_resource_and_client(ehr, auditor):
    """Found by patient and by entity; the agent is the client of the token."""
    made = ehr.post("/Patient", PATIENT).json
    ehr.get(f"/Patient/{made['id']}")

    by_patient = auditor.get(f"/AuditEvent?date=ge2000&patient=Patient/{made['id']}").json
    by_entity = auditor.get(f"/AuditEvent?date=ge2000&entity=Patient/{made['id']}&action=R").json

    assert by_patient["total"] == 2
    event = by_entity["entry"][0]["resource"]
    assert event["action"] == "R"
    assert event["agent"][0]["who"]["identifier"]["value"] == ehr.client_id
    whats = [entity.get("what", {}).get("reference") for entity in event["entity"]]
    assert f"Patient/{made['id']}" in whats


def test_a_refused_stranger_leaves_an_event(anonymous, auditor):
    """A request without a token is an act too."""
    anonymous.get("/fhir/Patient")

    assert ("get", "8") in subtypes(auditor)


def test_an_audit_event_cannot_be_changed_or_deleted(ehr, auditor):
    """No interaction updates or deletes one; a client may add its own, marked as its own."""
    sent = {
        "resourceType": "AuditEvent",
        "type": {"system": "http://terminology.hl7.org/CodeSystem/audit-event-type", "code": "rest"},
        "recorded": "2024-01-01T00:00:00Z",
        "agent": [{"requestor": True, "who": {"display": "me"}}],
        "source": {"observer": {"display": "my system"}},
    }
    made = ehr.post("/AuditEvent", sent)
    assert made.status_code == 201
    url = f"/AuditEvent/{made.json['id']}"

    assert ehr.put(url, {**sent, "id": made.json["id"]}).status_code == 405
    assert ehr.delete(url).status_code == 405
    assert auditor.get(url).json["meta"]["source"].endswith(ehr.client_id)


def test_an_auditor_reads_the_log_and_nothing_else(auditor, ehr):
    """Whatever the scopes say, the role reaches no clinical content."""
    made = ehr.post("/Patient", PATIENT).json

    assert auditor.get(f"/Patient/{made['id']}").status_code == 403
    assert auditor.get("/Patient").status_code == 403
    assert auditor.get("/AuditEvent?date=ge2000").status_code == 200


def test_without_a_durable_event_nothing_is_disclosed(ehr, app, monkeypatch):
    """If the log takes no row, a read answers 503 and no body of the record."""
    made = ehr.post("/Patient", PATIENT).json

    def fail(event):
        raise Unavailable("The log cannot be written.")

    monkeypatch.setattr(app.extensions["fhir_dmp"].store.__class__, "record", lambda self, event: fail(event))
    answer = ehr.get(f"/Patient/{made['id']}")

    assert answer.status_code == 503
    assert answer.json["resourceType"] == "OperationOutcome"
    assert b"Durand" not in answer.data


@pytest.mark.parametrize("count", [1, 3])
def test_pages_of_the_log_follow_each_other_without_loss(ehr, auditor, count):
    """Newest first, each once."""
    for _ in range(5):
        ehr.post("/Patient", PATIENT)
    seen, page = [], auditor.get(f"/AuditEvent?date=ge2000&subtype=create&_count={count}").json
    while True:
        seen += [entry["resource"]["id"] for entry in page.get("entry", ())]
        assert "link" in page, page
        links = {link["relation"]: link["url"] for link in page["link"]}
        if "next" not in links:
            break
        page = auditor.get(links["next"].partition("/fhir")[2]).json

    assert len(seen) == len(set(seen)) == 5


@pytest.mark.parametrize("name", ["date", "_lastUpdated"])
def test_the_log_is_read_from_either_end_page_by_page(ehr, auditor, name):
    """Oldest first is newest first turned round, on every page; the link to the next one goes on in the order that was asked."""
    for _ in range(5):
        ehr.post("/Patient", PATIENT)

    def pages(sort):
        url, found = f"/AuditEvent?date=ge2000&subtype=create&_count=2&_sort={sort}", []
        while url:
            page = auditor.get(url).json
            found.append([entry["resource"]["id"] for entry in page["entry"]])
            url = next((link["url"] for link in page["link"] if link["relation"] == "next"), None)
        return found

    newest, oldest = pages(f"-{name}"), pages(name)
    assert [len(page) for page in oldest] == [2, 2, 1]
    assert [each for page in oldest for each in page] == [each for page in newest for each in page][::-1]
    assert auditor.get("/AuditEvent?date=ge2000&_sort=agent").status_code == 400


def test_what_the_log_is_asked_for_may_have_its_type_in_the_name_of_the_parameter(ehr, auditor):
    """``patient:Patient=p`` is ``patient=Patient/p`` (https://hl7.org/fhir/R4/search.html#reference); what is of no such type is refused."""
    made = ehr.post("/Patient", PATIENT).json["id"]

    for asked in (f"patient:Patient={made}", f"entity:Patient=nobody,{made}"):
        assert auditor.get(f"/AuditEvent?date=ge2000&subtype=create&{asked}").json["total"] == 1
    assert auditor.get(f"/AuditEvent?date=ge2000&patient:Group={made}").status_code == 400


def test_what_no_page_takes_leaves_the_event_of_its_refusal(anonymous, auditor):
    """A form that this browser was not given, a method that no endpoint of OAuth has: nothing was tried, and the log tells who sent it."""
    for path in ("/oauth/sign-in", "/oauth/sign-out", "/oauth/authorize/decision", "/oauth/apps"):
        assert anonymous.post(path, data={"login": "zoe"}).status_code == 400
    assert anonymous.open("/oauth/token", method="OPTIONS").status_code == 405
    forms = [each["resource"] for each in auditor.get("/AuditEvent?date=ge2000&subtype=post").json["entry"]]
    refused = auditor.get("/AuditEvent?date=ge2000&subtype=ITI-71&outcome=8").json["entry"]

    assert [event["outcome"] for event in forms] == ["4"] * 4
    assert {event["agent"][0]["who"]["identifier"]["value"] for event in forms} == {"anonymous"}
    assert len(refused) == 1


@pytest.mark.parametrize("path", ["/oauth/sign-in", "/oauth/apps"])
def test_a_fault_of_a_page_has_its_event_under_the_number_that_people_are_told(anonymous, auditor, monkeypatch, path):
    """By which its operator finds it in both logs; what it was stands in neither answer nor event."""

    def fail(*_, **__):
        raise RuntimeError("Durand")

    with monkeypatch.context() as broken:
        broken.setattr(SignInPages, "_form" if path == "/oauth/sign-in" else "signed_in", fail)
        answer = anonymous.get(path)
    [event] = [each["resource"] for each in auditor.get("/AuditEvent?date=ge2000&subtype=get").json["entry"]]

    assert answer.status_code == 500
    assert event["outcome"] == "8"
    assert event["entity"][-1]["what"]["identifier"]["value"] in answer.text
    assert "Durand" not in f"{answer.text}{event}"

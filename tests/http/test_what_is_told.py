"""What an event tells of a request as it came over the network: from where, by which id, what was asked, in which words."""

from __future__ import annotations

import base64
import json

import pytest

from fhir_dmp.app.server import create_server
from fhir_dmp.app.web import create_app
from tests.balp import claimed
from tests.balp_facts import FACTS
from tests.conftest import server_settings
from tests.http.conftest import register
from tests.http.test_interactions import PATIENT


def newest(auditor, **params):
    """Return the newest event of those that are asked for."""
    found = auditor.get("/AuditEvent", query_string={"date": "ge2000", "_count": "1", **params})
    return found.json["entry"][0]["resource"]


def client(event):
    """Return the agent of the system that asked."""
    return event["agent"][0]


@pytest.fixture
def behind_proxy(mongodb_uri, database_name, tmp_path):
    """The application behind one proxy that is trusted."""
    settings = server_settings(mongodb_uri, database_name, tmp_path, trusted_proxies=1)
    made = create_app(settings, create_server(settings))
    yield made
    made.extensions["fhir_dmp"].close()


def test_the_network_address_is_the_peers(ehr, auditor):
    """What a client claims in a header is not believed where no proxy is trusted."""
    ehr.get("/Patient?family=x", headers={"X-Forwarded-For": "203.0.113.9"})

    assert client(newest(auditor, subtype="search-type", agent="ehr-one"))["network"] == {
        "address": "127.0.0.1",
        "type": "2",
    }


def test_behind_a_trusted_proxy_the_address_is_the_one_that_it_names(behind_proxy):
    """The last hop before the proxy; what stands before that is the client's own claim."""
    ehr = register(behind_proxy, "ehr-one")
    auditor = register(behind_proxy, "auditor-one", role="auditor", scopes=("system/AuditEvent.rs",))
    ehr.get("/Patient?family=x", headers={"X-Forwarded-For": "10.9.9.9, 203.0.113.9"})
    event = newest(auditor, subtype="search-type", agent="ehr-one")

    assert client(event)["network"]["address"] == "203.0.113.9"
    assert newest(auditor, address="203.0.113.9")["id"] == event["id"]


def test_the_id_of_the_request_is_an_entity(ehr, auditor):
    """So that the log of a client, or of a proxy, and ours can be laid side by side."""
    ehr.get("/Patient?family=x", headers={"X-Request-Id": "their-id-1"})
    ids = [
        entity["what"]["identifier"]["value"]
        for entity in newest(auditor, agent="ehr-one")["entity"]
        if entity["type"]["code"] == "XrequestId"
    ]

    assert ids == ["their-id-1"]


@pytest.mark.parametrize(
    ("ask", "shown"),
    [
        (lambda ehr: ehr.get("/Patient?family=Durand&_count=2"), "GET /fhir/Patient?family=…&_count=2"),
        (
            lambda ehr: ehr.post(
                "/Patient/_search",
                b"family=Durand&_count=2",
                headers={"Content-Type": "application/x-www-form-urlencoded"},
            ),
            "POST /fhir/Patient/_search\nfamily=…&_count=2",
        ),
        (
            lambda ehr: ehr.post(
                "",
                {
                    "resourceType": "Bundle",
                    "type": "batch",
                    "entry": [{"request": {"method": "GET", "url": "Patient?family=Durand"}}],
                },
            ),
            "POST /fhir\nPatient?family=…",
        ),
    ],
)
def test_a_query_is_told_without_its_clinical_values_however_it_came(ehr, auditor, app, ask, shown):
    """Text and base64 alike; as it was sent it lies sealed beside the row."""
    ask(ehr)
    event = newest(auditor, subtype="search-type", agent="ehr-one")
    query = next(entity for entity in event["entity"] if "query" in entity)

    assert query["description"] == shown
    assert base64.b64decode(query["query"]).decode() == shown
    assert b"Durand" in app.extensions["fhir_dmp"].store.find_event(event["id"]).secret


def test_a_further_page_tells_what_it_goes_on_with(ehr, auditor):
    """The token in its URL says nothing to a reader; the search that it continues does."""
    for _ in range(2):
        ehr.post("/Patient", PATIENT)
    first = ehr.get("/Patient?family=Durand&_count=1").json
    ehr.get(next(link["url"] for link in first["link"] if link["relation"] == "next"))
    query = next(
        entity for entity in newest(auditor, subtype="search-type", agent="ehr-one")["entity"] if "query" in entity
    )

    assert query["description"] == "GET /fhir/Patient?_page=…\nfamily=…&_count=1"


def test_an_answer_in_words_is_in_the_language_that_is_asked_for(ehr, auditor):
    """French first; English for who prefers it."""
    made = ehr.post("/Patient", PATIENT).json
    ehr.get(f"/Patient/{made['id']}")
    own = newest(auditor, subtype="read", agent="ehr-one")["id"]
    told = {
        accepted: auditor.get(f"/AuditEvent/{own}", headers={"Accept-Language": accepted}).json
        for accepted in ("fr", "en-GB,en;q=0.9,fr;q=0.5", "de", "fr;q=0.2,en;q=0.8", "*")
    }

    assert [event["language"] for event in told.values()] == ["fr", "en", "fr", "en", "fr"]
    assert "a consulté : identité" in told["fr"]["text"]["div"]
    assert (
        "the system ehr-one (tester) (organization 1) read: identity, for care"
        in told["en-GB,en;q=0.9,fr;q=0.5"]["text"]["div"]
    )


def test_tokens_and_their_refusals_are_told_by_the_profile_of_the_transaction(app, anonymous, auditor):
    """A failure follows the pattern with its outcome; nothing that proves a client stands in the log."""
    anonymous.post(
        "/oauth/token",
        data={
            "grant_type": "client_credentials",
            "client_id": "auditor-one",
            "client_assertion": "secret-proof",
            "client_assertion_type": "x",
        },
    )
    event = newest(auditor, subtype="ITI-71")
    stored = app.extensions["fhir_dmp"].store.find_event(event["id"])

    assert event["outcome"] == "8"
    assert [agent["type"]["coding"][0]["code"] for agent in event["agent"]] == ["110150", "AuthzOauthService"]
    assert claimed(event, FACTS) == []
    assert b"secret-proof" not in stored.body + (stored.secret or b"")
    assert "secret-proof" not in json.dumps(event)


def test_nobody_is_said_to_treat_who_does_not(ehr, auditor, anonymous):
    """A stranger has said nothing of why; who watches over the log does so for the system, and in no French mode of access."""
    ehr.get("/Patient/p")
    anonymous.get("/fhir/Patient/p")
    auditor.get("/AuditEvent?date=ge2000")
    refused = newest(auditor, outcome="8")
    watching = newest(auditor, agent="auditor-one", subtype="search-type")
    told = newest(auditor, agent="ehr-one", subtype="read")

    assert "purposeOfEvent" not in refused
    assert [coding["code"] for coding in watching["purposeOfEvent"][0]["coding"]] == ["HSYSADMIN"]
    assert [coding["code"] for coding in told["purposeOfEvent"][0]["coding"]] == ["TREAT", "normal"]
    assert newest(auditor, purpose="HSYSADMIN")["agent"][0]["who"] == watching["agent"][0]["who"]


@pytest.mark.parametrize(("kind", "job"), [("batch", "batch"), ("transaction", "transaction: 1 entries")])
def test_a_bundle_is_told_with_as_many_entries_as_its_event_knows(ehr, auditor, kind, job):
    """The entries of a batch each have an event of their own: it is not said to have none."""
    entry = {"resource": PATIENT, "request": {"method": "POST", "url": "Patient"}}
    ehr.post("", {"resourceType": "Bundle", "type": kind, "entry": [entry]})
    told = newest(auditor, subtype=kind)

    assert job in [each["what"].get("display") for each in told["entity"]]


@pytest.mark.parametrize("kind", ["alone", "batch", "transaction"])
def test_a_create_that_finds_its_resource_is_told_as_a_read(ehr, auditor, kind):
    """Nothing was made: who asked learned of the one that is there, and of which version; a twin in the same transaction is no create either."""
    person = {**PATIENT, "identifier": [{"system": "urn:x", "value": "7"}]}
    criteria = "identifier=urn:x|7"
    entry = {"request": {"method": "POST", "url": "Patient", "ifNoneExist": criteria}, "resource": person}
    for _ in range(2):
        if kind == "alone":
            answer = ehr.post("/Patient", person, headers={"If-None-Exist": criteria})
            location = answer.headers["Location"]
        else:
            answer = ehr.post("", {"resourceType": "Bundle", "type": kind, "entry": [entry, entry]})
            location = answer.json["entry"][1]["response"]["location"]
    made = location.partition("/fhir/")[2]
    ref = made.partition("/_history")[0]
    told = {
        code: [
            each["resource"]
            for each in auditor.get(f"/AuditEvent?date=ge2000&entity={ref}&subtype={code}").json.get("entry", ())
        ]
        for code in ("create", "read")
    }

    assert [len(events) for events in told.values()] == [1, 1 if kind == "alone" else 3]
    for event in told["read"]:
        assert event["action"] == "R"
        assert event["outcome"] == "0"
        assert event["meta"]["profile"][0].endswith("IHE.BasicAudit.PatientRead")
        assert claimed(event, FACTS) == []
        assert [each["what"]["reference"] for each in event["entity"][:2]] == [ref, made]


@pytest.mark.parametrize("kind", ["alone", "batch", "transaction"])
def test_a_deletion_that_deletes_nothing_is_told_as_no_deletion(ehr, auditor, kind):
    """The answer is 204 all the same: of what is deleted already, of what was never there, of criteria that match nothing."""
    person = ehr.post("/Patient", PATIENT).json["id"]
    made = ehr.post(
        "/Basic", {"resourceType": "Basic", "code": {"text": "x"}, "subject": {"reference": f"Patient/{person}"}}
    )
    ref = f"Basic/{made.json['id']}"
    assert ehr.delete(f"/{ref}").status_code == 204
    urls = [ref, "Basic/nobody", "Basic?_id=nobody"]
    if kind == "alone":
        answers = [ehr.delete(f"/{url}").status_code for url in urls]
    else:
        entries = [{"request": {"method": "DELETE", "url": url}} for url in urls]
        told = ehr.post("", {"resourceType": "Bundle", "type": kind, "entry": entries}).json["entry"]
        answers = [int(each["response"]["status"][:3]) for each in told]
    found = [
        each["resource"] for each in auditor.get("/AuditEvent?date=ge2000&subtype=delete&_sort=date").json["entry"]
    ]
    really, *others = found

    assert answers == [204, 204, 204]
    assert really["meta"]["profile"][0].endswith("IHE.BasicAudit.PatientDelete")
    assert [event["outcome"] for event in found] == ["0", "4", "4", "4"]
    assert not any("profile" in event["meta"] for event in others)
    assert [ref in json.dumps(event["entity"]) for event in others].count(True) == 1

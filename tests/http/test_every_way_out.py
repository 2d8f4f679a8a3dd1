"""Whatever leaves the server leaves after its event is durable: one that joins must say what it tells.

Every route of documents, of the FHIR endpoint and of tokens is asked here. Pages of a person who is signed in are not, since they need one: what
those of them show of a record is held back in ``test_authorize_events``.
"""

from __future__ import annotations

import json
import re
import threading

import pytest

from fhir_dmp.errors import TooMany, Unrecorded
from fhir_dmp.store.change import Event
from fhir_dmp.stores.mongo.flights import Flights
from fhir_dmp.stores.mongo.store import MongoStore
from tests.http.test_interactions import PATIENT

TELLS_NOTHING = {
    "/.well-known/openid-configuration": "where people sign in",
    "/docs": "the page that describes the interface",
    "/docs/assets/page.js": "its script",
    "/docs/openapi.json": "the description",
    "/fhir/.well-known/smart-configuration": "where tokens come from",
    "/fhir/metadata": "what the server can do",
    "/healthz": "that it is up",
    "/oauth/jwks": "public keys",
    "/oauth/pages/dmp.css": "a style sheet",
    "/readyz": "that it takes work",
}
"""What answers without an event, and what it is."""

FORMS = re.compile(r"/docs/assets/|/oauth/sign-in|/oauth/sign-out|/oauth/authorize|/oauth/apps")
"""Files, and pages of a person who is signed in: to a stranger they show no record, and what is sent by them has tests of its own.

The page that asks whether an app may is among them, and names records to a doctor: ``test_authorize_events`` asks it under a muted log.
"""

GIVEN = {"resource_type": "Patient", "record_type": "Patient", "version": "1"}
BODIES = {
    "/fhir": {"resourceType": "Bundle", "type": "batch", "entry": [{"request": {"method": "GET", "url": "Patient"}}]},
    "PATCH": [{"op": "test", "path": "/active", "value": True}],
}


def ways(app):
    """Return every route that is neither a document nor a form, with each of its methods."""
    for rule in app.url_map.iter_rules():
        if rule.rule not in TELLS_NOTHING and not FORMS.match(rule.rule):
            yield from ((method, rule.rule) for method in sorted(rule.methods - {"HEAD", "OPTIONS"}))


def url_of(rule, known):
    """Return a URL of the route that leads to the known patient."""
    given = {
        **GIVEN,
        "resource_id": known,
        "record_id": known,
        "name": "meta" if "<resource_id>" in rule else "validate",
    }
    path = re.sub(r"<(\w+)>", lambda found: given.get(found[1], "Patient"), rule)
    return f"{path}?family=Durand" if rule.endswith("<resource_type>") else path


@pytest.fixture
def mute(monkeypatch):
    """Make the log take nothing any more."""

    def fail(self, *_):
        raise Unrecorded("The log cannot be written.")

    def silence():
        monkeypatch.setattr(MongoStore, "record", fail)
        monkeypatch.setattr(MongoStore, "commit", fail)

    return silence


def test_no_route_tells_anything_while_the_log_cannot_be_written(app, ehr, anonymous, mute):
    """With a good token and without one: 503 and no word of the record, on each route and method."""
    known = ehr.post("/Patient", PATIENT).json["id"]
    mute()
    asked = list(ways(app))
    answers = {}
    for method, rule in asked:
        body = BODIES.get(rule.rstrip("/"), BODIES.get(method, {**PATIENT, "id": known}))
        kind = "application/json-patch+json" if method == "PATCH" else "application/fhir+json"
        for caller, headers in (("known", {"Authorization": f"Bearer {ehr._token}"}), ("stranger", {})):
            sent = {"data": json.dumps(body), "content_type": kind} if method not in ("GET", "DELETE") else {}
            answer = anonymous.open(url_of(rule, known), method=method, headers=headers, **sent)
            answers[method, rule, caller] = answer.status_code
            assert b"Durand" not in answer.data, (method, rule)
            assert known.encode() not in answer.data.replace(b"/Patient/" + known.encode(), b""), (method, rule)

    assert len(asked) > 30
    assert {each: status for each, status in answers.items() if status != 503} == {}


def test_a_page_an_include_and_a_stored_next_link_wait_for_the_log(ehr, mute):
    """Page 2 is an act of its own."""
    for _ in range(3):
        ehr.post("/Patient", PATIENT)
    first = ehr.get("/Patient?family=Durand&_count=1").json
    following = next(link["url"] for link in first["link"] if link["relation"] == "next")
    mute()

    assert ehr.get(following).status_code == 503
    assert ehr.get("/Patient?family=Durand&_include=Patient:organization").status_code == 503


def test_a_read_within_a_transaction_that_cannot_be_told_is_an_entry_that_failed(ehr, monkeypatch):
    """What was written is told in its own commit; the read's body stays here."""
    known = ehr.post("/Patient", PATIENT).json["id"]

    def fail(self, event):
        raise Unrecorded("The log cannot be written.")

    monkeypatch.setattr(MongoStore, "record", fail)
    asked = [
        {"request": {"method": "POST", "url": "Patient"}, "resource": {"resourceType": "Patient"}},
        {"request": {"method": "GET", "url": f"Patient/{known}"}},
    ]
    answer = ehr.post("", {"resourceType": "Bundle", "type": "transaction", "entry": asked})

    assert [entry["response"]["status"][:3] for entry in answer.json["entry"]] == ["201", "503"]
    assert b"Durand" not in answer.data


def test_a_fault_that_nobody_foresaw_leaves_its_event_and_says_nothing(ehr, auditor, monkeypatch):
    """500, no word of what went wrong, and a row with the outcome of a serious failure."""
    known = ehr.post("/Patient", PATIENT).json["id"]

    def fall(self, *_, **__):
        raise ZeroDivisionError("Durand")

    monkeypatch.setattr(MongoStore, "find_current", fall)
    answer = ehr.get(f"/Patient/{known}", headers={"X-Request-Id": "fault-1"})
    monkeypatch.undo()
    events = auditor.get("/AuditEvent?date=ge2000&subtype=read&_count=5").json["entry"]
    [fault] = [each["resource"] for each in events if "fault-1" in json.dumps(each["resource"])]

    assert answer.status_code == 500
    assert b"Durand" not in answer.data
    assert fault["outcome"] == "8"
    assert fault["outcomeDesc"].startswith("exception 500")
    assert "Le serveur a rencontré une erreur" in fault["text"]["div"]
    assert "refusé" not in fault["text"]["div"]


def test_a_full_queue_turns_away_and_keeps_nothing():
    """Nobody's event lies in memory without an answer that waits for it."""
    begun, go = threading.Event(), threading.Event()

    def fly(members):
        begun.set()
        go.wait(60)
        for member in members:
            member.result = True

    flights = Flights(fly, of="test", heaviest=1, most=2, seconds=5, beside=[])
    made = [Event(str(number), 0, b"{}") for number in range(4)]
    threads = [threading.Thread(target=flights.join, args=(event,)) for event in made[:3]]
    threads[0].start()
    begun.wait(60)
    for thread in threads[1:]:
        thread.start()
    waiting = threading.Event()
    while sum(len(flight.members) for flight in flights._waiting) < 2:
        waiting.wait(0.01)

    with pytest.raises(TooMany, match="busy") as refused:
        flights.join(made[3])
    assert refused.value.status == 429
    assert dict(refused.value.headers)["Retry-After"] == "1"
    go.set()
    for thread in threads:
        thread.join(5)
    assert flights._waiting == []

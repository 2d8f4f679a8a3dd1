"""AuditEvents that clients report (ITI-20, and the French profile for tracing events): kept for good, found, and never taken for ours."""

from __future__ import annotations

import base64
import json
from datetime import timedelta

import pytest

from fhir_dmp.audit.scene import MASKED
from fhir_dmp.call import Call
from fhir_dmp.oauth.clients import ROLES
from fhir_dmp.service import log_reports
from tests.access_world import changed, consent, document, observation
from tests.http.test_choices_of_the_patient import say
from tests.http.test_interactions import PATIENT
from tests.http.test_narrowed_ways import TAG
from tests.published import SHARED, examples

BALP = SHARED / "ihe" / "balp"
BASE = "http://127.0.0.1:8000/fhir"
SENT = {
    "resourceType": "AuditEvent",
    "id": "theirs",
    "meta": {"source": f"{BASE}/ours", "versionId": "7", "lastUpdated": "2001-01-01T00:00:00Z"},
    "text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">Le serveur a vu.</div>'},
    "type": {"system": "http://terminology.hl7.org/CodeSystem/audit-event-type", "code": "rest"},
    "subtype": [{"system": "http://hl7.org/fhir/restful-interaction", "code": "read"}],
    "recorded": "2024-02-03T10:00:00Z",
    "period": {"start": "2024-02-02T23:00:00Z", "end": "2024-02-02T23:05:00Z"},
    "agent": [{"requestor": True, "who": {"reference": "Practitioner/elsewhere"}}],
    "source": {"observer": {"display": "my system"}},
    "entity": [{"what": {"reference": "Patient/p7"}}],
}


def ids(answer):
    """Return the ids that a search found."""
    return [entry["resource"]["id"] for entry in answer.json.get("entry", ()) if entry["search"]["mode"] == "match"]


def test_a_reported_event_is_kept_in_its_own_words_under_our_id(ehr, auditor):
    """Id, version and source are the server's, and so are the words for people; the rest is as it was sent."""
    made = ehr.post("/AuditEvent", SENT)
    kept = auditor.get(f"/AuditEvent/{made.json['id']}").json

    assert made.status_code == 201
    assert made.json["id"] != "theirs"
    assert kept["meta"]["source"] == f"urn:fhir-dmp:client:{ehr.client_id}"
    assert kept["meta"]["versionId"] == "1"
    assert not kept["meta"]["lastUpdated"].startswith("2001")
    assert "Le serveur a vu" not in kept["text"]["div"]
    assert "le serveur ne l'a pas constatée lui-même" in kept["text"]["div"]
    assert {name: kept[name] for name in SENT if name not in ("id", "meta", "text")} == {
        name: value for name, value in SENT.items() if name not in ("id", "meta", "text")
    }


def test_a_reported_event_is_found_by_what_it_says(ehr, auditor):
    """When it was recorded and when it began are its own word; so are agent, patient and entity."""
    own = ehr.post("/AuditEvent", SENT).json["id"]
    found = [
        "date=2024-02-03",
        "period-start=2024-02-02",
        "period-start=ge2024-02-02T22:00:00Z&period-start=lt2024-02-03",
        "date=ge2024&date=lt2025&patient=p7",
        "date=2024-02&agent=Practitioner/elsewhere",
        f"date=2024-02&source=urn:fhir-dmp:client:{ehr.client_id}",
    ]

    assert [ids(auditor.get(f"/AuditEvent?{query}")) for query in found] == [[own]] * len(found)
    assert own not in ids(auditor.get("/AuditEvent?date=ge2025&patient=p7"))
    assert own not in ids(auditor.get(f"/AuditEvent?date=2024-02&source={BASE}"))
    assert auditor.get("/AuditEvent?date=2024-02-03&_summary=count").json["total"] == 1


def test_reporting_is_an_act_that_leaves_a_row_of_ours(ehr, auditor):
    """Who reported, and when, is told by an event that the client did not write."""
    own = ehr.post("/AuditEvent", SENT).json["id"]
    [event] = [
        each["resource"]
        for each in auditor.get("/AuditEvent?date=ge2025&subtype=create&patient=p7").json["entry"]
        if each["resource"]["id"] != own
    ]

    assert event["agent"][0]["who"]["identifier"]["value"] == ehr.client_id
    assert f"AuditEvent/{own}/_history/1" in json.dumps(event["entity"])


def test_clinical_values_of_a_reported_query_are_cut_out_for_an_auditor(ehr, auditor):
    """As of a query that the server saw itself."""
    query = base64.b64encode(b"GET /Observation?patient=p7&code=E11\nAccept: x").decode()
    entity = {"query": query, "description": "code=E11", "detail": [{"type": "code", "valueString": "E11"}]}
    own = ehr.post("/AuditEvent", {**SENT, "entity": [*SENT["entity"], entity]}).json["id"]
    event = auditor.get(f"/AuditEvent/{own}").json

    assert base64.b64decode(event["entity"][1]["query"]).decode() == "GET /Observation?patient=p7&code=…"
    assert "E11" not in json.dumps(event)
    assert [label["code"] for label in event["meta"]["security"]] == ["REDACTED"]


def test_who_is_named_as_the_one_who_acted_is_told_all_that_was_reported(world):
    """As of events of ours; the patient is told what stands in the open."""
    entity = [{"what": {"reference": world.patient}}, {"description": "code=E11"}]
    agent = [{"requestor": True, "who": {"reference": world.patient}}]
    mine = world.ehr.made({**SENT, "entity": entity, "agent": agent})["id"]
    theirs = world.ehr.made({**SENT, "entity": entity})["id"]

    assert world.holder().read(f"AuditEvent/{mine}").body["entity"] == entity
    assert world.holder().read(f"AuditEvent/{theirs}").body["entity"] == [entity[0], MASKED]


@pytest.mark.parametrize(
    "observer",
    [
        {"display": "fhir_dmp"},
        {"display": " FHIR-DMP "},
        {"display": BASE},
        {"identifier": {"system": "urn:ietf:rfc:3986", "value": BASE}},
        {"reference": f"{BASE}/Device/1"},
        {"identifier": {"value": "https://127.0.0.1:8000/other"}},
    ],
)
def test_no_client_reports_as_this_server(ehr, auditor, observer):
    """An event whose observer is the server is the server's to write."""
    answer = ehr.post("/AuditEvent", {**SENT, "source": {"observer": observer}})

    assert answer.status_code == 422
    assert answer.json["issue"][0]["expression"] == ["AuditEvent.source.observer"]
    assert ids(auditor.get("/AuditEvent?date=2024-02-03")) == []


def test_a_reported_event_is_bounded(ehr):
    """The log is no place for documents."""
    long = {**SENT, "outcomeDesc": "x" * 70_000}

    assert ehr.post("/AuditEvent", long).status_code == 413


def test_what_is_longer_than_any_reported_event_is_not_looked_at(ehr, monkeypatch):
    """Alone and as an entry: to cut and seal what is refused anyway would be work for whoever sends most."""
    looked = []
    monkeypatch.setattr(log_reports, "submit", lambda *_: looked.append(1))
    much = {**SENT, "outcomeDesc": "x" * 300_000}

    assert ehr.post("/AuditEvent", much).status_code == 413
    entry = {"resource": much, "request": {"method": "POST", "url": "AuditEvent"}}
    answer = ehr.post("", {"resourceType": "Bundle", "type": "batch", "entry": [entry]})
    assert answer.json["entry"][0]["response"]["status"][:3] == "413"
    assert looked == []


@pytest.mark.parametrize(
    ("age", "status"),
    [
        (timedelta(minutes=-4), 201),
        (timedelta(minutes=-6), 400),
        (timedelta(days=-365), 400),
        (timedelta(days=90), 201),
        (timedelta(days=3650), 201),
        (timedelta(days=3660), 400),
    ],
)
def test_a_reported_event_is_of_a_time_that_can_be(world, age, status):
    """A clock may be ahead of ours by minutes, and what waited for the end of an outage is taken; what is refused leaves nothing that it says."""
    recorded = (world.clock.now() - age).isoformat(timespec="seconds")
    auditor = world.system("auditor-two", "auditor", scopes=("system/AuditEvent.rs",))
    answer = world.ehr.create({**SENT, "recorded": recorded})

    assert answer.status == status
    reported = auditor.search("AuditEvent", f"date=ge1900&source=urn:fhir-dmp:client:{world.ehr.subject.client}").ids
    assert len(reported) == (status == 201)
    if status == 400:
        assert [issue.expression for issue in answer.issues] == ["AuditEvent.recorded"]


@pytest.mark.parametrize("recorded", ["1900-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_reported_event_of_no_time_is_refused(ehr, recorded):
    """However far away."""
    assert ehr.post("/AuditEvent", {**SENT, "recorded": recorded}).status_code == 400


@pytest.mark.parametrize("method", ["put", "delete", "patch"])
def test_no_interface_changes_or_removes_an_event(app, ehr, auditor, method):
    """Of clients or ours, by the EHR or the auditor over HTTP, alone or in bundles."""
    own = ehr.post("/AuditEvent", SENT).json["id"]
    ehr.post("/Patient", PATIENT)
    ours = next(each for each in ids(auditor.get("/AuditEvent?date=ge2025&subtype=create")) if each != own)
    before = {each: auditor.get(f"/AuditEvent/{each}").json for each in (own, ours)}
    for target in (own, ours):
        body = {**SENT, "id": target} if method == "put" else None
        if method == "patch":
            body = [{"op": "replace", "path": "/outcome", "value": "0"}]
        headers = {"Content-Type": "application/json-patch+json"} if method == "patch" else {}
        for caller in (ehr, auditor):
            send = {
                "put": caller.put,
                "delete": caller.delete,
                "patch": lambda *sent, who=caller, **more: who._send("PATCH", *sent, **more),
            }
            arguments = (f"/AuditEvent/{target}", body) if body else (f"/AuditEvent/{target}",)
            assert send[method](*arguments, headers=headers).status_code in (403, 405)
        entry = {
            "request": {"method": method.upper(), "url": f"AuditEvent/{target}"},
            **({"resource": body} if method == "put" else {}),
        }
        for kind in ("batch", "transaction"):
            answer = ehr.post("", {"resourceType": "Bundle", "type": kind, "entry": [entry]})
            told = (
                answer.json["entry"][0]["response"]["status"] if answer.status_code == 200 else str(answer.status_code)
            )
            assert told[:3] in ("400", "403", "405")
    assert {each: auditor.get(f"/AuditEvent/{each}").json for each in (own, ours)} == before


@pytest.mark.parametrize("role", [*ROLES, "holder", "representative", "professional", "emergency"])
def test_nobody_changes_or_removes_an_event_at_the_door(world, role):
    """Whatever role a system has, and no person: by no interaction; and no operation that changes something is one of events."""
    people = {
        "holder": world.holder,
        "representative": lambda: world.representative("RelatedPerson/r"),
        "professional": world.professional,
        "emergency": lambda: world.professional("5", purpose="BTG", reason="inconsciente, seule"),
    }
    who = people[role]() if role in people else world.system(f"{role}-one", role, "urn:s|1")
    auditor = world.system("auditor-two", "auditor", scopes=("system/AuditEvent.rs",))
    own = world.ehr.made(SENT)["id"]
    ours = next(each for each in auditor.search("AuditEvent", "date=ge2025&subtype=create").ids if each != own)
    before = {each: auditor.read(f"AuditEvent/{each}").body for each in (own, ours)}
    patch = json.dumps([{"op": "replace", "path": "/outcome", "value": "0"}]).encode()
    for target, event in before.items():
        answers = {
            "update": who.update({**event, "outcome": "12"}),
            "delete": who.delete(f"AuditEvent/{target}"),
            "patch": who.ask(Call("patch", "AuditEvent", target, body=patch)),
        }
        operations = {
            name: who.ask(Call("operation", "AuditEvent", target, operation=name, body=json.dumps(TAG).encode()))
            for name in ("meta-add", "meta-delete", "mask", "erase")
        }
        assert {name: answer.status for name, answer in answers.items() if answer.status not in (403, 405)} == {}
        assert {answer.text.partition(" is not one of ")[0] for answer in operations.values()} == {
            f"The operation ${name}" for name in operations
        }

    assert before[own]["id"] == own
    assert {each: auditor.read(f"AuditEvent/{each}").body for each in (own, ours)} == before


def test_an_estimate_of_how_many_events_there_are_is_exact(ehr, auditor):
    """As of every other type; without it a page that is not the last has no total."""
    for _ in range(3):
        ehr.post("/AuditEvent", SENT)
    counted = auditor.get("/AuditEvent?date=2024-02-03&_count=1&_total=estimate").json

    assert (counted["total"], len(counted["entry"])) == (3, 1)
    assert "total" not in auditor.get("/AuditEvent?date=2024-02-03&_count=1").json


@pytest.mark.parametrize("path", examples("french/ans-tde", "AuditEvent-*.json"), ids=lambda path: path.stem)
def test_the_french_examples_are_taken_and_found_by_when_they_began(ehr, auditor, path):
    """As the French profile asks: by a bound on the date, and by period-start."""
    tree = json.loads(path.read_text())
    own = ehr.post("/AuditEvent", tree)
    day = tree["period"]["start"][:10]

    assert own.status_code == 201, own.data
    assert own.json["id"] in ids(auditor.get(f"/AuditEvent?period-start={day}"))
    assert own.json["id"] in ids(auditor.get(f"/AuditEvent?date=ge2000&period-start=le{day}"))
    assert own.json["id"] not in ids(auditor.get(f"/AuditEvent?period-start=gt{day}"))


@pytest.mark.skipif(not BALP.is_dir(), reason="needs the BALP examples of ../shared/data/ihe/balp")
def test_the_examples_of_ihe_are_taken_as_they_are(ehr):
    """Every AuditEvent of the BALP guide can be reported."""
    paths = examples("ihe/balp", "AuditEvent-*.json")
    answers = {path.stem: ehr.post("/AuditEvent", json.loads(path.read_text())) for path in paths}

    assert len(answers) == len(paths) > 20
    assert {name: answer.data for name, answer in answers.items() if answer.status_code != 201} == {}


def test_a_person_reports_nothing_of_another_record(world):
    """Whoever signs in somewhere could write lines into the traces of all others; a token is for one record, and so is what it reports."""
    other = world.new_patient()
    about = {patient: {**SENT, "entity": [{"what": {"reference": patient}}]} for patient in (world.patient, other)}
    acting = {**about[world.patient], "agent": [{"requestor": True, "who": {"reference": other}}]}
    callers = (world.holder(), world.professional("1"))

    assert [caller.create(about[world.patient]).status for caller in callers] == [201, 201]
    assert [caller.create(sent).status for caller in callers for sent in (about[other], acting)] == [403] * 4
    assert world.professional("1", patient="").create(about[other]).status == 403
    assert world.ehr.create(about[other]).status == 201
    reported = [each["resource"] for each in world.holder(other).search("AuditEvent").body["entry"]]
    assert [each["agent"][0]["who"] for each in reported if each["recorded"].startswith("2024")] == [
        {"reference": "Practitioner/elsewhere"}
    ]


def test_a_person_reports_nothing_about_what_they_do_not_see(world):
    """What is hidden is masked in the event, and what is absent is not: by an event of one's own one would learn which it is."""
    world.holder().made(consent(world.patient, "permit"))
    seen = world.ehr.made(observation(world.patient))["id"]
    hidden = world.ehr.made(document(world.patient, "MASQUE_PS"))["id"]

    def report(who, ref):
        return who.create({**SENT, "entity": [{"what": {"reference": world.patient}}, {"what": {"reference": ref}}]})

    doctor = world.professional("1")
    answers = [report(doctor, f"DocumentReference/{own}") for own in (hidden, "a" * 36)]

    assert answers[0] == answers[1]
    assert answers[0].status == 422
    assert report(doctor, f"Observation/{seen}").status == 201
    assert report(world.ehr, "DocumentReference/elsewhere").status == 201


def test_what_a_reported_event_names_at_another_server_is_not_taken_for_ours(world):
    """By the same id, and it would stand among the traces of somebody else: it is found by its own URL, by whoever may read the log."""
    elsewhere = f"https://other.example/fhir/{world.patient}"
    named = [
        {"what": {"reference": elsewhere}},
        {"what": {"reference": "https://other.example/fhir/Observation/o1/_history/2"}},
    ]
    agent = [{"requestor": True, "who": {"reference": elsewhere}}]
    own = world.ehr.made({**SENT, "entity": named, "agent": agent})["id"]
    here = world.ehr.made({**SENT, "entity": [{"what": {"reference": f"{BASE}/{world.patient}"}}]})["id"]
    auditor = world.system("auditor-two", "auditor", scopes=("system/AuditEvent.rs",))

    def found(query):
        return auditor.search("AuditEvent", f"date=2024-02-03&{query}").ids

    assert found(f"patient={world.patient}") == found(f"entity={world.patient}") == {here}
    assert found(f"entity={elsewhere}") == found("entity=https://other.example/fhir/Observation/o1") == {own}
    assert found(f"agent={elsewhere}") == {own}
    assert world.holder().search("AuditEvent", "date=2024-02-03").ids == {here}
    assert auditor.read(f"AuditEvent/{own}").body["entity"] == named


def test_a_person_may_name_in_their_event_what_lies_elsewhere(world):
    """Whether there is something of that id here is neither asked nor told."""
    entity = [
        {"what": {"reference": world.patient}},
        {"what": {"reference": "https://other.example/fhir/Observation/o1"}},
    ]

    made = world.holder().create({**SENT, "entity": entity})

    assert made.status == 201
    assert world.holder().read(f"AuditEvent/{made.body['id']}").body["entity"] == entity


@pytest.mark.rule("F2")
@pytest.mark.parametrize("how", ["blocked", "closed", "dead"])
def test_a_person_reports_nothing_of_a_record_that_takes_nothing_of_them(world, how):
    """To report is to write among its traces: who was blocked writes nothing there, nor does anybody once it is closed or its holder has died."""
    seen = f"Observation/{world.ehr.made(observation(world.patient))['id']}"
    entities = (
        [{"what": {"reference": world.patient}}],
        [{"what": {"reference": each}} for each in (world.patient, seen)],
    )
    doctor, holder = world.professional("1"), world.holder()
    holder.made(consent(world.patient, "permit"))
    before = [doctor.create({**SENT, "entity": each}).status for each in entities]
    patient = world.insurance.read(world.patient).body

    if how == "blocked":
        assert say(holder, "block", actor={"reference": "Practitioner/p1"}).status == 200
    elif how == "closed":
        assert say(holder, "close").status == 200
    else:
        assert world.insurance.update(changed(patient, deceasedBoolean=True)).status == 200

    who = holder if how == "dead" else doctor
    told = [who.create({**SENT, "entity": each}) for each in entities]
    assert before == [201, 201]
    assert [each.status for each in told] == [403, 403]
    assert world.ehr.create({**SENT, "entity": entities[0]}).status == 201


def test_who_is_let_in_by_nobody_reports_what_they_feed(world):
    """As feeding needs no authorisation."""
    assert world.professional("1").create({**SENT, "entity": [{"what": {"reference": world.patient}}]}).status == 201

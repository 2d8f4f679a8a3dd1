"""Proofs over the log by HTTP, for auditors, checked with the public key alone."""

from __future__ import annotations

import base64
import gzip
import json

import pytest

from fhir_dmp.app.sealing import create_sealing
from fhir_dmp.audit import codes
from fhir_dmp.errors import Unavailable
from fhir_dmp.fhir.parameters import read
from fhir_dmp.service.audit_verify import verify_proof
from tests.http.test_interactions import PATIENT
from tests.http.test_reported_events import SENT


@pytest.fixture
def sealing(app):
    """What seals the log of the application, by hand."""
    made = create_sealing(app.extensions["fhir_dmp"].settings)
    yield made
    made.close()


@pytest.fixture
def sealed(sealing, ehr, auditor):
    """A log with some sealed events."""
    for _ in range(3):
        ehr.post("/Patient", PATIENT)
    sealing.sealer.tick()
    return sealing


def last_event(auditor, subtype="create"):
    """Return the id of the newest event of that kind."""
    return auditor.get(f"/AuditEvent?date=ge2000&subtype={subtype}&_count=1").json["entry"][0]["resource"]["id"]


def asked_by(event):
    """Return the request's id and what was asked: the events of one request, of several patients, agree in both."""
    *_, query, request = event["entity"]
    return request["what"]["identifier"]["value"], base64.b64decode(query["query"]).decode()


def lines(answer):
    """Return the lines of a page of the log."""
    return [json.loads(line) for line in answer.data.splitlines()]


def test_an_event_is_proven_to_be_in_the_log(sealed, auditor):
    """The entry is the event's own; the path leads to a head that the key signed."""
    event = last_event(auditor)
    answer = auditor.get(f"/AuditEvent/{event}/$proof")
    told = verify_proof(read(answer.json), sealed.keys.public())

    assert answer.status_code == 200
    assert event in told


def test_a_proof_stands_in_the_journal_of_the_patient_whose_event_it_tells(sealed, auditor):
    """It holds all that a read of the event would tell."""
    event = last_event(auditor)
    auditor.get(f"/AuditEvent/{event}/$proof")
    [found] = auditor.get("/AuditEvent?date=ge2000&subtype=$proof").json["entry"]
    [patient] = [each["what"]["reference"] for each in found["resource"]["entity"] if each.get("role") == codes.PATIENT]

    assert patient in json.dumps(auditor.get(f"/AuditEvent/{event}").json["entity"])


def test_a_proof_of_another_entry_or_path_does_not_hold(sealed, auditor):
    """Nothing of it can be changed."""
    answer = auditor.get(f"/AuditEvent/{last_event(auditor)}/$proof").json
    for place, parameter in enumerate(answer["parameter"]):
        if parameter["name"] not in ("entry", "path", "leaf"):
            continue
        forged = json.loads(json.dumps(answer))
        value = parameter.get("valueInteger")
        changed = {"valueInteger": value + 1} if value is not None else {"valueBase64Binary": "AAAA"}
        forged["parameter"][place].update(changed)
        with pytest.raises(ValueError, match="path"):
            verify_proof(read(forged), sealed.keys.public())


def test_an_event_that_waits_for_its_head_is_asked_for_again(sealed, ehr, auditor):
    """409 and Retry-After; then it is there."""
    ehr.post("/Patient", PATIENT)
    event = last_event(auditor)
    waiting = auditor.get(f"/AuditEvent/{event}/$proof")
    sealed.sealer.tick()

    assert waiting.status_code == 409
    assert waiting.headers["Retry-After"] == "1"
    assert auditor.get(f"/AuditEvent/{event}/$proof").status_code == 200


def test_a_log_is_proven_to_have_only_grown(sealed, ehr, auditor):
    """From any head to any later one; not backwards."""
    for _ in range(3):
        ehr.post("/Patient", PATIENT)
        sealed.sealer.tick()
    newest = auditor.get("/AuditEvent/$head").json["parameter"][0]["part"][0]["valueInteger"]
    for older in range(1, newest + 1):
        told = auditor.get(f"/AuditEvent/$consistency?from={older}").json
        assert "begin" in verify_proof(read(told), sealed.keys.public())

    assert auditor.get(f"/AuditEvent/$consistency?from={newest}&to=2").status_code == 400
    assert auditor.get("/AuditEvent/$consistency?from=999").status_code == 404
    assert auditor.get("/AuditEvent/$consistency").status_code == 400


def test_proofs_are_for_who_may_read_the_event(sealed, auditor, with_scopes):
    """Another scope is refused; what is absent is not known."""
    event = last_event(auditor)

    assert with_scopes("system/Patient.rs").get(f"/AuditEvent/{event}/$proof").status_code == 403
    assert auditor.get("/AuditEvent/nobody/$proof").status_code == 404


def test_the_log_leaves_as_lines(sealed, auditor):
    """All that is sealed, from first to last, and how far that is."""
    answer = auditor.get("/AuditEvent/$entries")
    told = lines(answer)
    events = [line["entry"]["row"]["act"] for line in told if "hash" in line]

    assert answer.headers["Content-Type"] == "application/x-ndjson"
    assert events.count("create") == 3
    assert told[-1]["leaf"] == told[-1]["size"] == len(events)


def test_the_log_leaves_by_pages_that_each_have_their_event(sealed, auditor):
    """Pages under one head, asked for by what the last line says, lose and repeat nothing, whatever is written meanwhile."""
    whole = [line for line in lines(auditor.get("/AuditEvent/$entries")) if "hash" in line]
    told, found, asked = {"leaf": 0, "size": 1}, [], "_count=2"
    while told["leaf"] < told["size"]:
        page = lines(auditor.get(f"/AuditEvent/$entries?{asked}"))
        told = page[-1]
        found += page[1:-1]
        asked = f"_count=2&from={told['leaf']}&head={told['head']}"
        assert len(page) <= 4
        sealed.sealer.tick()
    events = auditor.get("/AuditEvent?date=ge2000&subtype=$entries&_count=100").json["entry"]
    sent = list(dict(asked_by(each["resource"]) for each in events).values())

    assert found == whole
    assert len(sent) == 1 + -(-len(whole) // 2)
    assert f"_count=2&from=2&head={told['head']}" in sent[-3]
    assert auditor.get("/AuditEvent/$entries?_count=0").status_code == 400


@pytest.mark.parametrize(
    ("asked", "headers"),
    [
        ("", {"Accept": "application/fhir+xml"}),
        ("", {"Accept-Encoding": "gzip"}),
        ("?_pretty=true", {}),
        ("?_format=xml", {"Accept-Encoding": "gzip"}),
    ],
)
def test_lines_stay_lines_however_answers_are_wanted(sealed, auditor, asked, headers):
    """They are no FHIR, so that there is no other form of them; they are packed for who asks for that."""
    plain = auditor.get("/AuditEvent/$entries?head=1")
    answer = auditor.get(f"/AuditEvent/$entries{asked}{'&' if asked else '?'}head=2", headers=headers)
    packed = answer.headers.get("Content-Encoding") == "gzip"
    body = gzip.decompress(answer.data) if packed else answer.data

    assert packed == ("Accept-Encoding" in headers)
    assert answer.headers["Content-Type"] == plain.headers["Content-Type"] == "application/x-ndjson"
    assert json.loads(body.splitlines()[-1])["head"] == 2


@pytest.mark.parametrize("accept", ["application/x-ndjson", "application/fhir+ndjson, text/html;q=0.1"])
def test_lines_are_sent_to_who_takes_lines_alone(sealed, auditor, ehr, accept):
    """Whoever asks for anything else by that type is told that it is not served."""
    answer = auditor.get("/AuditEvent/$entries", headers={"Accept": accept})
    refused = ehr.get("/AuditEvent/$entries", headers={"Accept": accept})

    assert answer.headers["Content-Type"] == "application/x-ndjson"
    assert json.loads(answer.data.splitlines()[-1])["head"] >= 1
    assert auditor.get("/AuditEvent/$entries?_format=ndjson").data.splitlines()[0] == answer.data.splitlines()[0]
    assert (refused.status_code, refused.json["resourceType"]) == (403, "OperationOutcome")
    assert auditor.get("/AuditEvent/$head", headers={"Accept": accept}).status_code == 406
    assert auditor.get("/AuditEvent/$entries", headers={"Accept": f"{accept.partition(',')[0]};q=0"}).status_code == 406


def test_what_a_client_reports_leaves_without_what_is_clinical(sealed, ehr, auditor):
    """In a proof, in lines and in what is shown: the proof of what is left holds."""
    query = base64.b64encode(b"GET /Observation?patient=p7&code=hiv-secret").decode()
    words = {"name": "hiv-secret", "description": "hiv-secret", "what": {"display": "hiv-secret"}}
    sent = {**SENT, "outcomeDesc": "hiv-secret", "entity": [*SENT["entity"], words, {"query": query}]}
    made = ehr.post("/AuditEvent", sent)
    sealed.sealer.tick()
    proof = auditor.get(f"/AuditEvent/{made.json['id']}/$proof")
    [entry] = [each["valueBase64Binary"] for each in proof.json["parameter"] if each["name"] == "entry"]
    told = [base64.b64decode(entry), auditor.get("/AuditEvent/$entries").data]
    told.append(auditor.get(f"/AuditEvent/{made.json['id']}").data)

    assert made.json["outcomeDesc"] == "hiv-secret"
    assert [(b"hiv-secret" in each, query.encode() in each) for each in told] == [(False, False)] * 3
    assert made.json["id"] in verify_proof(read(proof.json), sealed.keys.public())


def test_the_log_goes_on_from_a_leaf(sealed, auditor):
    """The lines of the parts are those of the whole."""
    whole = auditor.get("/AuditEvent/$entries").data.splitlines()
    head = json.loads(whole[-1])["head"]
    rest = auditor.get(f"/AuditEvent/$entries?from=3&head={head}").data.splitlines()

    assert rest[1:] == whole[4:]
    assert auditor.get("/AuditEvent/$entries?from=999999").status_code == 400


def test_no_byte_of_the_log_leaves_before_its_event(sealed, auditor, app, monkeypatch):
    """Without one there is a 503 and no line."""

    def fail(self, event):
        raise Unavailable("The log cannot be written.")

    monkeypatch.setattr(app.extensions["fhir_dmp"].store.__class__, "record", fail)
    answer = auditor.get("/AuditEvent/$entries")

    assert answer.status_code == 503
    assert b"entry" not in answer.data


def test_the_whole_log_is_for_auditors_alone(sealed, ehr):
    """An EHR with every scope is refused."""
    assert ehr.get("/AuditEvent/$entries").status_code == 403


@pytest.mark.parametrize("kind", ["batch", "transaction"])
def test_a_page_of_the_log_is_no_entry_of_a_bundle(sealed, auditor, kind):
    """Its lines are no resource: it is asked for alone, where one page is one answer."""
    request = {"method": "GET", "url": "AuditEvent/$entries"}
    answer = auditor.post("", {"resourceType": "Bundle", "type": kind, "entry": [{"request": request}]})

    told = answer.json if kind == "transaction" else answer.json["entry"][0]["response"]["outcome"]
    assert answer.status_code == (400 if kind == "transaction" else 200)
    assert told["issue"][0]["code"] == "not-supported"


def test_a_proof_of_what_is_not_what_was_sealed_says_so(sealed, app, auditor):
    """Of an event that was altered, of a head that is none, and out of a tree that lacks hashes: nothing that would not hold is told."""
    event = last_event(auditor)
    sealed.sealer.tick()
    store = app.extensions["fhir_dmp"].store
    seals, ledger = sealed.sealer._ledger.seals, sealed.sealer._ledger
    row, _ = ledger.place_of(event)
    month = store.log[row.period]
    where = {"$or": [{"_id": event}, {"rows.i": event}]}
    kept = month.find_one(where)
    month.update_one(where, {"$set": {"pt": ["Patient/other"]}})
    altered = auditor.get(f"/AuditEvent/{event}/$proof")
    month.replace_one({"_id": kept["_id"]}, kept)
    assert auditor.get(f"/AuditEvent/{event}/$proof").status_code == 200
    tiles = list(seals["tiles"].find())
    seals["tiles"].delete_many({})
    last = seals["heads"].find_one(sort=[("_id", -1)])
    seals["heads"].update_one({"_id": last["_id"]}, {"$set": {"line": b"x"}})
    no_head = auditor.get("/AuditEvent/$head")
    seals["heads"].replace_one({"_id": last["_id"]}, last)
    answers = [
        no_head,
        altered,
        auditor.get(f"/AuditEvent/{event}/$proof"),
        auditor.get("/AuditEvent/$consistency?from=2"),
        auditor.get("/AuditEvent/$entries?from=1"),
    ]
    seals["tiles"].insert_many(tiles)

    assert [answer.status_code for answer in answers] == [500] * 5
    assert all("audit verify" in answer.json["issue"][0]["diagnostics"] for answer in answers)

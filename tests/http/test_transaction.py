"""Transactions at the FHIR endpoint, on a real MongoDB: all or nothing. https://hl7.org/fhir/R4/http.html#transaction."""

from __future__ import annotations

import json

import pytest
from fhir.resources.R4B.bundle import Bundle
from msgspec.structs import replace

from fhir_dmp.access.model import Subject
from fhir_dmp.call import Call
from fhir_dmp.errors import Invalid, Unavailable
from fhir_dmp.fhir import codec
from tests.at_once import at_once
from tests.bundles import ONE, SYSTEM, bundle, count, done, entry, made_id, observation, patient, send
from tests.published import examples


def places(answer):
    """Return the expressions of the issues."""
    return [issue.get("expression", [None])[0] for issue in answer.json["issue"]]


def test_entries_are_answered_in_the_order_of_the_request(ehr):
    """Done as DELETE, POST, PUT, GET; answered as they stood, with status, location, etag and lastModified."""
    old = ehr.post("/Patient", patient()).json["id"]
    answer = send(
        ehr,
        entry("GET", "Patient/chosen"),
        entry("PUT", "Patient/chosen", patient(id="chosen")),
        entry("POST", "Patient", patient(), ONE),
        entry("DELETE", f"Patient/{old}"),
        entry("GET", f"Patient?_id=chosen,{old}"),
    )
    read, put, post, delete, search = done(answer)

    assert answer.json["type"] == "transaction-response"
    assert [part["status"][:3] for part in (read, put, post, delete, search)] == ["200", "201", "201", "204", "200"]
    assert post["location"].endswith(f"/fhir/Patient/{made_id(post)}/_history/1")
    assert post["etag"] == 'W/"1"'
    assert ehr.get(f"/Patient/{made_id(post)}").json["meta"]["lastUpdated"] == post["lastModified"]
    assert delete["etag"] == 'W/"2"'
    assert answer.json["entry"][0]["resource"]["id"] == "chosen"
    found = answer.json["entry"][4]["resource"]
    assert [each["resource"]["id"] for each in found["entry"]] == ["chosen"]


@pytest.mark.parametrize("kind", ["batch", "transaction"])
def test_a_bundle_asks_for_the_statement_and_searches_by_post(ehr, kind):
    """GET metadata, POST Type/_search with its parameters in the url, and GET Type/_search."""
    send(ehr, entry("PUT", "Patient/a", patient("a", id="a")), entry("PUT", "Patient/b", patient("b", id="b")))
    answer = send(
        ehr,
        entry("GET", "metadata"),
        entry("POST", f"Patient/_search?identifier={SYSTEM}|a"),
        entry("GET", "Patient/_search?identifier=b"),
        entry("POST", "Patient", patient("c")),
        kind=kind,
    )

    done(answer)
    statement, by_post, by_get, _ = answer.json["entry"]
    assert statement["resource"] == ehr.get("/metadata").json
    assert [each["resource"]["id"] for each in by_post["resource"]["entry"]] == ["a"]
    assert [each["resource"]["id"] for each in by_get["resource"]["entry"]] == ["b"]


def test_a_search_by_post_within_a_bundle_brings_no_resource(ehr):
    """A form is no resource: the parameters stand in the url."""
    answer = send(ehr, entry("POST", "Patient/_search", {"resourceType": "Parameters"}))

    assert answer.status_code == 400
    assert answer.json["issue"][0]["expression"] == ["Bundle.entry[0].resource"]


def test_a_resource_comes_back_only_where_it_was_asked_for(ehr):
    """A write's entry has no resource by default, and has it with return=representation."""
    plain = send(ehr, entry("POST", "Patient", patient()))
    whole = send(ehr, entry("POST", "Patient", patient("a")), headers={"Prefer": "return=representation"})
    told = send(ehr, entry("POST", "Patient", patient()), headers={"Prefer": "return=OperationOutcome"})

    assert "resource" not in plain.json["entry"][0]
    assert whole.json["entry"][0]["resource"]["identifier"][0]["value"] == "a"
    assert told.json["entry"][0]["response"]["outcome"]["resourceType"] == "OperationOutcome"


def test_one_bad_entry_leaves_nothing_of_the_others(ehr):
    """All or nothing; every fault is told with the entry it stands in."""
    answer = send(
        ehr,
        entry("POST", "Patient", patient("whole")),
        entry("POST", "Patient", patient(gender=1)),
        entry("PUT", "Patient/whole", patient("whole", id="whole")),
        entry("POST", "Patient", patient(nickname="x")),
    )

    assert answer.status_code == 400
    assert places(answer) == ["Bundle.entry[1].resource.gender", "Bundle.entry[3].resource.nickname"]
    assert count(ehr, "/Patient") == 0
    assert ehr.get("/_history").json["total"] == 0


def test_a_failed_transaction_leaves_no_version_index_or_key(ehr):
    """A stale If-Match at the end undoes a conditional create at the beginning: the same create is new afterwards."""
    ehr.put("/Patient/one", patient(id="one"))
    refused = send(
        ehr,
        entry("POST", "Patient", patient("k"), ifNoneExist=f"identifier={SYSTEM}|k"),
        entry("PUT", "Patient/one", patient(id="one", gender="male"), ifMatch='W/"7"'),
        entry("DELETE", "Patient/two"),
    )

    assert refused.status_code == 412
    assert places(refused) == ["Bundle.entry[1]"]
    assert ehr.get("/_history").json["total"] == 1
    assert ehr.post("/Patient", patient("k"), headers={"If-None-Exist": f"identifier={SYSTEM}|k"}).status_code == 201


@pytest.mark.parametrize(
    ("entries", "status", "place"),
    [
        ([{"resource": patient()}], 400, "Bundle.entry[0].request"),
        ([entry("STEAL", "Patient", patient())], 400, "Bundle.entry[0].request.method"),
        ([{"request": {"method": ["POST"], "url": "Patient"}}], 400, "Bundle.entry[0].request.method"),
        ([entry("POST", "Patient")], 400, "Bundle.entry[0].resource"),
        ([entry("POST", "Patient", [])], 400, "Bundle.entry[0].resource"),
        ([entry("POST", "Observation", patient())], 400, "Bundle.entry[0].request.url"),
        ([entry("POST", "Patientt", {"resourceType": "Patientt"})], 400, "Bundle.entry[0].request.url"),
        ([entry("POST", "Patient/1", patient())], 400, "Bundle.entry[0].request.url"),
        ([entry("PUT", "Patient", patient())], 400, "Bundle.entry[0].request.url"),
        ([entry("PUT", "Patient/a b", patient(id="a b"))], 400, "Bundle.entry[0].request.url"),
        ([entry("PUT", "Patient/a", patient(id="b"))], 400, "Bundle.entry[0].resource.id"),
        ([entry("DELETE", "")], 400, "Bundle.entry[0].request.url"),
        ([entry("POST", "ValueSet/$lookup", patient())], 400, "Bundle.entry[0].request.url"),
        ([entry("POST", "http://elsewhere.example/Patient", patient())], 400, "Bundle.entry[0].request.url"),
        ([entry("POST", "Patient", patient(), 5)], 400, "Bundle.entry[0].fullUrl"),
        ([entry("POST", "Patient", patient(), ifMatch='W/"1"')], 400, "Bundle.entry[0].request.ifMatch"),
        ([entry("PUT", "Patient/a", patient(id="a"), ifNoneExist="a=b")], 400, "Bundle.entry[0].request.ifNoneExist"),
        (
            [entry("PUT", "Patient/a", patient(id="a"), ifMatch='W/"1"', ifNoneMatch="*")],
            400,
            "Bundle.entry[0].request.ifNoneMatch",
        ),
        ([entry("PUT", "Patient/a", patient(id="a"), ifMatch=1)], 400, "Bundle.entry[0].request.ifMatch"),
        ([entry("PUT", "Patient/a", patient(id="a"), ifMatch="one")], 400, "Bundle.entry[0]"),
        ([entry("POST", "Patient", patient(), ifNoneExist="_count=5")], 400, "Bundle.entry[0]"),
        ([entry("POST", "Patient", patient(), ifNoneExist="shoe=5")], 400, "Bundle.entry[0]"),
        ([entry("POST", "Patient", patient(), ifNoneExist="Observation?code=5")], 400, "Bundle.entry[0]"),
        ([entry("POST", "Observation", observation("Patientt?identifier=1"))], 400, "Bundle.entry[0]"),
        ([entry("POST", "Observation", observation("Patient?identifier=nobody"))], 400, "Bundle.entry[0]"),
        (
            [
                *[entry("POST", "Patient", patient("twin"))] * 2,
                entry("POST", "Observation", observation("Patient?identifier=twin")),
            ],
            412,
            "Bundle.entry[2]",
        ),
        (
            [entry("POST", "Patient", patient(), ONE), entry("POST", "Patient", patient(), ONE)],
            400,
            "Bundle.entry.fullUrl",
        ),
        ([entry("POST", "Patient", patient(), "Patient/1")], 400, "Bundle.entry[0].fullUrl"),
        (
            [entry("PUT", "Patient/a", patient(id="a")), entry("PUT", "Patient/a", patient(id="a"))],
            400,
            "Bundle.entry[1].request.url",
        ),
        (
            [entry("PUT", "Patient/a", patient(id="a")), entry("DELETE", "Patient/a")],
            400,
            "Bundle.entry[1].request.url",
        ),
        (
            [
                entry("PUT", f"Patient?identifier={SYSTEM}|1", patient("1")),
                entry("POST", "Patient", patient("2"), ifNoneExist=f"identifier={SYSTEM}|1"),
            ],
            400,
            "Bundle.entry[0].request.url",
        ),
        ([entry("POST", "Patient", patient()), entry("GET", "Patient/nobody")], 404, "Bundle.entry[1]"),
        ([entry("POST", "Patient", patient()), entry("GET", "Patient?name:shoe=x")], 400, "Bundle.entry[1]"),
        ([entry("POST", "Patient", patient()), entry("GET", "a/b/c/d")], 400, "Bundle.entry[1].request.url"),
        ([entry("POST", "AuditEvent", {"resourceType": "AuditEvent"})], 400, "Bundle.entry[0].request.url"),
        (["entry"], 400, "Bundle.entry[0].request"),
        ("entry", 400, "Bundle.entry"),
    ],
)
def test_a_bad_transaction_is_refused_whole_with_its_place(still_ehr, entries, status, place):
    """A clear error, nothing stored, never a 500."""
    answer = still_ehr.post("", {"resourceType": "Bundle", "type": "transaction", "entry": entries})

    assert answer.status_code == status, answer.data
    assert answer.json["resourceType"] == "OperationOutcome"
    assert places(answer)[0] == place, answer.data
    assert still_ehr.get("/_history").json["total"] == 0


@pytest.mark.parametrize(
    "body",
    [{"resourceType": "Patient"}, {"resourceType": "Bundle"}, {"resourceType": "Bundle", "type": "collection"}, []],
)
def test_only_a_batch_or_a_transaction_can_be_executed(ehr, body):
    """Another resource, no type, another type."""
    assert ehr.post("", body).status_code == 400


def test_a_bundle_over_the_limit_is_413(small_ehr):
    """The limit is a setting; batch and transaction alike."""
    for kind in ("batch", "transaction"):
        answer = send(small_ehr, *[entry("POST", "Patient", patient())] * 11, kind=kind)
        assert answer.status_code == 413
        assert answer.json["issue"][0]["code"] == "too-long"
    assert small_ehr.get("/_history").json["total"] == 0
    assert len(done(send(small_ehr, *[entry("POST", "Patient", patient())] * 10))) == 10


def test_reads_of_a_transaction_see_what_it_did(ehr):
    """By id, by search, by history, with a condition, and HEAD without a body."""
    ehr.put("/Patient/seen", patient(id="seen"))
    answer = send(
        ehr,
        entry("GET", "Patient/seen"),
        entry("GET", "Patient/seen/_history"),
        entry("GET", "Patient?gender=other"),
        entry("HEAD", "Patient/seen"),
        entry("GET", "Patient/seen/_history/1"),
        entry("GET", "Patient/seen", ifNoneMatch='W/"2"'),
        entry("PUT", "Patient/seen", patient(id="seen", gender="other")),
    )
    parts = answer.json["entry"]

    assert parts[0]["resource"]["gender"] == "other"
    assert parts[1]["resource"]["total"] == 2
    assert len(parts[2]["resource"]["entry"]) == 1
    assert "resource" not in parts[3]
    assert parts[4]["resource"]["meta"]["versionId"] == "1"
    assert (parts[5]["response"]["status"][:3], "resource" in parts[5]) == ("304", False)


def test_a_read_that_cannot_succeed_refuses_the_transaction(ehr):
    """Of what it deletes, of what was deleted before."""
    for name in ("now", "before"):
        ehr.put(f"/Patient/{name}", patient(id=name))
    ehr.delete("/Patient/before")

    assert send(ehr, entry("DELETE", "Patient/now"), entry("GET", "Patient/now")).status_code == 410
    assert send(ehr, entry("DELETE", "Patient/now"), entry("GET", "Patient/before")).status_code == 410
    assert ehr.get("/Patient/now").status_code == 200


def test_every_entry_needs_its_own_right(with_scopes, ehr):
    """A transaction allows nothing that its parts would not be allowed alone."""
    narrow = with_scopes("system/Patient.crus")

    assert send(narrow, entry("POST", "Patient", patient())).status_code == 200
    for refused in (
        entry("POST", "Observation", observation("Patient/x")),
        entry("DELETE", "Patient/x"),
        entry("GET", "Observation?code=x"),
        entry("GET", "Observation/x"),
        entry("POST", "Patient", patient(), ifNoneExist="identifier=x")
        | {"resource": patient(generalPractitioner=[{"reference": "Practitioner?identifier=x"}])},
    ):
        before = count(ehr, "/Patient")
        answer = send(narrow, entry("POST", "Patient", patient()), refused)
        assert answer.status_code in ((403,) if refused["request"]["method"] != "DELETE" else (403, 200)), answer.data
        assert count(ehr, "/Patient") == before + (answer.status_code == 200)


def test_a_transaction_is_one_row_with_an_event_for_each_entry_and_its_reads_have_their_own(ehr, auditor):
    """What was written stands in one row, found as the bundle and as each entry; what was read has rows of its own."""
    made = done(
        send(
            ehr,
            entry("POST", "Patient", patient(), ONE),
            entry("POST", "Observation", observation(ONE)),
            entry("GET", "Patient?gender=male"),
        )
    )
    person = made_id(made[0])
    events = [each["resource"] for each in auditor.get("/AuditEvent?date=ge2000&_count=50").json["entry"]]
    told = {event["id"]: event for event in events}
    whole = next(event for event in events if event["subtype"][0]["code"] == "transaction")
    entries = [told[f"{whole['id']}-{number}"] for number in (2, 3)]
    found = [event["subtype"][0]["code"] for event in events]

    assert found.count("transaction") == found.count("search-type") == 1
    assert [event["subtype"][0]["code"] for event in entries] == ["create", "create"]
    whats = json.dumps([event["entity"] for event in entries])
    assert f"Patient/{person}/_history/1" in whats
    assert f"Observation/{made_id(made[1])}/_history/1" in whats
    assert count(auditor, f"/AuditEvent?date=ge2000&patient=Patient/{person}&subtype=transaction") == 1


def test_an_empty_transaction_does_nothing(ehr):
    """And says so."""
    assert ehr.post("", {"resourceType": "Bundle", "type": "transaction"}).json["type"] == "transaction-response"


def test_decimals_survive_a_transaction_digit_for_digit(ehr):
    """The tree is parsed once and written once, and no number is touched."""
    body = json.dumps(
        bundle(
            entry("POST", "Patient", patient(), ONE),
            entry("POST", "Observation", observation(ONE, valueQuantity={"value": "@"})),
        )
    )
    parts = done(ehr.post("", body.replace('"@"', "36.70").encode()))

    assert b'"value":36.70' in ehr.get(f"/Observation/{made_id(parts[1])}").data


def test_a_large_transaction_is_one_commit(ehr):
    """Six hundred resources about one patient: all there, one version each, in one system history."""
    entries = [entry("POST", "Patient", patient(), ONE)] + [
        entry("POST", "Observation", observation(ONE)) for _ in range(600)
    ]
    parts = done(send(ehr, *entries))

    assert len({part["location"] for part in parts}) == 601
    assert count(ehr, f"/Observation?subject=Patient/{made_id(parts[0])}") == 600
    assert ehr.get("/_history?_count=0").json["total"] == 601


@pytest.mark.parametrize(
    "path", examples("bundles-and-smart-compartment/Normative", "Bundle-*.json"), ids=lambda path: path.stem
)
def test_no_sample_bundle_makes_the_server_fail(ehr, path):
    """Good and bad bundles of another server's tests: an answer for each, never a 500, never half a transaction."""
    raw = path.read_bytes()
    answer = ehr.post("", raw)

    assert answer.status_code < 500, answer.data
    assert answer.json["resourceType"] in ("Bundle", "OperationOutcome")
    for part in answer.json.get("entry", ()):
        assert part["response"]["status"][:3] < "500", part
    if answer.status_code >= 400:
        assert answer.json["issue"][0]["diagnostics"]
        assert ehr.get("/_history?_count=0").json["total"] == 0


def test_a_read_that_cannot_be_audited_discloses_nothing_and_denies_nothing(ehr, app, monkeypatch):
    """The transaction is done when its reads begin: one without a durable event is an entry that failed, without a body."""

    def fail(self, event):
        raise Unavailable("The log cannot be written.")

    monkeypatch.setattr(app.extensions["fhir_dmp"].store.__class__, "record", fail)
    answer = send(ehr, entry("PUT", "Patient/kept", patient("secret", id="kept")), entry("GET", "Patient/kept"))
    monkeypatch.undo()
    put, read = done(answer)

    assert (put["status"][:3], read["status"][:3]) == ("201", "503")
    assert b"secret" not in answer.data
    assert ehr.get("/Patient/kept").status_code == 200


@pytest.mark.parametrize("kind", ["batch", "transaction"])
def test_a_marked_bundle_is_known_to_be_done(app, ehr, kind):
    """The mark stands with the commit of a transaction, and with the event of a batch; not if it was refused."""
    server = app.extensions["fhir_dmp"]
    context = replace(server.operator_context("tester", "test"), subject=Subject("ehr-one", "ehr", ("system/*.cruds",)))
    server.perform(Call("bundle", body=bundle(entry("POST", "Patient", patient()), kind=kind), mark="good"), context)
    with pytest.raises(Invalid):
        server.perform(Call("bundle", body=bundle("no entry", kind="transaction"), mark="bad"), context)

    assert server.store.has_mark("good")
    assert not server.store.has_mark("bad")


def test_a_transaction_that_others_overtake_is_made_anew(ehr):
    """Eight bundles update the same resource and add one each: every update is a version of its own, every reference is right."""
    ehr.put("/Patient/busy", patient(id="busy"))

    def work(number):
        answer = send(
            ehr.fresh(),
            entry("PUT", "Patient/busy", patient(id="busy", multipleBirthInteger=number)),
            entry("POST", "Practitioner", {"resourceType": "Practitioner"}, ONE),
            entry("POST", "Observation", observation("Patient/busy", performer=[{"reference": ONE}])),
        )
        return answer.status_code

    assert at_once(work, range(8)) == [200] * 8
    assert ehr.get("/Patient/busy").json["meta"]["versionId"] == "9"
    assert count(ehr, "/Practitioner") == count(ehr, "/Observation") == 8
    for each in ehr.get("/Observation").json.get("entry", ()):
        assert ehr.get("/" + each["resource"]["performer"][0]["reference"]).status_code == 200


def test_answers_are_valid_bundles(ehr, app):
    """By our own tables and by another library: transaction-response, batch-response, history."""
    env = app.extensions["fhir_dmp"].env
    entries = (
        entry("PUT", "Patient/v", patient(id="v")),
        entry("POST", "Patient", patient("v"), ifNoneExist=f"identifier={SYSTEM}|v"),
        entry("DELETE", "Patient/nobody"),
        entry("GET", "Patient/v"),
    )
    answers = [
        send(ehr, *entries, kind=kind, headers={"Prefer": "return=representation"}) for kind in ("transaction", "batch")
    ]
    ehr.delete("/Patient/v")
    for answer in (*answers, ehr.get("/_history")):
        assert list(env.validate("Bundle", codec.loads(answer.data))) == []
        assert Bundle.model_validate_json(answer.data).entry

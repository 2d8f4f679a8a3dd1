"""Transactions and batches at the FHIR endpoint, on a real MongoDB. https://hl7.org/fhir/R4/http.html#transaction."""

from __future__ import annotations

import base64
import json
import threading

import pytest
from fhir.resources.R4B.bundle import Bundle
from msgspec.structs import replace

from fhir_dmp.access.model import Subject
from fhir_dmp.call import Call
from fhir_dmp.errors import Invalid, Unavailable
from fhir_dmp.fhir import codec
from tests.published import examples

SYSTEM = "urn:oid:1.2.250.1.213.1.4.10"
WORKERS = "urn:oid:1.2.250.1.71.4.2.2"
ONE = "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a"
TWO = "urn:uuid:88f151c0-a954-468a-88bd-5ae15c08e059"


def patient(value=None, **more):
    """Return a Patient, with an identifier of that value."""
    identifier = {"identifier": [{"system": SYSTEM, "value": value}]} if value else {}
    return {"resourceType": "Patient", **identifier, **more}


def observation(subject, **more):
    """Return an Observation about the subject."""
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "x"},
        "subject": {"reference": subject},
        **more,
    }


def entry(method, url, resource=None, full_url=None, **request):
    """Return one entry."""
    made = {"request": {"method": method, "url": url, **request}}
    if resource is not None:
        made["resource"] = resource
    if full_url is not None:
        made["fullUrl"] = full_url
    return made


def bundle(*entries, kind="transaction"):
    """Return the bundle to be sent."""
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


def send(caller, *entries, kind="transaction", **options):
    """Send a bundle and return the HTTP answer."""
    return caller.post("", bundle(*entries, kind=kind), **options)


def done(answer):
    """Return the response parts of the entries, in the order of the request."""
    assert answer.status_code == 200, answer.data
    return [each["response"] for each in answer.json["entry"]]


def made_id(response):
    """Return the id in a location."""
    return response["location"].split("/")[-3]


def count(caller, url):
    """Return how many rows match."""
    return caller.get(url + ("&" if "?" in url else "?") + "_total=accurate").json["total"]


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


def test_a_reference_to_no_entry_refuses_the_transaction(ehr):
    """urn:uuid and urn:oid mean an entry of the bundle: where none has that fullUrl, each place is told and nothing is stored."""
    lost, oid = "urn:uuid:00000000-0000-4000-8000-000000000001", "urn:oid:1.2.3"
    answer = send(
        ehr,
        entry("POST", "Patient", patient("kept-out"), ONE),
        entry("POST", "Observation", observation(ONE, performer=[{"display": "x"}, {"reference": lost}])),
        entry("PUT", "Observation/o", observation(oid, id="o", contained=[observation(lost, id="c")])),
    )

    assert answer.status_code == 400
    assert [issue["expression"] for issue in answer.json["issue"]] == [
        ["Bundle.entry[1].resource.performer[1].reference"],
        ["Bundle.entry[2].resource.subject.reference"],
        ["Bundle.entry[2].resource.contained[0].subject.reference"],
    ]
    assert "entry" not in ehr.get("/Patient?identifier=kept-out").json


@pytest.mark.parametrize(
    "patch",
    [
        [{"op": "add", "path": "/subject", "value": {"reference": TWO}}],
        [{"op": "add", "path": "/subject/reference", "value": TWO}],
    ],
)
def test_a_patch_refers_to_an_entry_or_is_refused(ehr, patch):
    """What a patch sets is held to the same."""
    send(ehr, entry("PUT", "Observation/patched", observation("Patient/x", id="patched")))
    binary = {"resourceType": "Binary", "data": base64.b64encode(json.dumps(patch).encode()).decode()}

    answer = send(ehr, entry("PATCH", "Observation/patched", binary))

    assert answer.status_code == 400
    assert answer.json["issue"][0]["expression"] == ["Bundle.entry[0]"]
    assert ehr.get("/Observation/patched").json["subject"] == {"reference": "Patient/x"}


def test_a_document_within_a_transaction_keeps_its_own_names(ehr):
    """The entries of a Bundle that is stored as one refer to each other by their fullUrls; other schemes of urn: are just names."""
    inner = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"fullUrl": TWO, "resource": observation(TWO)}],
    }
    answer = send(
        ehr,
        entry("POST", "Bundle", inner),
        entry("POST", "Observation", observation("urn:example:1")),
    )

    ids = [made_id(part) for part in done(answer)]
    kept = ehr.get(f"/Bundle/{ids[0]}").json
    assert kept["entry"][0]["resource"]["subject"]["reference"] == TWO
    assert ehr.get(f"/Observation/{ids[1]}").json["subject"]["reference"] == "urn:example:1"


def test_references_between_entries_are_rewritten(ehr):
    """urn:uuid, urn:oid, absolute and relative ones, in circles, in contained resources and in narratives; never identifiers."""
    oid, web = "urn:oid:1.2.3.4.5", "http://elsewhere.example/fhir/Observation/77"
    answer = send(
        ehr,
        entry(
            "POST",
            "Patient",
            patient(
                generalPractitioner=[{"reference": oid}],
                text={
                    "status": "generated",
                    "div": f'<div xmlns="http://www.w3.org/1999/xhtml"><a href="{oid}">Dr</a></div>',
                },
            )
            | {"identifier": [{"system": "urn:ietf:rfc:3986", "value": ONE}]},
            ONE,
        ),
        entry("POST", "Practitioner", {"resourceType": "Practitioner"}, oid),
        entry(
            "POST",
            "Observation",
            observation(
                ONE,
                performer=[{"reference": f"{oid}/_history/4"}],
                extension=[
                    {"url": "http://x.example/e", "valueUri": ONE},
                    {"url": "http://x.example/c", "valueCanonical": ONE},
                    {"url": "http://x.example/u", "valueUuid": ONE},
                    {"url": "http://x.example/o", "valueOid": oid},
                ],
            ),
            web,
        ),
        entry("POST", "Observation", observation(ONE, hasMember=[{"reference": web}]), TWO),
        entry(
            "POST",
            "DiagnosticReport",
            {
                "resourceType": "DiagnosticReport",
                "status": "final",
                "code": {"text": "r"},
                "contained": [observation(ONE, id="c")],
                "result": [{"reference": "#c"}, {"reference": "Observation/77"}],
            },
            "http://elsewhere.example/fhir/DiagnosticReport/1",
        ),
    )
    ids = [made_id(part) for part in done(answer)]
    person, first, second, report = (
        ehr.get(f"/{kind}/{ids[place]}").json
        for kind, place in (("Patient", 0), ("Observation", 2), ("Observation", 3), ("DiagnosticReport", 4))
    )

    assert person["generalPractitioner"] == [{"reference": f"Practitioner/{ids[1]}"}]
    assert f'href="Practitioner/{ids[1]}"' in person["text"]["div"]
    assert person["identifier"][0]["value"] == ONE
    assert first["subject"]["reference"] == f"Patient/{ids[0]}"
    assert first["performer"][0]["reference"] == f"Practitioner/{ids[1]}/_history/1"
    assert first["extension"][0]["valueUri"] == f"Patient/{ids[0]}"
    assert first["extension"][1]["valueCanonical"] == ONE
    assert (first["extension"][2]["valueUuid"], first["extension"][3]["valueOid"]) == (ONE, oid)
    assert second["hasMember"][0]["reference"] == f"Observation/{ids[2]}"
    assert report["contained"][0]["subject"]["reference"] == f"Patient/{ids[0]}"
    assert [each["reference"] for each in report["result"]] == ["#c", f"Observation/{ids[2]}"]
    assert count(ehr, f"/Observation?subject=Patient/{ids[0]}") == 2


@pytest.mark.parametrize("before", ["", "?", "Patient?", "http://127.0.0.1:8000/fhir/Patient?"])
def test_criteria_of_a_creation_may_say_what_they_are_about(ehr, before):
    """With the type before them, or the server's own URL; another server's is refused."""
    found = ehr.post("/Patient", patient("k")).json["id"]
    criteria = f"{before}identifier={SYSTEM}|k"

    alone = ehr.post("/Patient", patient("k"), headers={"If-None-Exist": criteria})
    (within,) = done(send(ehr, entry("POST", "Patient", patient("k"), ifNoneExist=criteria)))

    assert (alone.status_code, alone.json["id"]) == (200, found)
    assert (within["status"][:3], made_id(within)) == ("200", found)
    other = {"If-None-Exist": f"http://other.example/fhir/Patient?identifier={SYSTEM}|k"}
    assert ehr.post("/Patient", patient("k"), headers=other).status_code == 400


def test_a_reference_to_a_version_is_to_the_one_that_the_transaction_makes(ehr):
    """Of what is made, updated, found or left as it is, whichever version was written; what is in no entry stays."""
    for name in ("old", "same", "found"):
        ehr.put(f"/Patient/{name}", patient(name, id=name))
        ehr.put(f"/Patient/{name}", patient(name, id=name, active=True))
    base = "http://127.0.0.1:8000/fhir"
    urls = [ONE, f"{base}/Patient/old", f"{base}/Patient/same", TWO, f"{base}/Patient/other"]

    answer = send(
        ehr,
        entry("POST", "Patient", patient("new"), ONE),
        entry("POST", "Observation", observation(ONE, performer=[{"reference": f"{url}/_history/7"} for url in urls])),
        entry("PUT", "Patient/old", patient("old", id="old", active=False), urls[1]),
        entry("PUT", "Patient/same", patient("same", id="same", active=True), urls[2]),
        entry("POST", "Patient", patient("found"), TWO, ifNoneExist=f"identifier={SYSTEM}|found"),
    )
    made = done(answer)

    stored = ehr.get(f"/Observation/{made_id(made[1])}").json["performer"]
    assert [each["reference"] for each in stored] == [
        f"Patient/{made_id(made[0])}/_history/1",
        "Patient/old/_history/3",
        "Patient/same/_history/2",
        "Patient/found/_history/2",
        f"{base}/Patient/other/_history/7",
    ]


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
def test_a_bad_transaction_is_refused_whole_with_its_place(ehr, entries, status, place):
    """A clear error, nothing stored, never a 500."""
    answer = ehr.post("", {"resourceType": "Bundle", "type": "transaction", "entry": entries})

    assert answer.status_code == status, answer.data
    assert answer.json["resourceType"] == "OperationOutcome"
    assert places(answer)[0] == place, answer.data
    assert ehr.get("/_history").json["total"] == 0


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


def test_a_conditional_create_makes_one_and_finds_it_again(ehr):
    """201 first, 200 with the same location after; twice in one bundle makes one; a reference to its fullUrl follows."""
    criteria = {"ifNoneExist": f"identifier={SYSTEM}|42"}
    first = send(
        ehr,
        entry("POST", "Patient", patient("42"), ONE, **criteria),
        entry("POST", "Patient", patient("42"), TWO, **criteria),
        entry("POST", "Observation", observation(TWO)),
    )
    second = send(
        ehr, entry("POST", "Patient", patient("42"), ONE, **criteria), entry("POST", "Observation", observation(ONE))
    )

    made, twin, _ = done(first)
    found, about = done(second)
    assert [made["status"][:3], twin["status"][:3], found["status"][:3]] == ["201", "200", "200"]
    assert made["location"] == twin["location"] == found["location"]
    assert ehr.get(f"/Observation/{made_id(about)}").json["subject"]["reference"] == f"Patient/{made_id(made)}"
    assert count(ehr, f"/Observation?subject=Patient/{made_id(made)}") == 2
    assert count(ehr, "/Patient") == 1


def test_a_conditional_create_says_where_its_resource_is(ehr):
    """Also where it was there, and no body is asked for."""
    asked = {"If-None-Exist": f"identifier={SYSTEM}|42"}
    made = ehr.post("/Patient", patient("42"), headers=asked)
    found = [
        ehr.post("/Patient", patient("42"), headers={**asked, **more}) for more in ({}, {"Prefer": "return=minimal"})
    ]

    assert [each.status_code for each in (made, *found)] == [201, 200, 200]
    assert {each.headers["Location"] for each in found} == {made.headers["Location"]}
    assert found[1].data == b""


def test_the_criteria_of_a_transaction_are_asked_together_and_each_has_its_own_answer(ehr, app, monkeypatch):
    """One question for all conditional entries, one for all conditional references, one for who has the numbers: some match, some do not."""
    for number in ("1", "3"):
        send(ehr, entry("POST", "Patient", patient(number)))
    store, asked = type(app.extensions["fhir_dmp"].store), []
    whole = store.find_each
    monkeypatch.setattr(store, "find_each", lambda self, queries: asked.append(len(queries)) or whole(self, queries))

    answer = send(
        ehr,
        *[entry("POST", "Patient", patient(n), ifNoneExist=f"identifier={SYSTEM}|{n}") for n in "1234"],
        *[entry("POST", "Observation", observation(f"Patient?identifier={SYSTEM}|{n}")) for n in "13"],
    )

    assert [each["status"][:3] for each in done(answer)] == ["200", "201", "200", "201", "201", "201"]
    assert asked == [4, 2, 2]
    assert count(ehr, "/Patient") == 4
    for number in "13":
        assert count(ehr, f"/Observation?subject.identifier={SYSTEM}|{number}") == 1


def test_eight_parallel_conditional_creates_make_exactly_one(ehr):
    """Whoever comes second finds what the first one made, however either of them writes the criteria."""
    asked = f"identifier={SYSTEM}|race"
    written = [
        asked,
        f"?{asked}",
        f"Patient?{asked}",
        f"{asked}&_format=json",
        f"_sort=_id&{asked}",
        f"{asked}&_count=1",
    ]
    written += [f"{asked}&_pretty=true", f"identifier={SYSTEM}%7Crace"]
    statuses, start = [], threading.Barrier(8)

    def create(criteria):
        caller = ehr.fresh()
        start.wait()
        answer = send(
            caller,
            entry("POST", "Patient", patient("race"), ONE, ifNoneExist=criteria),
            entry("POST", "Observation", observation(ONE)),
        )
        statuses.append(done(answer)[0]["status"][:3])

    threads = [threading.Thread(target=create, args=(each,)) for each in written]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(statuses) == ["200"] * 7 + ["201"]
    (only,) = ehr.get("/Patient").json["entry"]
    assert count(ehr, f"/Observation?subject=Patient/{only['resource']['id']}") == 8


def test_a_conditional_create_that_matches_several_is_412(ehr):
    """Nothing of the transaction is stored."""
    for _ in range(2):
        ehr.post("/Patient", {**patient(), "identifier": [{"system": "urn:local", "value": "twice"}]})
    answer = send(
        ehr,
        entry("POST", "Observation", observation("Patient/x")),
        entry("POST", "Patient", patient(), ifNoneExist="identifier=urn:local|twice"),
    )

    assert answer.status_code == 412
    assert answer.json["issue"][0]["code"] == "multiple-matches"
    assert count(ehr, "/Observation") == 0


def test_conditional_update_and_delete_find_their_resource(ehr):
    """PUT and DELETE with criteria: the one that matches, or a new one, or nothing."""
    one, two = (ehr.post("/Patient", patient(value)).json["id"] for value in ("1", "2"))
    answer = send(
        ehr,
        entry("PUT", f"Patient?identifier={SYSTEM}|1", patient("1", gender="female")),
        entry("PUT", f"Patient?identifier={SYSTEM}|3", patient("3"), ONE),
        entry("DELETE", f"Patient?identifier={SYSTEM}|2"),
        entry("DELETE", f"Patient?identifier={SYSTEM}|nobody"),
        entry("POST", "Observation", observation(ONE)),
    )
    updated, created, deleted, nothing, about = done(answer)

    assert [part["status"][:3] for part in (updated, created, deleted, nothing)] == ["200", "201", "204", "204"]
    assert made_id(updated) == one
    assert ehr.get(f"/Patient/{one}").json["gender"] == "female"
    assert ehr.get(f"/Patient/{two}").status_code == 410
    assert ehr.get(f"/Observation/{made_id(about)}").json["subject"]["reference"] == f"Patient/{made_id(created)}"


def test_a_conditional_update_of_a_transaction_replaces_nobody_else(ehr):
    """Criteria that match nothing, and a body with the id of what is there: 409, and the other entries are not done either."""
    there = ehr.post("/Patient", patient("1")).json["id"]
    answer = send(
        ehr,
        entry("PUT", f"Patient?identifier={SYSTEM}|2", patient("2", id=there)),
        entry("POST", "Patient", patient("3")),
    )

    assert answer.status_code == 409
    assert answer.json["issue"][0]["expression"] == ["Bundle.entry[0].resource.id"]
    assert ehr.get(f"/Patient/{there}").headers["ETag"] == 'W/"1"'
    assert count(ehr, f"/Patient?identifier={SYSTEM}|3") == 0


def test_what_is_deleted_can_be_created_anew_in_the_same_transaction(ehr):
    """Deletions come first, so the conditional create finds nothing."""
    old = ehr.post("/Patient", patient("again")).json["id"]
    answer = send(
        ehr,
        entry("POST", "Patient", patient("again"), ifNoneExist=f"identifier={SYSTEM}|again"),
        entry("DELETE", f"Patient/{old}"),
    )
    created, deleted = done(answer)

    assert (created["status"][:3], deleted["status"][:3]) == ("201", "204")
    assert made_id(created) != old
    assert count(ehr, f"/Patient?identifier={SYSTEM}|again") == 1


def test_a_conditional_reference_finds_what_is_stored_and_what_the_bundle_makes(ehr):
    """Exactly one match, wherever it is; none or several refuse the whole."""
    stored = ehr.post(
        "/Practitioner", {"resourceType": "Practitioner", "identifier": [{"system": WORKERS, "value": "rpps"}]}
    ).json["id"]
    new = {"resourceType": "Organization", "identifier": [{"system": WORKERS, "value": "finess"}]}
    sent = observation(
        f"Patient?identifier={SYSTEM}|new",
        performer=[
            {"reference": f"Practitioner?identifier={WORKERS}|rpps"},
            {"reference": f"Organization?identifier={WORKERS}|finess"},
        ],
    )
    made = done(
        send(
            ehr,
            entry("POST", "Observation", sent),
            entry("POST", "Patient", patient("new"), ifNoneExist=f"identifier={SYSTEM}|new"),
            entry("POST", "Organization", new),
        )
    )
    read = ehr.get(f"/Observation/{made_id(made[0])}").json
    ambiguous = send(ehr, entry("POST", "Observation", sent), entry("POST", "Organization", new))

    assert read["subject"]["reference"] == f"Patient/{made_id(made[1])}"
    assert [each["reference"] for each in read["performer"]] == [
        f"Practitioner/{stored}",
        f"Organization/{made_id(made[2])}",
    ]
    assert ambiguous.status_code == 412
    assert "Several" in ambiguous.json["issue"][0]["diagnostics"]
    assert count(ehr, "/Observation") == 1


def test_a_conditional_reference_finds_what_only_its_author_may_search(ehr):
    """What this bundle makes is judged with its author, as it will be once stored: by any criteria, created or updated."""
    ehr.put("/Patient/known", patient(id="known"))
    for made in (
        entry("POST", "Patient", patient(name=[{"family": "Made"}])),
        entry("PUT", "Patient/new", patient(id="new", name=[{"family": "New"}])),
        entry("PUT", "Patient/known", patient(id="known", name=[{"family": "Known"}])),
    ):
        family = made["resource"]["name"][0]["family"]
        parts = done(send(ehr, entry("POST", "Observation", observation(f"Patient?family={family}")), made))
        read = ehr.get(f"/Observation/{made_id(parts[0])}").json

        assert read["subject"]["reference"] == f"Patient/{made_id(parts[1])}"


@pytest.mark.parametrize(
    ("reference", "made"),
    [
        ("Patient?family=q", {"resourceType": "Patient", "identifier": [3]}),
        ("Patient?family=q", {"resourceType": "Patient", "meta": "x"}),
        ("Binary?_id=q", {"resourceType": "Binary", "contentType": "text/plain", "securityContext": "x"}),
    ],
)
def test_what_a_conditional_reference_looks_through_is_valid_first(ehr, reference, made):
    """A malformed entry is told at its place, though nothing is written yet."""
    extension = [{"url": "urn:x", "valueReference": {"reference": reference}}]
    sent = observation("Patient/x", extension=extension)
    answer = send(ehr, entry("POST", "Observation", sent), entry("POST", made["resourceType"], made))

    assert answer.status_code == 400
    assert answer.json["issue"][0]["expression"][0].startswith("Bundle.entry[1].resource.")


def test_a_reference_to_what_the_transaction_deletes_finds_nothing(ehr):
    """A conditional reference sees the state after the deletions."""
    old = ehr.post("/Patient", patient("leaving")).json["id"]
    answer = send(
        ehr,
        entry("DELETE", f"Patient/{old}"),
        entry("POST", "Observation", observation(f"Patient?identifier={SYSTEM}|leaving")),
    )

    assert answer.status_code == 400
    assert ehr.get(f"/Patient/{old}").status_code == 200


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


def test_batch_entries_succeed_and_fail_by_themselves(ehr, auditor):
    """Each with the answer that it would have had alone, in the order of the request, and with its own event."""
    answer = send(
        ehr,
        entry("POST", "Patient", patient(gender=1)),
        entry("POST", "Patient", patient("ok")),
        {"resource": patient()},
        entry("GET", "Patient/nobody"),
        entry("PUT", "Patient/chosen", patient(id="chosen")),
        entry("POST", "Nonsense", {"resourceType": "Nonsense"}),
        entry("GET", "Nonsense"),
        entry("DELETE", "Patient/nobody"),
        entry("GET", "Patient?_id=chosen"),
        entry("POST", "Patient", patient("ok"), ifNoneExist=f"identifier={SYSTEM}|ok"),
        entry("PATCH", "Patient/chosen", {"resourceType": "Patient"}),
        entry("HEAD", "Patient/chosen"),
        kind="batch",
    )
    parts = done(answer)

    assert answer.json["type"] == "batch-response"
    assert [part["status"][:3] for part in parts] == [
        "400",
        "201",
        "400",
        "404",
        "201",
        "404",
        "404",
        "204",
        "200",
        "200",
        "400",
        "200",
    ]
    assert parts[0]["outcome"]["resourceType"] == "OperationOutcome"
    assert answer.json["entry"][8]["resource"]["entry"][0]["resource"]["id"] == "chosen"
    assert parts[9]["location"] == parts[1]["location"]
    assert "resource" not in answer.json["entry"][11]
    acts = [
        each["resource"]["subtype"][0]["code"]
        for each in auditor.get("/AuditEvent?date=ge2000&_count=50&agent=ehr-one").json["entry"]
    ]
    assert sorted(act for act in acts if act not in ("operator-token", "client-add")) == sorted(
        ["batch"] * 4 + ["create"] * 2 + ["read"] * 3 + ["update", "delete", "patch", "search-type"]
    )


def test_entries_of_a_batch_do_not_refer_to_each_other(ehr):
    """What names another entry would name nothing once it is stored: it is refused, with its place, and the others are done."""
    answer = send(
        ehr,
        entry("POST", "Patient", patient("1"), ONE),
        entry("POST", "Observation", observation(ONE), TWO),
        entry("POST", "Observation", observation("urn:uuid:00000000-0000-4000-8000-0000000000ff")),
        kind="batch",
    )
    made, refused, other = done(answer)

    assert [made["status"], refused["status"], other["status"]] == ["201 Created", "400", "201 Created"]
    assert refused["outcome"]["issue"][0]["expression"] == ["Bundle.entry[1].resource.subject.reference"]


def test_a_conditional_reference_is_resolved_or_refused(ehr):
    """Criteria are no address: alone and in a batch, by PUT and by patch, they are 400. A stored Bundle keeps what its entries say."""
    made = ehr.put("/Observation/o", observation("Patient/p", id="o")).json
    criteria = observation(f"Patient?identifier={SYSTEM}|1")
    held = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": criteria}]}
    path = {"op": "replace", "path": "/subject/reference", "value": criteria["subject"]["reference"]}
    refused = [
        ehr.post("/Observation", criteria),
        ehr.put("/Observation/o", {**criteria, "id": "o"}),
        ehr.patch("/Observation/o", [path]),
    ]
    (batched,) = done(send(ehr, entry("POST", "Observation", criteria), kind="batch"))

    assert [each.status_code for each in refused] == [400, 400, 400]
    assert batched["status"] == "400"
    assert ehr.get("/Observation/o").json == made
    assert ehr.post("/Bundle", held).status_code == 201


def test_a_batch_gives_no_right_that_its_entries_lack(with_scopes):
    """Refusals stand in their entry."""
    reader = with_scopes("system/Patient.rs")
    parts = done(
        send(
            reader,
            entry("POST", "Patient", patient()),
            entry("GET", "Patient"),
            entry("GET", "Observation"),
            kind="batch",
        )
    )

    assert [part["status"][:3] for part in parts] == ["403", "200", "403"]


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
    statuses = []

    def work(number):
        answer = send(
            ehr.fresh(),
            entry("PUT", "Patient/busy", patient(id="busy", multipleBirthInteger=number)),
            entry("POST", "Practitioner", {"resourceType": "Practitioner"}, ONE),
            entry("POST", "Observation", observation("Patient/busy", performer=[{"reference": ONE}])),
        )
        statuses.append(answer.status_code)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert statuses == [200] * 8
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

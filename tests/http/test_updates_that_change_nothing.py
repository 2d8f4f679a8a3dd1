"""An update by what is there already makes no version, and leaves its event as any. https://hl7.org/fhir/R4/http.html#update."""

from __future__ import annotations

import json

import pytest

from fhir_dmp.fhir import codec
from tests.access_world import changed, consent, document, observation
from tests.balp import claimed
from tests.balp_facts import FACTS

WEIGHT = b"""{"resourceType": "Observation", "id": "w", "status": "final", "code": {"text": "weight"},
 "meta": {"tag": [{"code": "a"}]}, "valueQuantity": {"value": %s, "unit": "kg"}}"""


def versions(caller, ref):
    """Return how many versions there are."""
    return caller.get(f"/{ref}/_history").json["total"]


@pytest.fixture
def weight(ehr):
    """An Observation of 36.70 kg, as it was answered."""
    answer = ehr.put("/Observation/w", WEIGHT % b"36.70")
    assert answer.status_code == 201
    return answer


def test_what_is_there_as_it_was_sent_stays_the_version_that_it_is(ehr, weight):
    """As it was sent at first, with other blanks, and as it was read: 200, the same version, the same moment, the same bytes."""
    blank = (WEIGHT % b"36.70").replace(b", ", b",\n   ")
    for body in (WEIGHT % b"36.70", blank, weight.data):
        again = ehr.put("/Observation/w", body)
        assert again.status_code == 200
        assert again.data == weight.data
        for header in ("ETag", "Last-Modified"):
            assert again.headers[header] == weight.headers[header]
    assert versions(ehr, "Observation/w") == 1


@pytest.mark.parametrize(
    "body",
    [WEIGHT % b"36.7", WEIGHT % b"36.71", (WEIGHT % b"36.70").replace(b'"a"', b'"b"')],
    ids=["36.7", "36.71", "tag"],
)
def test_another_digit_is_another_version(ehr, weight, body):
    """36.7 is not 36.70, and a tag is content."""
    assert ehr.put("/Observation/w", body).headers["ETag"] == 'W/"2"'
    assert versions(ehr, "Observation/w") == 2


def test_an_update_that_changes_nothing_leaves_its_event_and_says_so(ehr, auditor, weight):
    """The act is told as the update that was asked, of the version that stays; the item was not amended, and people read that in words."""
    ehr.put("/Observation/w", WEIGHT % b"36.70")
    ehr.put("/Observation/w", WEIGHT % b"36.71")
    found = auditor.get("/AuditEvent?date=ge2000&entity=Observation/w&subtype=update&_sort=date").json["entry"]
    events = [entry["resource"] for entry in found]
    items = [next(each for each in event["entity"] if "reference" in each["what"]) for event in events]

    assert [item["what"]["reference"].rpartition("/")[2] for item in items] == ["1", "1", "2"]
    assert [item.get("detail") for item in items] == [None, [{"type": "unchanged", "valueString": "true"}], None]
    assert [item.get("lifecycle", {}).get("code") for item in items] == ["3", None, "3"]
    assert ["n'a rien changé" in event["text"]["div"] for event in events] == [False, True, False]
    assert {(event["action"], event["outcome"]) for event in events} == {("U", "0")}
    assert [claimed(event, FACTS) for event in events] == [[], [], []]


def test_so_do_patches_and_entries_of_bundles(ehr, auditor, weight):
    """Of a transaction each entry by itself: one that changes something beside one that does not."""
    same = {"method": "PUT", "url": "Observation/w"}
    other = {"request": {"method": "PUT", "url": "Observation/v"}, "resource": {**json.loads(WEIGHT % b"1"), "id": "v"}}
    bundle = [{"request": same, "resource": codec.loads(weight.data)}, other]
    for kind in ("transaction", "batch"):
        sent = codec.dumps({"resourceType": "Bundle", "type": kind, "entry": bundle})
        assert ehr.post("", sent).status_code == 200
    assert ehr.patch("/Observation/w", [{"op": "replace", "path": "/status", "value": "final"}]).status_code == 200

    def told(query):
        found = auditor.get(f"/AuditEvent?date=ge2000&_sort=date&{query}").json["entry"]
        return ["unchanged" in json.dumps(entry["resource"]["entity"]) for entry in found]

    assert told("entity=Observation/w&subtype=update") == [False, True, True]
    assert told("entity=Observation/v&subtype=update") == [False, True]
    assert told("entity=Observation/w&subtype=patch") == [True]


def test_conditions_hold_though_nothing_changes(ehr, weight):
    """A stale If-Match is 412, the present one passes; criteria find what is updated."""
    body = WEIGHT % b"36.70"

    assert ehr.put("/Observation/w", body, headers={"If-Match": 'W/"9"'}).status_code == 412
    assert ehr.put("/Observation/w", body, headers={"If-None-Match": "*"}).status_code == 412
    for url, headers in (("/Observation/w", {"If-Match": 'W/"1"'}), ("/Observation?_id=w", {})):
        answer = ehr.put(url, body, headers=headers)
        assert (answer.status_code, answer.headers["ETag"]) == (200, 'W/"1"')


def test_what_was_deleted_comes_back_by_the_same_content(ehr, weight):
    """That it is there again is a change."""
    ehr.delete("/Observation/w")

    answer = ehr.put("/Observation/w", WEIGHT % b"36.70")

    assert (answer.status_code, answer.headers["ETag"]) == (201, 'W/"3"')


@pytest.mark.parametrize("kind", ["batch", "transaction"])
def test_entries_that_change_nothing_make_no_version(ehr, weight, kind):
    """Beside others that do; each is answered by what is there now, and an entry may read it."""
    entries = [
        {"request": {"method": "PUT", "url": "Observation/w"}, "resource": json.loads(WEIGHT % b"36.70")},
        {"request": {"method": "PUT", "url": "Patient/p"}, "resource": {"resourceType": "Patient", "id": "p"}},
        {"request": {"method": "GET", "url": "Observation/w"}},
    ]
    bundle = {"resourceType": "Bundle", "type": kind, "entry": entries}
    sent = json.dumps(bundle).replace("36.7,", "36.70,").encode()
    for status in ("201 Created", "200 OK"):
        answer = ehr.post("", sent, headers={"Prefer": "return=representation"})
        same, other, read = answer.json["entry"]
        assert (same["response"]["status"], same["response"]["etag"]) == ("200 OK", 'W/"1"')
        assert same["response"]["location"].endswith("/Observation/w/_history/1")
        assert (other["response"]["status"], other["response"]["etag"]) == (status, 'W/"1"')
        assert read["resource"] == same["resource"] == weight.json
    assert versions(ehr, "Observation/w") == versions(ehr, "Patient/p") == 1


@pytest.mark.parametrize("condition", [{"ifMatch": 'W/"1"'}, {}], ids=["a version", "none"])
def test_a_transaction_rests_on_what_it_changes_nothing_of(app, ehr, weight, monkeypatch, condition):
    """Somebody changes it while the transaction is on its way: its version is answered as it is then, or does not hold any more."""
    server, other = app.extensions["fhir_dmp"], ehr.fresh()
    commit = server.store.commit

    def overtaken(wanted):
        monkeypatch.setattr(server.store, "commit", commit)
        assert other.put("/Observation/w", WEIGHT % b"41").headers["ETag"] == 'W/"2"'
        return commit(wanted)

    monkeypatch.setattr(server.store, "commit", overtaken)
    entries = [
        {"request": {"method": "PUT", "url": "Observation/w", **condition}, "resource": json.loads(WEIGHT % b"36.70")},
        {"request": {"method": "PUT", "url": "Patient/p"}, "resource": {"resourceType": "Patient", "id": "p"}},
    ]
    sent = json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}).replace("36.7,", "36.70,")

    answer = ehr.post("", sent.encode())

    if condition:
        assert answer.status_code == 412
        assert ehr.get("/Patient/p").status_code == 404
    else:
        assert [entry["response"]["etag"] for entry in answer.json["entry"]] == ['W/"3"', 'W/"1"']


@pytest.mark.parametrize("kind", ["alone", "batch", "transaction"])
def test_what_is_found_by_less_than_now_is_found_by_all_of_it(app, ehr, weight, kind):
    """A row of an older form is indexed anew by who sends it as it is, and stays the version that it is."""
    rows, other = app.extensions["fhir_dmp"].store.database["current"], ehr.fresh()
    whole = rows.find_one({"_id": "Observation/w"})
    rows.update_one({"_id": "Observation/w"}, {"$set": {"t": ["Observation"], "sec": []}, "$unset": {"r": ""}})
    assert "entry" not in other.get("/Observation?value-quantity=36.70").json

    if kind == "alone":
        answer = ehr.put("/Observation/w", WEIGHT % b"36.70")
        assert (answer.status_code, answer.headers["ETag"], answer.data) == (200, 'W/"1"', weight.data)
    else:
        entry = b'{"request": {"method": "PUT", "url": "Observation/w"}, "resource": %s}' % (WEIGHT % b"36.70")
        answer = ehr.post("", b'{"resourceType": "Bundle", "type": "%s", "entry": [%s]}' % (kind.encode(), entry))
        assert answer.json["entry"][0]["response"]["etag"] == 'W/"1"'

    assert len(other.get("/Observation?value-quantity=36.70").json["entry"]) == 1
    assert {k: v for k, v in whole.items() if v} == {
        k: v for k, v in rows.find_one({"_id": "Observation/w"}).items() if v
    }
    assert other.get("/Observation/w").data == weight.data
    assert versions(ehr, "Observation/w") == 1


def test_who_may_not_update_it_learns_nothing_by_what_is_there(world):
    """The same refusal for the same content as for any other."""
    made = world.ehr.made(observation(world.patient))
    other = world.system("ehr-two", "ehr", "urn:s|2")

    same, another = (other.update(changed(made, **more)) for more in ({}, {"status": "amended"}))

    assert (same.status, same.text) == (another.status, another.text)
    assert same.status in (403, 409)


def test_the_holders_word_counts_though_a_system_wrote_the_same_before(world):
    """A Consent that an EHR kept opens nothing; the holder sends it unchanged, and it opens the record."""
    item = f"Observation/{world.ehr.made(observation(world.patient))['id']}"
    kept = world.ehr.made(consent(world.patient, "permit"))
    doctor = world.professional("1")
    assert doctor.read(item).status == 403

    said = world.holder().update(changed(kept))

    assert (said.status, said.body["meta"]["versionId"]) == (200, "2")
    assert doctor.read(item).status == 200


def test_an_entry_that_changes_labels_alone_is_answered_as_an_update(world):
    """The holder masks what others wrote, within a transaction too."""
    made = world.ehr.made(document(world.patient))
    masked = changed(made, meta={"security": document(world.patient, "MASQUE_PS")["meta"]["security"]})
    put = {"request": {"method": "PUT", "url": f"DocumentReference/{made['id']}"}, "resource": masked}

    answer = world.holder().transaction(put)

    assert answer.status == 200, answer
    assert answer.body["entry"][0]["response"]["status"] == "200 OK"
    assert answer.body["entry"][0]["response"]["etag"] == 'W/"2"'

"""Conditional create, update and delete, alone and in transactions. https://hl7.org/fhir/R4/http.html#ccreate."""

from __future__ import annotations

import pytest

from fhir_dmp.service import perform
from tests.at_once import at_once
from tests.bundles import ONE, SYSTEM, TWO, count, done, entry, made_id, observation, patient, send


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


def test_what_is_changed_by_criteria_is_told_where_it_is(ehr):
    """By its new version, though no body is asked for; by a patch likewise, and by the answer that nothing differed."""
    made = ehr.post("/Patient", patient("42")).json["id"]
    url, wanted = f"/Patient?identifier={SYSTEM}|42", {"headers": {"Prefer": "return=minimal"}}

    updated = ehr.put(url, patient("42", active=True), **wanted)
    patched = ehr.patch(url, [{"op": "add", "path": "/gender", "value": "female"}], **wanted)
    same = ehr.put(url, patient("42", active=True, gender="female"), **wanted)

    assert [(each.status_code, each.data) for each in (updated, patched, same)] == [(200, b"")] * 3
    assert [each.headers["Location"].split("/fhir/")[1] for each in (updated, patched, same)] == [
        f"Patient/{made}/_history/{version}" for version in (2, 3, 3)
    ]
    assert "Location" not in ehr.delete(f"/Patient/{made}").headers


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

    def create(criteria):
        answer = send(
            ehr.fresh(),
            entry("POST", "Patient", patient("race"), ONE, ifNoneExist=criteria),
            entry("POST", "Observation", observation(ONE)),
        )
        return done(answer)[0]["status"][:3]

    assert sorted(at_once(create, written)) == ["200"] * 7 + ["201"]
    (only,) = ehr.get("/Patient").json["entry"]
    assert count(ehr, f"/Observation?subject=Patient/{only['resource']['id']}") == 8


def test_what_another_makes_between_the_criteria_and_the_number_is_found(ehr, monkeypatch):
    """It is no second record of that person, and nobody is told to look for it: the same request again finds it."""
    asked, others, judge = {"If-None-Exist": f"identifier={SYSTEM}|race"}, [], perform.of_one_person

    def late(plan, context, env):
        if not others:
            others.append(None)
            others.append(ehr.fresh().post("/Patient", patient("race"), headers=asked))
        return judge(plan, context, env)

    monkeypatch.setattr(perform, "of_one_person", late)
    answer = ehr.post("/Patient", patient("race"), headers=asked)

    assert [each.status_code for each in (others[1], answer)] == [201, 200]
    assert answer.json["id"] == others[1].json["id"]


def test_who_asks_for_something_else_is_told_of_the_number_that_another_has(ehr):
    """Their criteria never find it, however often they are asked."""
    ehr.post("/Patient", patient("taken"))

    answer = ehr.post("/Patient", patient("taken"), headers={"If-None-Exist": "identifier=urn:local|other"})

    assert answer.status_code == 409


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

"""Who asks in vain for what is hidden from representatives: their journal tells them no more than the answer did, whoever asked.

A parent's own token is as good as any other's: by it an id is asked for, and by the child's journal it would be answered.
"""

from __future__ import annotations

import json

import pytest

from fhir_dmp.call import Call
from tests.access_world import consent, document
from tests.http.journal import acts, named, parent_of, traces
from tests.http.newest_row import HIDDEN, TEST, bundle, entry

KIND = "DocumentReference"


def put(own, patient):
    """Return an update."""
    return Call("update", KIND, own, body=json.dumps(document(patient, id=own)).encode())


ATTEMPTS = {
    "read": lambda own, _: Call("read", KIND, own),
    "vread": lambda own, _: Call("vread", KIND, own, "1"),
    "vread of no version": lambda own, _: Call("vread", KIND, own, "9"),
    "history": lambda own, _: Call("history-instance", KIND, own),
    "update": put,
    "update of a version": lambda own, patient: Call(
        "update", KIND, own, body=json.dumps(document(patient, id=own)).encode(), if_match='W/"1"'
    ),
    "patch": lambda own, _: Call("patch", KIND, own, body=json.dumps(TEST).encode()),
    "delete": lambda own, _: Call("delete", KIND, own),
    "$meta": lambda own, _: Call("operation", KIND, own, operation="meta"),
    "a batch": lambda own, _: bundle("batch", {"request": {"method": "GET", "url": f"{KIND}/{own}"}}),
    "a batch that changes": lambda own, patient: bundle(
        "batch", entry("PUT", f"{KIND}/{own}", document(patient, id=own))
    ),
    "a transaction": lambda own, patient: bundle(
        "transaction", entry("PUT", f"{KIND}/{own}", document(patient, id=own))
    ),
    "a transaction that deletes": lambda own, _: bundle(
        "transaction", {"request": {"method": "DELETE", "url": f"{KIND}/{own}"}}
    ),
}
SAYING_NOTHING = "a transaction that deletes"
"""It does what it says, and finds nothing to delete."""


def representative(world, patient):
    """Return a legal representative of who has the record."""
    related = {"resourceType": "RelatedPerson", "patient": {"reference": patient}, "active": True}
    return world.representative(f"RelatedPerson/{world.insurance.made(related)['id']}", patient)


BY = {
    "another holder": lambda world, other: world.holder(other),
    "a representative of another": representative,
    "another EHR": lambda world, _: world.system("ehr-two", "ehr", "urn:s|2"),
    "a professional for another": lambda world, other: world.professional("7", patient=other),
    "a professional for nobody": lambda world, _: world.professional("7", patient=False),
}


def ids(events):
    """Return which they are."""
    return [event["id"] for event in events]


def told_alike(event, own):
    """Return what an event tells, without what differs from one request to the next."""
    words = (event["outcome"], event.get("outcomeDesc"), event["meta"].get("security"), event["text"]["div"][:40])
    return (*words, named(event, own))


@pytest.mark.rule("L13", "F11")
@pytest.mark.parametrize("who", BY)
@pytest.mark.parametrize("how", ATTEMPTS)
def test_a_representative_learns_by_no_attempt_of_others_that_something_hidden_is_there(world, how, who):
    """The holder and the auditor see that somebody tried; who tried sees what they would of an id that nobody has."""
    father, other = parent_of(world), world.new_patient(birthDate="2011-05-31")
    world.holder(other).made(consent(other, "permit"))
    auditor = world.system("auditor-one", "auditor")
    caller, others_father = BY[who](world, other), representative(world, other)
    hidden = world.ehr.made(document(world.patient, HIDDEN))["id"]
    before, known = ids(traces(father)), ids(traces(world.holder()))
    told = {}
    for own in (hidden, "a" * 36):
        seen = ids(traces(others_father)), ids(traces(world.holder(other)))
        answer = caller.ask(ATTEMPTS[how](own, other))
        if "201" in json.dumps([answer.status, answer.body.get("entry")]):
            continue  # a system may have an id that nobody has
        journals = [
            [event for event in traces(each) if event["id"] not in had and "110101" not in codes(event)]
            for each, had in zip((others_father, world.holder(other)), seen, strict=True)
        ]
        told[own] = [[told_alike(event, own) for event in journal] for journal in journals]

    def new(actor, had, query=""):
        return [event for event in traces(actor, query) if event["id"] not in had and "110101" not in codes(event)]

    assert new(father, before) == []
    tried = new(world.holder(), known)
    if how != SAYING_NOTHING:
        assert [act[1] in ("4", "8") for act in acts(tried)] == [True]
        assert len(traces(auditor, f"date=ge2026&patient={world.patient}&outcome=4,8")) == 1
    assert hidden not in json.dumps(traces(father))
    if len(told) == 2:
        assert told[hidden] == told["a" * 36]


def codes(event):
    """Return the subtypes of an event."""
    return [each["code"] for each in event["subtype"]]


def test_a_search_that_several_are_named_by_hides_those_alone_whose_items_are_hidden(world):
    """By one request of somebody's EHR: the parent of the one is told of it as ever, and the parent of the other is not."""
    father, other = parent_of(world), world.new_patient(birthDate="2011-05-31")
    others_father = representative(world, other)
    hidden, open_one = (world.ehr.made(document(*each))["id"] for each in ((world.patient, HIDDEN), (other,)))
    assert world.ehr.search(KIND, f"_id={hidden},{open_one}&status=superseded").body["total"] == 0

    asked = "subtype=search-type&agent=ehr-one"
    journals = (father, world.holder(), others_father, world.holder(other))
    assert [len(traces(each, asked)) for each in journals] == [0, 1, 1, 1]


def test_what_was_hidden_and_is_deleted_is_told_to_its_holder_alone(world):
    """Who sees that it is gone may know that it was there; a representative may not, nor by whom it is asked for again."""
    father = parent_of(world)
    hidden = world.ehr.made(document(world.patient, HIDDEN))["id"]
    world.ehr.delete(f"{KIND}/{hidden}")
    assert world.holder().read(f"{KIND}/{hidden}").status == 410

    asked = f"subtype=read&agent={world.patient}&outcome=4"
    assert [len(traces(each, asked)) for each in (father, world.holder())] == [0, 1]


def test_a_change_that_is_refused_of_what_is_hidden_from_representatives_is_hidden_from_them(world):
    """A doctor who sees it and did not write it: that they tried tells that it is there."""
    father = parent_of(world)
    world.holder().made(consent(world.patient, "permit"))
    doctor, found = world.professional("7"), {}
    for flags in ((HIDDEN,), ()):
        item = world.ehr.made(document(world.patient, *flags))
        assert doctor.read(f"{KIND}/{item['id']}").status == 200
        assert doctor.delete(f"{KIND}/{item['id']}").status == 403
        asked = "subtype=delete&agent=Practitioner/p7&outcome=8"
        found[flags] = [len(traces(each, asked)) for each in (father, world.holder())]

    assert found == {(HIDDEN,): [0, 1], (): [1, 2]}

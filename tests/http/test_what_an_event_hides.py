"""One act may touch what is hidden from representatives and what is not: each AuditEvent of it is told to whom it may be.

What is hidden leaves its trace with its holder, and no trace of anybody else's says that it is there.
"""

from __future__ import annotations

import json

import pytest

from fhir_dmp.call import Call
from tests.access_world import document
from tests.http.journal import acts, parent_of, traces
from tests.http.newest_row import HIDDEN, bundle, entry, rows
from tests.http.test_attempts_at_what_is_hidden import representative

KIND = "DocumentReference"
BY_EHR = "agent=ehr-one"


@pytest.fixture
def families(world):
    """Two records with a parent each: the first's parent, its holder, the second's, its holder."""
    other = world.new_patient(birthDate="2011-05-31")
    return parent_of(world), world.holder(), representative(world, other), world.holder(other)


def by_condition(own, other):
    """Return a create unless there is the item in another state."""
    return Call("create", KIND, body=json.dumps(document(other)).encode(), criteria=f"_id={own}&status=superseded")


def by_reference(own, other):
    """Return a transaction that refers to the item by criteria."""
    tree = document(other, context={"related": [{"reference": f"{KIND}?_id={own}&status=current"}]})
    return bundle("transaction", entry("POST", KIND, tree))


def by_entry(own, other):
    """Return a transaction that makes one thing, and another unless there is the item."""
    made = entry("POST", KIND, document(other), ifNoneExist=f"_id={own}&status=superseded")
    return bundle("transaction", entry("POST", KIND, document(other)), made)


def by_deletion(own, other):
    """Return a transaction that deletes the item, and makes something else."""
    return bundle(
        "transaction", {"request": {"method": "DELETE", "url": f"{KIND}/{own}"}}, entry("POST", KIND, document(other))
    )


WAYS = {
    "a condition": (by_condition, [("search-type", "0")]),
    "a reference": (by_reference, [("transaction", "0")]),
    "an entry's condition": (by_entry, [("transaction", "0")]),
    "a deletion": (by_deletion, [("transaction", "0"), ("delete", "0")]),
}


@pytest.mark.rule("L13", "L16")
@pytest.mark.parametrize("flags", [(HIDDEN,), ()])
@pytest.mark.parametrize("how", WAYS)
def test_what_is_made_beside_what_is_hidden_is_told_to_the_holder_of_it_and_to_no_parent(world, families, how, flags):
    """Something visible of another record is made in the same act: that its parent is told of alone."""
    own = world.ehr.made(document(world.patient, *flags))["id"]
    before = [{event["id"] for event in traces(each, BY_EHR)} for each in families]
    make, expected = WAYS[how]
    answer = world.ehr.ask(make(own, families[3].subject.record))
    assert answer.status in (200, 201), answer
    seen = [
        [event for event in traces(each, BY_EHR) if event["id"] not in had]
        for each, had in zip(families, before, strict=True)
    ]

    assert acts(seen[1]) == expected
    assert acts(seen[0]) == ([] if flags else expected)
    assert [acts(events) for events in seen[2:]] == [acts(seen[2])] * 2
    assert own not in json.dumps(seen[2:])
    assert "create" in json.dumps(acts(seen[2]))


def test_the_entries_of_a_transaction_are_counted_without_those_hidden_in_another_record(world, families):
    """As many as its journals tell the parent of."""
    own = world.ehr.made(document(world.patient, HIDDEN))["id"]
    before = {event["id"] for event in traces(families[2], BY_EHR)}
    assert world.ehr.ask(by_deletion(own, families[3].subject.record)).status == 200
    events = [event for event in traces(families[2], BY_EHR) if event["id"] not in before]

    assert sorted(acts(events)) == [("create", "0"), ("transaction", "0")]
    assert "transaction: 1 entries" in json.dumps(events)


@pytest.mark.rule("L13")
@pytest.mark.parametrize("how", ["an entry's condition", "a deletion"])
def test_an_act_has_one_row_whatever_is_hidden_of_it(world, families, how):
    """By the leaves that it takes in the log nobody learns that something of it is hidden."""
    made = {}
    for flags in ((HIDDEN,), ()):
        own = world.ehr.made(document(world.patient, *flags))["id"]
        before = len(rows(world, 100))
        world.ehr.ask(WAYS[how][0](own, families[3].subject.record))
        made[flags] = len(rows(world, 100)) - before

    assert made == {(HIDDEN,): 1, (): 1}


def test_an_attempt_at_what_is_hidden_has_as_many_rows_as_one_at_nothing(world, families):
    """Where several are named by it, of whom one may be told."""
    hidden, shown = (
        world.ehr.made(document(*each))["id"] for each in ((world.patient, HIDDEN), (families[3].subject.record,))
    )
    made = {}
    for own in (hidden, "a" * 36):
        before = len(rows(world, 100))
        world.ehr.search(KIND, f"_id={own},{shown}&status=superseded")
        made[own] = len(rows(world, 100)) - before

    assert made == {hidden: 1, "a" * 36: 1}


@pytest.mark.rule("L13")
def test_a_parent_sees_no_gap_where_something_hidden_was_changed_with_something_else(world):
    """One transaction, one record: neither its entries nor the numbers of its events tell that there was another."""
    father, told = parent_of(world), {}
    kept = world.ehr.made(document(world.patient))["id"]
    for flags in ((HIDDEN,), ()):
        own = world.ehr.made(document(world.patient, *flags))["id"]
        deleted = {"request": {"method": "DELETE", "url": f"{KIND}/{own}"}}
        change = entry("PUT", f"{KIND}/{kept}", document(world.patient, id=kept, description=own))
        seen = {event["id"] for event in traces(father, BY_EHR)}
        assert world.ehr.ask(bundle("transaction", deleted, change)).status == 200
        told[flags] = [event for event in traces(father, BY_EHR) if event["id"] not in seen]
        holders = traces(world.holder(), BY_EHR)[:3]
        assert [acts([event])[0][0] for event in holders].count("delete") == 1
        assert "transaction: 2 entries" in json.dumps(holders)

    assert [sorted(acts(events)) for events in told.values()] == [
        [("transaction", "0"), ("update", "0")],
        [("delete", "0"), ("transaction", "0"), ("update", "0")],
    ]
    main, update = sorted(told[(HIDDEN,)], key=lambda event: len(event["id"]))
    assert update["id"] == f"{main['id']}-2"
    assert "transaction: 1 entries" in json.dumps(main)


@pytest.mark.rule("L13")
def test_a_page_with_something_hidden_is_told_to_a_parent_as_one_without(world):
    """Neither masked nor named: that there is something would be told by its mask."""
    father = parent_of(world)
    hidden, shown = (world.ehr.made(document(world.patient, *flags))["id"] for flags in ((HIDDEN,), ()))
    told = {}
    for asked in (f"_id={hidden},{shown}", f"_id={'a' * 36},{shown}"):
        assert world.ehr.search(KIND, asked).status == 200
        event = traces(father, f"subtype=search-type&{BY_EHR}")[0]
        told[asked] = [event["meta"].get("security"), event["entity"]]
        assert hidden not in json.dumps(event)
        assert shown in json.dumps(event)
    mixed, plain = told.values()

    assert mixed == plain
    assert f"{hidden}/_history/1" in json.dumps(traces(world.holder(), f"subtype=search-type&{BY_EHR}"))

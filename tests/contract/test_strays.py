"""Rows that somebody put into the log, and what lies beside the heads made to excuse them: the verifier names each."""

from __future__ import annotations

import pytest
from bson import Code, Decimal128, Int64, ObjectId

from fhir_dmp.store.query import EVERYTHING, In
from fhir_dmp.stores.mongo.block_rows import rows_in
from fhir_dmp.stores.mongo.blocks import documents_of
from tests.packed_log import blocks

MONTH = "audit_2026_10"
VICTIM = "Patient/victim"
LACKING = object()


@pytest.fixture
def world(forty):
    """A log of two writers with forty sealed events under five heads."""
    return forty


def last(world):
    """Return the last sealed row of a writer."""
    return world.rows.find_one({"n": 20})


def forged(world, **more):
    """Return an event as a row of a writer's epoch, whole but for its chain; ``more`` is put into it, or taken from it."""
    row, event = last(world), world.event("forged", VICTIM)
    made = {"_id": event.id, "rec": event.recorded, "b": event.body, **event.index}
    made |= {name: row[name] for name in ("w", "e", "p", "h")} | more
    return {name: value for name, value in made.items() if value is not LACKING}


def shown(store, patient=VICTIM):
    """Return the ids of the patient's events, as a search tells them."""
    return [part.event.id for part in store.search_events(In("pt", (patient,)), 100, None)[0]]


def found(world):
    """Return the findings, which are the same whether what events are found by is looked at or not."""
    findings = world.verify().findings
    assert world.verify(index=True).findings == findings
    return findings


NO_NUMBERS = {
    "a fraction": 3.5,
    "a whole one as a fraction": 3000.0,
    "a text": "5",
    "nothing": None,
    "absent": LACKING,
    "zero": 0,
    "below zero": -5,
    "far below zero": Int64(-(2**62)),
    "none": float("nan"),
    "endless": float("inf"),
    "endless below zero": float("-inf"),
    "decimal": Decimal128("3.5"),
    "a truth": True,
    "several": [3.5],
    "one among several": [30],
}
"""What stands for the number of a row."""


@pytest.mark.parametrize("number", NO_NUMBERS)
def test_a_row_whose_number_is_none_is_named(world, number):
    """Searches show it and count it like any other; no chain has a place for it."""
    row = forged(world, n=NO_NUMBERS[number])
    world.rows.insert_one(row)
    assert shown(world.stores[0]) == [row["_id"]]

    (finding,) = found(world)
    assert finding.kind == "inserted"
    assert row["_id"] in finding.text


@pytest.mark.parametrize("name", ["w", "e"])
@pytest.mark.parametrize(
    "value",
    [LACKING, None, 5, ["7r"], {"a": 1}, Code("7r"), ObjectId(b"twelve bytes")],
    ids=["lacking", "nothing", "number", "list", "object", "code", "id"],
)
def test_a_row_whose_chain_is_none_is_named(world, name, value):
    """Where the name of a chain is no text; what is no text stops nothing."""
    row = forged(world, n=1000, **{name: value})
    world.rows.insert_one(row)

    (finding,) = found(world)
    assert finding.kind == "inserted"
    assert row["_id"] in finding.text


def test_a_row_that_stands_in_several_chains_is_named(world):
    """Whoever asks for the rows of a chain finds it by one of its names."""
    row = forged(world, n=1000)
    world.rows.insert_one(row | {"w": [row["w"], "another"]})

    (finding,) = found(world)
    assert (finding.kind, row["_id"] in finding.text) == ("inserted", True)


@pytest.mark.parametrize("size", [0, -7, -1000, 0.5, 1000, Decimal128("7"), float("nan"), "x"], ids=str)
@pytest.mark.parametrize("number", [3.25, 21])
def test_a_row_that_says_how_many_it_is_counts_as_one(world, size, number):
    """A size belongs to a block: a row of none, or of fewer, would make up for itself and for others."""
    row = forged(world, n=number, size=size)
    world.rows.insert_one(row)
    assert shown(world.stores[0]) == [row["_id"]]

    assert any(row["_id"] in finding.text for finding in found(world))


def test_a_block_that_stands_before_the_first_row_is_named(packed):
    """A true copy of another, and one whose rows are nobody's: no leaf is of a number below one."""
    block = blocks(packed)[0]
    rows = rows_in(dict(block), MONTH)
    events = [packed.event("forged", VICTIM) for _ in range(3)]
    made = [
        rows[0]._replace(id=each.id, body=each.body, terms=each.index, number=at - 10) for at, each in enumerate(events)
    ]
    for document in ({**block, "_id": "copy", "n": -40}, *documents_of(made)):
        packed.rows.insert_one(document)
        (finding,) = found(packed)
        assert (finding.kind, document["_id"] in finding.text) == ("inserted", True)
        packed.rows.delete_one({"_id": document["_id"]})
    assert found(packed) == []


def test_more_rows_than_leaves_are_told_even_if_none_of_them_is(packed):
    """A document that counts as many and says what one row is: where nobody finds the others, they are told by their number."""
    row = packed.rows.find_one({"rows": {"$exists": False}})
    packed.rows.delete_one({"_id": row["_id"]})
    packed.rows.insert_one({**row, "rows": [], "size": 3})

    assert any("has 2 rows in audit_2026_10 more than leaves" in finding.text for finding in found(packed))


def test_a_removal_that_is_refused_for_a_stray_row_is_explained_by_the_verifier(packed):
    """Whoever is sent to the verifier is told which row it is."""
    row = packed.rows.find_one({"rows": {"$exists": False}})
    packed.rows.insert_one({**row, "_id": "stray", "n": "5"})

    assert packed.store.count_events(EVERYTHING).told == 26
    assert any("stray" in finding.text for finding in found(packed))


def run_of(row, leaf, **more):
    """Return a run of the row alone, as if it had this leaf."""
    return {"_id": leaf, "size": 1, "w": row["w"], "e": row["e"], "n": row["n"], "m": MONTH} | more


@pytest.mark.parametrize("leaf", [10**9, 40, 0.5, 1, 38.0, "x", None, float("inf"), Decimal128("40"), True], ids=str)
@pytest.mark.parametrize("number", [1000, 3.5])
def test_a_run_that_no_leaf_uses_excuses_no_row(world, leaf, number):
    """Far behind the last head, right behind it, across others, before the first: the row is named, and so is the run."""
    row = forged(world, n=number)
    world.rows.insert_one(row)
    world.seals["runs"].insert_one(run_of(row, leaf))

    findings = found(world)
    assert any(row["_id"] in finding.text for finding in findings)
    assert any(finding.kind == "tree altered" for finding in findings)


@pytest.mark.parametrize(
    "more", [{"size": 2000}, {"size": "x"}, {"size": 5.0}, {"n": -1}, {"w": ["7r"]}, {"m": None}], ids=str
)
def test_a_run_that_was_altered_is_named_and_stops_nothing(world, more):
    """Longer than its leaves, or of no size, number, writer or month at all."""
    world.rows.insert_one(forged(world, n=1000))
    final = world.seals["runs"].find_one(sort=[("_id", -1)])
    world.seals["runs"].update_one({"_id": final["_id"]}, {"$set": more})

    assert {"tree altered", "missing"} <= {finding.kind for finding in found(world)}


def test_a_run_of_a_row_beyond_the_last_head_is_named_by_itself(world):
    """The next head could not be stored beside it."""
    world.seals["runs"].insert_one(run_of(last(world) | {"n": 21}, 40))

    assert "40" in next(finding.text for finding in found(world) if finding.kind == "tree altered")


@pytest.mark.parametrize(
    "more", [{"n": 21}, {"n": 19}, {"h": b"x" * 32}, {"n": "21"}, {"h": 5}, {"rec": None}], ids=str
)
def test_a_link_that_is_not_of_the_last_row_with_a_leaf_is_named(world, more):
    """Sealing goes on after it, and rows before that would never be sealed."""
    row = last(world)
    world.seals["links"].update_one({"_id": f"{row['w']}/{row['e']}"}, {"$set": more})

    (finding,) = found(world)
    assert finding.kind == "tree altered"
    assert f"{row['w']}/{row['e']}" in finding.text


def test_a_link_that_was_taken_away_or_made_up_is_named(world):
    """Of an epoch that has leaves, and of one that has none; what is no link is nobody's."""
    row, links = last(world), world.seals["links"]
    known = links.find_one_and_delete({"_id": f"{row['w']}/{row['e']}"})
    (finding,) = found(world)
    assert (finding.kind, row["e"] in finding.text) == ("tree altered", True)
    links.insert_many([known, {"_id": f"{row['w']}/feedfeedfeed", "n": 3, "h": b"x" * 32, "rec": 1}, {"_id": 5}])
    (finding,) = found(world)
    assert (finding.kind, "feedfeedfeed" in finding.text) == ("tree altered", True)


def test_a_link_that_was_moved_hides_no_row_behind_the_leaves(world):
    """A row that does not follow on the last one is not excused by a link that says it does."""
    row = forged(world, n=21)
    world.rows.insert_one(row)
    world.seals["links"].update_one({"_id": f"{row['w']}/{row['e']}"}, {"$set": {"n": 21, "h": row["h"]}})

    findings = found(world)
    assert [finding.kind for finding in findings] == ["tree altered", "chain broken"]
    assert row["_id"] in findings[1].text


def test_what_is_sealed_while_the_log_is_verified_is_nothing_wrong(world, monkeypatch):
    """Rows, runs and links go on between one question and the next."""
    ledger = world.ledger()

    def going_on(ask):
        def asked(*args, **more):
            world.write(world.stores[0], 2)
            world.leader.tick()
            yield from ask(*args, **more)

        return asked

    for name in ("links", "every_run", "openings", "periods", "tallies", "rows_of"):
        monkeypatch.setattr(ledger, name, going_on(getattr(ledger, name)))
    monkeypatch.setattr(world, "ledger", lambda: ledger)

    assert world.verify().findings == []


def test_many_rows_more_than_leaves_are_told_by_the_first(packed):
    """Each of a copied block stands where another does; enough is enough."""
    month = packed.database[f"{packed.name}_log"]["audit_2026_01"]
    month.create_index([("w", 1), ("e", 1), ("n", 1)], unique=True)
    month.create_index([("rows.i", 1)], sparse=True)
    for block in blocks(packed):
        month.insert_one(block)

    findings = packed.verify().findings
    assert len(findings) == 20
    assert {finding.kind for finding in findings} == {"inserted"}


NO_EPOCHS = {
    "without a writer": {"e": "e", "at": 5},
    "whose writer is a list": {"w": ["7r"], "e": "e", "at": 5},
    "whose name is an object": {"w": "7r", "e": {"a": 1}, "at": 5},
    "without a time": {"w": "7r", "e": "e"},
    "of a time that is none": {"w": "7r", "e": "e", "at": "5"},
    "of a time without end": {"w": "7r", "e": "e", "at": float("inf")},
    "of a head that is none": {"w": "7r", "e": "e", "at": 5, "head": "x"},
    "after what is no place": {"w": "7r", "e": "e", "at": 5, "after": 5},
    "after a part of a place": {"w": "7r", "e": "e", "at": 5, "after": {"e": "x"}},
    "closed at what is no place": {"w": "7r", "e": "e", "at": 5, "closed": [1]},
}


@pytest.mark.parametrize("shape", NO_EPOCHS)
def test_what_is_registered_as_an_epoch_and_is_none_is_named_and_stops_nothing(world, shape):
    """Neither who verifies nor who seals."""
    world.database[f"{world.name}_log"]["epochs"].insert_one({"_id": "odd", **NO_EPOCHS[shape]})
    (finding,) = found(world)
    assert (finding.kind, "odd" in finding.text) == ("altered", True)

    world.leader.release()
    world.write(world.stores[0], 3)
    world.leader = world.sealer()
    world.leader.tick()
    assert world.ledger().size() == 43


def test_rows_of_an_epoch_that_is_registered_no_more_are_named(world):
    """What took the place of its registration is named too."""
    row = last(world)
    world.database[f"{world.name}_log"]["epochs"].update_one({"w": row["w"]}, {"$set": {"w": [row["w"]]}})

    assert {finding.kind for finding in found(world)} == {"inserted", "altered"}


@pytest.mark.parametrize("month", ["audit_2026_01", "audit_2026_13", "audit_"])
def test_a_row_that_waits_in_another_month_is_named(world, month):
    """It is told by no page of the time that it says, and is never sealed."""
    world.write(world.stores[0], 1)
    moved = world.rows.find_one_and_delete({"n": 21})
    world.rows.database[month].insert_one(moved)

    [finding] = world.verify().findings
    assert (finding.kind, moved["_id"] in finding.text) == ("misfiled", True)

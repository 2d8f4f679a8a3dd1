"""Leaves that writers hand in, on a real MongoDB: what is sealed is what was written, and who hands in nothing is read."""

from __future__ import annotations

import json

import pytest
from bson import encode
from bson.raw_bson import RawBSONDocument

from fhir_dmp.audit.event import submit
from fhir_dmp.service.audit_verify import verify_export
from fhir_dmp.store.chain import HASH_SIZE
from fhir_dmp.store.change import Commit
from fhir_dmp.stores.mongo.packing import unpack
from tests.contract.test_export import exported, stranger
from tests.contract.test_reading import WRONG_LENGTH, document, element, text
from tests.sealed_world import IDS, sealed_world
from tests.unit.audit.world import context


@pytest.fixture
def world(mongodb_uri, database_name, tmp_path):
    """An empty log."""
    with sealed_world(mongodb_uri, database_name, tmp_path) as made:
        yield made


class Reading:
    """A ledger that tells how many rows the sealer has read."""

    def __init__(self, ledger):
        self._ledger = ledger
        self.rows = 0

    def __getattr__(self, name):
        """Hand on all else."""
        return getattr(self._ledger, name)

    def fresh(self, links, limit):
        """Read rows, and count them."""
        found = self._ledger.fresh(links, limit)
        self.rows += len(found)
        return found


def sealed(world, leaves):
    """Verify whole, the index too, and hold the number of leaves."""
    report = world.verify(index=True)
    assert report.findings == []
    assert (report.leaves, report.unsealed) == (leaves, 0)


def test_leaves_that_are_handed_in_are_those_of_the_rows(world):
    """The verifier, who reads the rows alone, finds each as it was sealed; the sealer has read none."""
    ledger = Reading(world.ledger())
    store, sealer = world.writer(), world.sealer(ledger)
    handing = world.handing(store)
    for count in (7, 5):
        world.write(store, count)
        handing.tick()
        assert sealer.tick()
        world.later(seconds=1)

    assert ledger.rows == 0
    sealed(world, 12)
    assert world.seals["handed"].count_documents({}) == 0


@pytest.mark.parametrize("handed", [True, False])
@pytest.mark.parametrize(
    ("recorded", "at"), [("2026-10-20T10:00:00Z", "1792490400000000"), ("1970-01-01T00:00:01Z", 10**6)]
)
def test_an_event_of_a_clients_own_is_sealed_as_it_is_read(world, handed, recorded, at):
    """It is found by moments of its own, which come back from the database as another kind of number: handed in or read, a leaf is the same."""
    store, sealer = world.writer(), world.sealer()
    handing = world.handing(store)
    period = {"start": "2026-10-19T08:00:00Z"}
    tree = {"resourceType": "AuditEvent", "recorded": recorded, "period": period, "source": {}}
    store.record(submit(tree, context(), IDS.new(), world.clock.micros(), IDS.new))
    world.write(store, 2)
    if handed:
        handing.tick()
    sealer.tick()
    lines = exported(world)
    told = json.loads(lines[1])["entry"]["index"]
    bare = [line.rstrip(b"\n") for line in lines]

    sealed(world, 3)
    assert (told["at"], told["ps"]) == (at, "1792396800000000")
    assert verify_export(bare, world.published(), lambda _: lambda _: None, index=True).findings == []
    assert stranger(world, lines) == (True, "whole\n")


def test_an_event_that_is_altered_before_its_head_is_found(world):
    """Its leaf was handed in as it was written: to alter it within the second helps nobody."""
    store, sealer = world.writer(), world.sealer()
    handing = world.handing(store)
    ids = world.write(store, 5)
    handing.tick()
    row = world.rows.find_one({"_id": ids[2]})
    world.rows.update_one({"_id": ids[2]}, {"$set": {"b": unpack(row["b"]).replace(b"GET", b"PUT")}})
    assert sealer.tick()

    report = world.verify()

    assert report.leaves == 5
    assert report.findings
    assert all(ids[2] in str(finding) for finding in report.findings[:1])


def test_rows_of_a_writer_that_ends_without_a_word_are_read(world):
    """They wait for some seconds, while it may still hand them in; a writer that never did is read at once."""
    store, silent, sealer = world.writer(), world.writer(), world.sealer()
    handing = world.handing(store)
    world.write(store, 4)
    handing.tick()
    sealer.tick()
    world.write(store, 3)
    world.write(silent, 2)
    sealer.tick()
    assert world.verify().unsealed == 3
    world.later(seconds=4)
    sealer.tick()

    sealed(world, 9)


def test_rows_of_a_writer_that_ends_in_order_are_read_at_once(world):
    """It said its last number."""
    store, sealer = world.writer(), world.sealer()
    handing = world.handing(store)
    world.write(store, 4)
    handing.tick()
    sealer.tick()
    world.write(store, 3)
    world.opened.remove(store)
    store.close()
    sealer.tick()

    sealed(world, 7)


def test_leaves_that_come_after_their_rows_were_read_make_no_second_leaf(world):
    """A worker that was slow: what is sealed already is left out, what is not is taken."""
    ledger = Reading(world.ledger())
    store, sealer = world.writer(), world.sealer(ledger)
    handing = world.handing(store)
    world.write(store, 4)
    sealer.tick()
    assert ledger.rows == 4
    world.write(store, 3)
    handing.tick()
    sealer.tick()

    assert ledger.rows == 4
    sealed(world, 7)


def test_rows_before_leaves_that_fit_nowhere_are_read(world):
    """A part that was dropped leaves a gap, which the rows fill."""
    store, sealer = world.writer(), world.sealer()
    handing = world.handing(store)
    world.write(store, 4)
    store.recent.take()
    world.write(store, 3)
    handing.tick()
    sealer.tick()

    sealed(world, 7)


def test_leaves_that_follow_on_another_row_are_not_taken(world):
    """Whoever can write beside the log cannot have a tree made of what no row says."""
    store, sealer = world.writer(), world.sealer()
    handing = world.handing(store)
    world.write(store, 4)
    handing.tick()
    world.seals["handed"].update_many({}, {"$set": {"p": bytes(HASH_SIZE)}})
    sealer.tick()

    sealed(world, 4)


def test_leaves_handed_in_across_a_month_stand_under_their_own(world):
    """Rows stand by month: so do runs of leaves."""
    store, sealer = world.writer(), world.sealer()
    handing = world.handing(store)
    world.write(store, 2)
    world.later(days=20)
    world.write(store, 3)
    handing.tick()
    sealer.tick()

    sealed(world, 5)
    assert sorted(run["m"] for run in world.seals["runs"].find()) == ["audit_2026_10", "audit_2026_11"]


def test_what_nobody_takes_is_not_kept_for_ever(world, monkeypatch):
    """A bound of rows: above it none are kept, and all are read."""
    monkeypatch.setattr("fhir_dmp.stores.mongo.recent.MOST_ROWS", 10)
    store, sealer = world.writer(), world.sealer()
    handing = world.handing(store)
    world.write(store, 25)
    assert len(store.recent._rows) <= 10
    handing.tick()
    sealer.tick()

    sealed(world, 25)


def test_leaves_of_reads_and_writes_in_turns_are_handed_in_as_two(world):
    """A worker has a chain for each, and what each brings is one piece, however they took turns: few rows to write, one head for all."""
    store, sealer = world.writer(), world.sealer()
    handing = world.handing(store)
    for _ in range(6):
        world.write(store, 1)
        store.commit(Commit(events=(world.event(),)))
    handing.tick()
    assert world.seals["handed"].count_documents({}) == 2
    sealer.tick()

    sealed(world, 12)


def test_leaves_do_not_pile_up_while_nobody_seals(world, monkeypatch):
    """Above a bound none are handed in any more, and their rows are read when somebody seals again."""
    monkeypatch.setattr("fhir_dmp.stores.mongo.handed.MOST_HANDED", 2)
    store, sealer = world.writer(), world.sealer()
    handing = world.handing(store)
    for _ in range(5):
        world.write(store, 2)
        handing.tick()
    assert world.seals["handed"].count_documents({}) == 2
    sealer.tick()
    world.later(seconds=4)
    sealer.tick()

    sealed(world, 10)


ODD = {
    "nothing": lambda _: {},
    "a writer that is a list": lambda row: {**row, "w": ["7r"]},
    "a number that is text": lambda row: {**row, "n": "1"},
    "a number before the first": lambda row: {**row, "n": 0},
    "no hash of the last row": lambda row: {**row, "h": b""},
    "hashes that are text": lambda row: {**row, "b": "x" * 32},
    "no hash": lambda row: {**row, "b": b""},
    "half of a hash": lambda row: {**row, "b": row["b"][:-16]},
    "what they follow on is a number": lambda row: {**row, "p": 5},
    "a moment that no date can tell": lambda row: {**row, "rec": 2**62},
    "a month that is not theirs": lambda row: {**row, "m": "audit_2026_01"},
    "another id": lambda row: row,
}
"""What somebody lays among the leaves that were handed in, made of some that were."""


@pytest.mark.parametrize("odd", ODD)
def test_what_is_handed_in_and_is_no_leaves_stops_no_sealing_and_does_not_stay(world, odd):
    """It lies before all others, where each sealing reads; whoever's rows these were, they are read."""
    store, sealer = world.writer(), world.sealer()
    handing = world.handing(store)
    sealer.tick()
    world.write(store, 7)
    handing.tick()
    [row] = world.seals["handed"].find()
    world.seals["handed"].delete_many({})
    world.seals["handed"].insert_many({**ODD[odd](row), "_id": str(number)} for number in range(3))
    assert sealer.tick()

    assert world.seals["handed"].count_documents({}) == 0
    sealed(world, 7)


UNTOLD = {
    "no UTF-8": element(2, text(b"7r/e\xff/1"), b"_id"),
    "bytes of a wrong length": element(3, document(element(5, WRONG_LENGTH, b"a")), b"_id"),
    "a pointer": element(12, text(b"x") + bytes(12), b"_id"),
}
"""Ids that the driver tells otherwise than they are."""


@pytest.mark.parametrize("untold", UNTOLD)
@pytest.mark.parametrize("named", [True, False])
def test_what_is_handed_in_under_an_id_that_cannot_be_told_does_not_stay(world, untold, named):
    """By its id nobody takes it away; ``named`` has the writer and the epoch that are told of it, as leaves have."""
    store, sealer = world.writer(), world.sealer()
    handing = world.handing(store)
    sealer.tick()
    world.write(store, 7)
    handing.tick()
    [row] = world.seals["handed"].find()
    place = {"w": row["w"], "e": row["e"]}
    kept = {name: value for name, value in row.items() if name not in ("_id", *(place if named else ()))}
    own = element(2, text(b"7r"), b"w") + element(2, text(b"e\xff"), b"e") if named else b""
    world.seals["handed"].insert_one(RawBSONDocument(document(UNTOLD[untold] + own + encode(kept)[4:-1])))
    for _ in range(2):
        assert sealer.tick()
        world.later(seconds=5)

    assert world.seals["handed"].count_documents({}) == 0
    sealed(world, 7)

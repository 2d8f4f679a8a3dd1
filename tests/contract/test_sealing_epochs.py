"""Sealing of epochs, however their writers come and go: each row gets its leaf, and what has ended is kept in no memory."""

from __future__ import annotations

import hashlib
import threading
from datetime import UTC, datetime

import pytest

from fhir_dmp.clock import micros_of
from fhir_dmp.service.chains import lately
from fhir_dmp.stores.mongo.blocks import documents_of
from fhir_dmp.stores.mongo.months import Months
from tests.sealed_world import sealed_world


@pytest.fixture
def world(mongodb_uri, new_database_name, tmp_path):
    """An empty log."""
    with sealed_world(mongodb_uri, new_database_name, tmp_path) as made:
        yield made


def test_an_epoch_is_registered_before_its_first_row_and_closed_at_the_end(world):
    """With the last head that the writer knew; one that ends without a close has crashed."""
    store, sealer = world.writer(), world.sealer()
    world.write(store, 2)
    sealer.tick()
    world.later(seconds=1)
    orderly, crashed = world.writer(), world.writer()
    world.write(orderly, 3)
    world.write(crashed, 3)
    orderly.close()
    openings = {opening.at: opening for opening in world.ledger().openings() if opening.head == 2}
    closed = [opening.closed for opening in world.ledger().openings() if opening.closed]

    assert openings
    assert [link.number for link in closed] == [3]


def test_an_epoch_of_which_rows_are_under_way_is_not_closed(world, monkeypatch):
    """A server that stops while its database is slow: what that has been sent already is stored later, and nobody put it in."""
    store, sealer = world.writer(), world.sealer()
    world.write(store, 3)
    sent, slow = threading.Event(), threading.Event()

    def insert(self, rows):
        sent.set()
        assert slow.wait(30)
        world.rows.insert_many(documents_of(rows))
        return True

    with monkeypatch.context() as late:
        late.setattr(Months, "insert_alone", insert)
        caller = threading.Thread(target=world.write, args=(store, 1))
        caller.start()
        assert sent.wait(30)
        store.close()
        slow.set()
        caller.join()
    sealer.tick()
    report = world.verify()

    assert (report.leaves, report.unsealed, report.findings) == (4, 0, [])


def test_rows_behind_a_gap_hold_up_no_others(world, monkeypatch):
    """However many they are: what other writers wrote is sealed by the next time."""
    monkeypatch.setattr("fhir_dmp.service.sealer.AT_ONCE", 5)
    stores, sealer = [world.writer(), world.writer()], world.sealer()
    lost, _ = (world.write(store, 20)[2] for store in stores)
    world.rows.delete_one({"_id": lost})
    for _ in range(2):
        sealer.tick()

    report = world.verify()

    assert report.leaves == 2 + 20
    assert [finding.kind for finding in report.findings] == ["missing"]


def test_more_rows_than_are_read_at_once_are_sealed_across_a_month(world, monkeypatch):
    """What is left of the old month comes before the new one: nothing of that is taken for a gap."""
    monkeypatch.setattr("fhir_dmp.service.sealer.AT_ONCE", 10)
    store, sealer = world.writer(), world.sealer()
    world.later(days=11, hours=11, minutes=59)
    world.write(store, 25)
    world.later(minutes=5)
    world.write(store, 3)
    sealer.tick()

    report = world.verify()

    assert (report.leaves, report.unsealed, report.findings) == (28, 0, [])


def test_more_rows_than_are_read_at_once_of_long_ago_are_sealed_in_one_go(world, monkeypatch):
    """A large load by a command, and days until a server starts: what has been quiet is read to its end, not a piece each minute."""
    monkeypatch.setattr("fhir_dmp.service.sealer.AT_ONCE", 10)
    store = world.writer()
    world.write(store, 25)
    world.later(days=3)
    world.sealer().tick()

    report = world.verify()

    assert (report.leaves, report.unsealed, report.findings) == (25, 0, [])


def in_mind(sealer):
    """Return the epochs that the one who leads has in memory, with those that it remembers as ended."""
    return set(sealer._state.chains.links), set(sealer._state.chains.ended)


def test_of_epochs_that_were_closed_and_are_sealed_nothing_is_kept_in_mind(world):
    """However many processes come and go; the next leader has no more, and each chain that is cut is found all the same."""
    sealer, lasting = world.sealer(), world.writer()
    for _ in range(5):
        store = world.writer()
        world.write(store, 3)
        world.write(lasting, 1)
        sealer.tick()
        store.close()
    world.look_again(sealer)
    assert [len(keys) for keys in in_mind(sealer)] == [1, 5]
    world.look_again(sealer, days=70)
    world.write(lasting, 1)
    world.look_again(sealer)
    assert [len(keys) for keys in in_mind(sealer)] == [1, 0]
    sealer.release()
    heir = world.sealer()
    heir.tick()
    assert [len(keys) for keys in in_mind(heir)] == [1, 0]
    assert (world.verify().findings, world.verify().leaves) == ([], 21)

    closed = [opening.closed for opening in world.ledger().openings() if opening.closed]
    for link, cut in zip(closed[:2], (1, 3), strict=True):
        rows = world.database[f"{world.name}_log"]["audit_2026_10"]
        rows.delete_many({"w": link.writer, "n": {"$gte": cut}})
    found = world.verify().findings
    assert {finding.kind for finding in found} == {"missing"}
    assert all(any(f"{link.writer}/{link.epoch}" in finding.text for finding in found) for link in closed[:2])


def begun(world, monkeypatch):
    """Have a writer register an epoch and be killed before its first row; return its name."""

    def killed(self, rows):
        raise RuntimeError("killed")

    store = world.writer()
    with monkeypatch.context() as cut, pytest.raises(RuntimeError, match="killed"):
        cut.setattr(Months, "insert_alone", killed)
        world.write(store, 1)
    return max(world.ledger().openings(), key=lambda opening: opening.at)


def test_of_epochs_that_never_had_a_row_nothing_is_kept_in_mind(world, monkeypatch):
    """However many processes were killed before their first one: they are waited for this month and the next, and by no later leader."""
    sealer, lasting = world.sealer(), world.writer()
    for _ in range(4):
        world.later(seconds=1)
        begun(world, monkeypatch)
    world.write(lasting, 2)
    world.look_again(sealer, days=12)
    assert len(in_mind(sealer)[0]) == 5
    world.look_again(sealer, days=60)
    world.write(lasting, 2)
    world.look_again(sealer)
    assert [len(keys) for keys in in_mind(sealer)] == [1, 0]
    sealer.release()
    heir = world.sealer()
    world.look_again(heir)
    assert [len(keys) for keys in in_mind(heir)] == [1, 0]

    report = world.verify()
    assert (report.leaves, report.unsealed, report.findings) == (4, 0, [])


def test_a_first_row_that_comes_months_after_its_epoch_was_begun_is_sealed(world, monkeypatch):
    """A machine that was asleep in between; and what lacks of the chain is named though nobody had it in mind."""
    store, sealer, slow = world.writer(), world.sealer(), world.event("late")
    insert = Months.insert_alone

    def asleep(self, rows):
        world.look_again(sealer)
        world.look_again(sealer, days=70)
        assert in_mind(sealer) == (set(), set())
        return insert(self, rows)

    with monkeypatch.context() as pause:
        pause.setattr(Months, "insert_alone", asleep)
        store.record(slow)
    world.write(store, 3)
    world.look_again(sealer)
    report = world.verify()
    assert (report.leaves, report.unsealed, report.findings) == (4, 0, [])

    world.rows.delete_many({"n": {"$gte": 3}})
    assert {finding.kind for finding in world.verify().findings} == {"missing"}


def test_rows_of_months_that_nobody_sealed_are_sealed_before_their_epoch_is_forgotten(world, monkeypatch):
    """No server ran meanwhile: what a command left then is read first, a piece at a time."""
    monkeypatch.setattr("fhir_dmp.service.sealer.AT_ONCE", 2)
    sealer = world.sealer()
    sealer.tick()
    stores = [world.writer() for _ in range(3)]
    for store in stores:
        world.write(store, 3)
    world.look_again(sealer, days=70)
    world.look_again(sealer)

    report = world.verify()
    assert (report.leaves, report.unsealed, report.findings) == (9, 0, [])
    assert in_mind(sealer) == (set(), set())


def test_a_row_that_is_put_behind_an_epoch_nobody_has_in_mind_is_found(world):
    """It gets no leaf, and the verifier says where the epoch was closed."""
    store, sealer = world.writer(), world.sealer()
    world.write(store, 3)
    store.close()
    world.look_again(sealer)
    assert not in_mind(sealer)[0]
    last, event = world.rows.find_one({"n": 3}), world.event()
    linked = {"p": last["h"], "h": hashlib.sha256(last["h"] + event.body).digest()}
    forged = {"_id": event.id, "rec": event.recorded, "b": event.body, **event.index, "w": last["w"], "e": last["e"]}
    world.rows.insert_one({**forged, **linked, "n": 4})
    for later in ({"minutes": 2}, {"days": 70}):
        world.look_again(sealer, **later)

    report = world.verify()
    assert report.leaves == 3
    assert [finding.kind for finding in report.findings] == ["inserted"]
    assert "closed at number 3, and ends at 4" in report.findings[0].text


@pytest.mark.parametrize("handing", [True, False])
def test_a_process_that_was_idle_for_months_and_writes_again_is_sealed(world, handing):
    """It was not closed, so it may have ended without a word; a minute after its row it is known again, and no row gets a second leaf."""
    store, other, sealer = world.writer(), world.writer(), world.sealer()
    hand = world.handing(store) if handing else None
    world.write(store, 3)
    world.look_again(sealer)
    world.look_again(sealer, days=70)
    assert in_mind(sealer) == (set(), set())
    world.write(other, 2)
    world.write(store, 2)
    if hand:
        hand.tick()
    for _ in range(2):
        world.look_again(sealer)

    report = world.verify()
    assert (report.leaves, report.unsealed, report.findings) == (7, 0, [])
    store.close()
    world.look_again(sealer, days=1)
    assert {writer for writer, _ in in_mind(sealer)[0]} == set(world.rows.distinct("w")) - {
        opening.writer for opening in world.ledger().openings() if opening.closed
    }


def test_a_gap_of_long_ago_is_waited_for(world):
    """Whoever leads by then: the row that comes back after months gets its leaf, and so do those behind it."""
    store, sealer = world.writer(), world.sealer()
    world.write(store, 5)
    rows = world.rows
    taken = rows.find_one_and_delete({"n": 3})
    world.look_again(sealer)
    world.look_again(sealer, days=70)
    sealer.release()
    heir = world.sealer()
    world.look_again(heir)
    rows.insert_one(taken)
    world.look_again(heir)

    report = world.verify()
    assert (report.leaves, report.unsealed, report.findings) == (5, 0, [])


def test_months_are_counted_across_a_year():
    """A row that is stored now is of this month, or of the one before."""
    assert lately(micros_of(datetime(2027, 1, 1, tzinfo=UTC))) == ("audit_2026_12", "audit_2027_01")
    assert lately(micros_of(datetime(2027, 3, 31, 23, tzinfo=UTC))) == ("audit_2027_02", "audit_2027_03")


@pytest.mark.parametrize("moment", [2**62, -(2**62), 0])
def test_a_row_whose_moment_is_not_of_its_month_holds_up_no_others(world, moment):
    """By the moment of the last row that is sealed of an epoch the next ones are looked for: none is of no month, and of another none is."""
    one, other, sealer = world.writer(), world.writer(), world.sealer()
    altered = world.write(one, 3)[1]
    world.rows.update_one({"_id": altered}, {"$set": {"rec": moment}})
    for _ in range(2):
        world.write(other, 5)
        assert sealer.tick()
        world.later(seconds=70)

    report = world.verify()
    assert report.leaves == 11
    assert any(altered in finding.text for finding in report.findings)


def test_an_epoch_that_began_when_no_date_can_tell_stops_no_sealing(world):
    """Somebody put it into the register."""
    store, sealer = world.writer(), world.sealer()
    strange = {"_id": "strange", "w": "7r", "e": "feedfeedfeed", "at": 2**62, "head": 0}
    world.database[f"{world.name}_log"]["epochs"].insert_one(strange)
    for _ in range(2):
        world.write(store, 5)
        assert sealer.tick()
        world.later(seconds=70)

    assert world.verify().leaves == 10

"""Sealing on a real MongoDB: every row gets one leaf, one of several leads, nothing is published twice or out of order."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

import pytest

from fhir_dmp.audit.look import here
from fhir_dmp.service.seal_state import SealError
from fhir_dmp.store.ledger import Batch, Fenced
from tests.sealed_world import sealed_world


@pytest.fixture
def world(mongodb_uri, new_database_name, tmp_path):
    """An empty log."""
    with sealed_world(mongodb_uri, new_database_name, tmp_path) as made:
        yield made


def test_rows_of_all_writers_get_leaves_and_verify(world):
    """Two workers, several heads; the verifier finds nothing, and counts all."""
    one, other, sealer = world.writer(), world.writer(), world.sealer()
    for _ in range(3):
        world.write(one, 7)
        world.write(other, 5)
        assert sealer.tick()
        world.later(seconds=1)
    report = world.verify()

    assert report.findings == []
    assert (report.leaves, report.proven, report.unsealed) == (36, 36, 0)
    assert [head.size for head in world.heads()] == [0, 12, 24, 36]


def test_nothing_new_is_no_new_head(world):
    """A quiet log does not grow its heads."""
    sealer = world.sealer()
    world.write(world.writer())
    for _ in range(4):
        sealer.tick()

    assert len(world.heads()) == 2


def test_a_head_that_is_published_while_somebody_looks_is_no_cut_tail(world):
    """The log of a busy server grows meanwhile: what is looked at ends with the heads that were there at first."""
    store, sealer = world.writer(), world.sealer()
    world.write(store, 5)
    sealer.tick()

    def looking(windows):
        world.later(seconds=1)
        world.write(store, 3)
        assert sealer.tick()
        return here(windows)

    report = world.verify(None, looking)

    assert report.findings == []
    assert report.leaves == 5
    assert [head.size for head in world.heads()] == [0, 5, 8]
    assert world.verify().leaves == 8


def test_rows_that_wait_are_counted_as_unsealed(world):
    """The verifier tells what no head holds yet."""
    store, sealer = world.writer(), world.sealer()
    world.write(store, 4)
    sealer.tick()
    world.write(store, 3)
    report = world.verify()

    assert report.findings == []
    assert (report.leaves, report.unsealed) == (4, 3)


def test_one_of_two_leads_and_the_other_takes_over_when_it_ends(world):
    """Released at once; otherwise when the lease has run out, within seconds."""
    first, second, store = world.sealer(), world.sealer(), world.writer()
    world.write(store)

    assert first.tick()
    assert not second.tick()
    first.release()
    world.write(store)
    assert second.tick()
    assert not first.tick()
    assert world.verify().findings == []


def test_a_leader_that_dies_is_followed_within_seconds(world):
    """Nobody releases the lease of a process that was killed: its time runs out by the database's clock."""
    dead, heir, store = world.sealer(), world.sealer(), world.writer()
    world.write(store)
    assert dead.tick()
    over = threading.Event()
    ends = time.monotonic() + 60
    while not heir.tick():
        over.wait(0.1)
        assert time.monotonic() < ends
    world.write(store)
    heir.tick()

    assert world.verify().findings == []
    assert [head.number for head in world.heads()] == [1, 2, 3]


def test_a_leader_that_slept_through_its_lease_publishes_nothing(world):
    """Its token is an old one: the write behind the fence fails, and the file is as it was."""
    ledger = world.ledger()
    sealer, store = world.sealer(), world.writer()
    asleep = ledger.lead("sleeper", 0.0)
    threading.Event().wait(0.05)
    world.write(store)
    assert sealer.tick()
    before = world.heads()

    with pytest.raises(Fenced):
        ledger.seal(asleep, Batch(len(before) + 1, b"{}"))
    assert world.heads() == before
    assert world.verify().findings == []


def test_two_sealers_that_both_try_all_the_time_make_one_order(world):
    """Threads of several workers, leases given up at random: one chain of heads, each leaf once."""
    store, over = world.writer(), threading.Event()
    failures = []

    def seal():
        sealer = world.sealer()
        try:
            while not over.is_set():
                if sealer.tick():
                    sealer.release()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=seal) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        world.write(store, 5)
    over.set()
    for thread in threads:
        thread.join()
    world.sealer().tick()
    report = world.verify()

    assert failures == []
    assert report.findings == []
    assert report.leaves + report.unsealed == 100


def test_an_epoch_that_crosses_a_month_stays_one_chain(world):
    """Numbers go on in the next month's collection, and proofs with them."""
    world.clock.set(datetime(2026, 10, 31, 23, 59, 59, tzinfo=UTC))
    store, sealer = world.writer(), world.sealer()
    world.write(store, 3)
    sealer.tick()
    world.write(store, 2)
    late = world.event("recorded before midnight, stored after")
    world.clock.set(datetime(2026, 11, 1, 0, 0, 1, tzinfo=UTC))
    world.write(store, 4)
    store.record(late)
    world.write(store, 1)
    sealer.tick()
    report = world.verify()

    assert world.ledger().periods() == ["audit_2026_10", "audit_2026_11"]
    assert report.findings == []
    assert (report.leaves, report.unsealed) == (11, 0)


def test_a_row_that_is_committed_late_gets_its_leaf(world):
    """What counts is its number, not its time: a row that is an hour older than sealed ones is taken all the same."""
    quick, slow, sealer = world.writer(), world.writer(), world.sealer()
    late = world.event("late")
    world.later(minutes=50)
    world.write(quick, 5)
    sealer.tick()
    slow.record(late)
    sealer.tick()

    assert world.verify().leaves == 6


def test_rows_after_a_gap_wait_for_it(world):
    """A row that is there before the one before it gets no leaf until that comes."""
    store, sealer = world.writer(), world.sealer()
    world.write(store, 5)
    taken = world.rows.find_one_and_delete({"n": 3})
    sealer.tick()
    assert world.heads()[-1].size == 2
    world.rows.insert_one(taken)
    world.later(minutes=2)
    sealer.tick()

    assert world.heads()[-1].size == 5
    assert world.verify().findings == []


def test_keys_rotate_and_old_heads_stay_verifiable(world):
    """Whoever trusts the first key, or the last, or one between, can check all heads; the new one as soon as it is there, though nobody acts."""
    store, sealer = world.writer(), world.sealer()
    keys = []
    for _ in range(3):
        world.write(store, 2)
        sealer.tick()
        keys.append(world.keys.public())
        introduced = world.keys.prepare_successor()
        sealer.tick()
        assert world.keys.public() == introduced
        assert world.verify(introduced).findings == []
        world.write(store, 2)
        sealer.tick()

    assert len({key.id for key in keys}) == 3
    for key in keys:
        assert world.verify(key).findings == []


def test_a_crash_between_a_rotation_and_the_new_keys_first_head_is_made_good(world, monkeypatch):
    """Whoever seals next signs by the new key, though there is nothing new to seal."""
    sealer = world.sealer()
    world.write(world.writer(), 2)
    sealer.tick()
    introduced = world.keys.prepare_successor()
    succeed = type(world.keys).succeed

    def die(keys):
        succeed(keys)
        raise RuntimeError("killed")

    with monkeypatch.context() as killed:
        killed.setattr(type(world.keys), "succeed", die)
        with pytest.raises(RuntimeError, match="killed"):
            sealer.tick()
    sealer.tick()
    before = world.heads()
    sealer.tick()

    assert world.heads() == before
    assert before[-1].key == introduced.id
    assert world.verify(introduced).findings == []


def test_a_crash_between_a_head_and_its_publication_is_made_good(world):
    """The next leader publishes what was signed; a line that a crash cut is written anew."""
    store, sealer = world.writer(), world.sealer()
    world.write(store, 2)
    sealer.tick()
    lines = world.sink.path.read_bytes()
    world.write(store, 2)
    sealer.tick()
    sealer.release()
    cut = world.sink.path.read_bytes()[: len(lines) + 40]
    world.sink.path.write_bytes(cut)
    world.sealer().tick()

    assert [head.number for head in world.heads()] == [1, 2, 3]
    assert world.verify().findings == []


def test_a_database_that_lags_behind_its_published_heads_is_not_sealed(world):
    """An older state that somebody restored would make a second history: the sealer stops and says so."""
    store, sealer = world.writer(), world.sealer()
    world.write(store, 2)
    sealer.tick()
    sealer.release()
    world.seals["heads"].delete_one({"_id": 2})

    with pytest.raises(SealError, match="older state"):
        world.sealer().tick()

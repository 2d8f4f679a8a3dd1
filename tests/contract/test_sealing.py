"""Sealing on a real MongoDB: every row gets one leaf, one of several leads, nothing is published twice or out of order."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from bson import Decimal128

from fhir_dmp import log
from fhir_dmp.audit.heads import SignedHead
from fhir_dmp.audit.look import here
from fhir_dmp.clock import FixedClock, micros_of
from fhir_dmp.metrics import SEAL_FAULTS
from fhir_dmp.service.chains import lately
from fhir_dmp.service.sealer import SealError
from fhir_dmp.settings import Settings
from fhir_dmp.store.ledger import Batch, Fenced
from fhir_dmp.stores.mongo.blocks import documents_of
from fhir_dmp.stores.mongo.months import Months
from fhir_dmp.stores.mongo.store import MongoStore
from tests.sealed_world import sealed_world


@pytest.fixture
def world(mongodb_uri, new_database_name, tmp_path):
    """An empty log."""
    with sealed_world(mongodb_uri, new_database_name, tmp_path) as made:
        yield made


@pytest.fixture
def told(capsys):
    """Return the lines that the server tells its operator."""
    log.configure("error")
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def heads(world):
    """Return the published heads."""
    return [SignedHead.from_line(line).head for line in world.sink.lines()]


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
    assert [head.size for head in heads(world)] == [0, 12, 24, 36]


def test_nothing_new_is_no_new_head(world):
    """A quiet log does not grow its heads."""
    sealer = world.sealer()
    world.write(world.writer())
    for _ in range(4):
        sealer.tick()

    assert len(heads(world)) == 2


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
    assert [head.size for head in heads(world)] == [0, 5, 8]
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
    assert [head.number for head in heads(world)] == [1, 2, 3]


def test_a_leader_that_slept_through_its_lease_publishes_nothing(world):
    """Its token is an old one: the write behind the fence fails, and the file is as it was."""
    ledger = world.ledger()
    sealer, store = world.sealer(), world.writer()
    asleep = ledger.lead("sleeper", 0.0)
    threading.Event().wait(0.05)
    world.write(store)
    assert sealer.tick()
    before = heads(world)

    with pytest.raises(Fenced):
        ledger.seal(asleep, Batch(len(before) + 1, b"{}"))
    assert heads(world) == before
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
    assert heads(world)[-1].size == 2
    world.rows.insert_one(taken)
    world.later(minutes=2)
    sealer.tick()

    assert heads(world)[-1].size == 5
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
    before = heads(world)
    sealer.tick()

    assert heads(world) == before
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

    assert [head.number for head in heads(world)] == [1, 2, 3]
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


def look_again(world, sealer, **later):
    """Move the clock on, and seal with a look at what has been quiet."""
    world.later(**(later or {"minutes": 2}))
    assert sealer.tick()


def test_of_epochs_that_were_closed_and_are_sealed_nothing_is_kept_in_mind(world):
    """However many processes come and go; the next leader has no more, and each chain that is cut is found all the same."""
    sealer, lasting = world.sealer(), world.writer()
    for _ in range(5):
        store = world.writer()
        world.write(store, 3)
        world.write(lasting, 1)
        sealer.tick()
        store.close()
    look_again(world, sealer)
    assert [len(keys) for keys in in_mind(sealer)] == [1, 5]
    look_again(world, sealer, days=70)
    world.write(lasting, 1)
    look_again(world, sealer)
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
    look_again(world, sealer, days=12)
    assert len(in_mind(sealer)[0]) == 5
    look_again(world, sealer, days=60)
    world.write(lasting, 2)
    look_again(world, sealer)
    assert [len(keys) for keys in in_mind(sealer)] == [1, 0]
    sealer.release()
    heir = world.sealer()
    look_again(world, heir)
    assert [len(keys) for keys in in_mind(heir)] == [1, 0]

    report = world.verify()
    assert (report.leaves, report.unsealed, report.findings) == (4, 0, [])


def test_a_first_row_that_comes_months_after_its_epoch_was_begun_is_sealed(world, monkeypatch):
    """A machine that was asleep in between; and what lacks of the chain is named though nobody had it in mind."""
    store, sealer, slow = world.writer(), world.sealer(), world.event("late")
    insert = Months.insert_alone

    def asleep(self, rows):
        look_again(world, sealer)
        look_again(world, sealer, days=70)
        assert in_mind(sealer) == (set(), set())
        return insert(self, rows)

    with monkeypatch.context() as pause:
        pause.setattr(Months, "insert_alone", asleep)
        store.record(slow)
    world.write(store, 3)
    look_again(world, sealer)
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
    look_again(world, sealer, days=70)
    look_again(world, sealer)

    report = world.verify()
    assert (report.leaves, report.unsealed, report.findings) == (9, 0, [])
    assert in_mind(sealer) == (set(), set())


def test_a_row_that_is_put_behind_an_epoch_nobody_has_in_mind_is_found(world):
    """It gets no leaf, and the verifier says where the epoch was closed."""
    store, sealer = world.writer(), world.sealer()
    world.write(store, 3)
    store.close()
    look_again(world, sealer)
    assert not in_mind(sealer)[0]
    last, event = world.rows.find_one({"n": 3}), world.event()
    linked = {"p": last["h"], "h": hashlib.sha256(last["h"] + event.body).digest()}
    forged = {"_id": event.id, "rec": event.recorded, "b": event.body, **event.index, "w": last["w"], "e": last["e"]}
    world.rows.insert_one({**forged, **linked, "n": 4})
    for later in ({"minutes": 2}, {"days": 70}):
        look_again(world, sealer, **later)

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
    look_again(world, sealer)
    look_again(world, sealer, days=70)
    assert in_mind(sealer) == (set(), set())
    world.write(other, 2)
    world.write(store, 2)
    if hand:
        hand.tick()
    for _ in range(2):
        look_again(world, sealer)

    report = world.verify()
    assert (report.leaves, report.unsealed, report.findings) == (7, 0, [])
    store.close()
    look_again(world, sealer, days=1)
    assert {writer for writer, _ in in_mind(sealer)[0]} == set(world.rows.distinct("w")) - {
        opening.writer for opening in world.ledger().openings() if opening.closed
    }


def test_a_gap_of_long_ago_is_waited_for(world):
    """Whoever leads by then: the row that comes back after months gets its leaf, and so do those behind it."""
    store, sealer = world.writer(), world.sealer()
    world.write(store, 5)
    rows = world.rows
    taken = rows.find_one_and_delete({"n": 3})
    look_again(world, sealer)
    look_again(world, sealer, days=70)
    sealer.release()
    heir = world.sealer()
    look_again(world, heir)
    rows.insert_one(taken)
    look_again(world, heir)

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


def put_run(world, leaf, **more):
    """Put a run among the others, as who seals would."""
    run = {"_id": leaf, "size": 1, "w": "9r", "e": "feedfeedfeed", "n": 1, "m": "audit_2026_10"} | more
    world.seals["runs"].insert_one(run)


def faults():
    """Return how often sealing has told that what is stored does not fit."""
    return SEAL_FAULTS._value.get()


@pytest.mark.parametrize(
    ("leaf", "leads"), [(5, True), (5.0, True), (Decimal128("5"), True), (5, False), (6, False), (7.5, False)], ids=str
)
def test_a_run_in_the_place_of_the_next_leaves_stops_no_sealing(world, told, leaf, leads):
    """No head holds it, so that it is nobody's: it is told with the way to look, and taken away."""
    store, sealer = world.writer(), world.sealer()
    world.write(store, 5)
    sealer.tick()
    put_run(world, leaf)
    assert world.verify().findings
    world.write(store, 5)
    before = faults()
    if leads:
        with pytest.raises(SealError, match=r"Head 3, or a run of its leaves, .*: see fhir-dmp audit verify"):
            sealer.tick()
        assert len(heads(world)) == 2
    else:
        sealer.release()
        sealer = world.sealer()
    assert sealer.tick()

    report = world.verify()
    assert (report.leaves, report.unsealed, report.findings) == (10, 0, [])
    assert faults() > before
    (line,) = [line for line in told() if line["event"] == "runs-of-no-head"]
    assert "feedfeedfeed" in line["runs"][0]
    assert line["see"] == "fhir-dmp audit verify"


def test_no_run_is_taken_away_by_who_does_not_lead_any_more(world):
    """Of two who believe that they lead, the one who knows an older head would take those of leaves that are sealed."""
    ledger, store, sealer = world.ledger(), world.writer(), world.sealer()
    asleep = ledger.lead("sleeper", 0.0)
    threading.Event().wait(0.05)
    world.write(store, 5)
    assert sealer.tick()

    with pytest.raises(Fenced):
        ledger.forget_runs(asleep, 0)
    assert world.verify().findings == []


def test_runs_without_any_head_are_not_taken_for_nobodys(world):
    """The heads are gone, here and outside: another log is not begun on what is left."""
    store, sealer = world.writer(), world.sealer()
    world.write(store, 5)
    sealer.tick()
    sealer.release()
    world.seals["heads"].delete_many({})
    world.sink.path.unlink()

    sealer = world.sealer()
    for _ in range(2):
        with pytest.raises(SealError, match="no head holds any: see fhir-dmp audit verify"):
            sealer.tick()
    assert world.ledger().size() == 5


def test_a_head_in_the_place_of_the_next_is_told_with_the_way_to_look(world):
    """It was taken for that of another who leads, and nobody was told that nothing is sealed."""
    store, sealer = world.writer(), world.sealer()
    world.write(store, 5)
    sealer.tick()
    world.seals["heads"].insert_one({"_id": 3, "line": b"x"})
    world.write(store, 5)

    for _ in range(3):
        with pytest.raises(SealError, match="see fhir-dmp audit verify"):
            sealer.tick()
    assert world.verify().findings
    world.seals["heads"].delete_one({"_id": 3})
    assert sealer.tick()
    assert world.verify().leaves == 10


def slow_writer(world, **behind):
    """Return a worker whose clock is behind that of who seals."""
    clock = FixedClock(world.clock.now() - timedelta(**behind))
    made = MongoStore.connect(world.uri, world.name, clock=clock, settings=Settings())
    world.opened.append(made)
    return made


@pytest.mark.parametrize("handing", [True, False])
@pytest.mark.parametrize("behind", [{"minutes": 15}, {"hours": 23}], ids=str)
def test_an_epoch_that_is_registered_by_a_clock_that_is_behind_is_sealed(world, handing, behind):
    """Its writer is known, by an epoch before, and so nobody looked for another of it."""
    store, sealer = slow_writer(world, **behind), world.sealer()
    hand = world.handing(store) if handing else None
    world.write(store, 3)
    if hand:
        hand.tick()
    sealer.tick()
    store._events._chain.break_off()
    look_again(world, sealer)
    world.write(store, 4)
    for _ in range(3):
        if hand:
            hand.tick()
        look_again(world, sealer)

    report = world.verify()
    assert (report.leaves, report.unsealed, report.findings) == (7, 0, [])


def test_an_epoch_that_is_registered_days_late_is_sealed_as_its_writer_hands_in(world):
    """A machine that was asleep between a look at its clock and its word."""
    store, sealer = slow_writer(world, days=9), world.sealer()
    hand = world.handing(store)
    world.write(store, 3)
    hand.tick()
    sealer.tick()
    store._events._chain.break_off()
    look_again(world, sealer)
    world.write(store, 4)
    hand.tick()
    sealer.tick()

    report = world.verify()
    assert (report.leaves, report.unsealed, report.findings) == (7, 0, [])


def writers_in_order(world, count):
    """Return so many workers' stores, as rows are read in the order of their writers."""
    return sorted((world.writer() for _ in range(count)), key=lambda store: store._events._chain.writer)


@pytest.mark.parametrize("broken", ["gap", "altered"])
def test_rows_of_days_ago_are_sealed_though_much_lies_behind_a_gap(world, monkeypatch, broken):
    """They are asked for with those that stand still, and these left them no room, each time."""
    monkeypatch.setattr("fhir_dmp.service.sealer.AT_ONCE", 5)
    stores = writers_in_order(world, 3)
    for store in stores[:2]:
        third = world.write(store, 20)[2]
        if broken == "gap":
            world.rows.delete_one({"_id": third})
        else:
            world.rows.update_one({"_id": third}, {"$set": {"p": bytes(32)}})
    world.write(stores[2], 12)
    world.later(days=3)
    sealer = world.sealer()
    for _ in range(2):
        look_again(world, sealer)

    assert world.verify().leaves == 2 + 2 + 12


def test_a_gap_that_is_filled_is_gone_on_from_though_others_are_not(world, monkeypatch):
    """Whoever stands still is asked for the next row alone."""
    monkeypatch.setattr("fhir_dmp.service.sealer.AT_ONCE", 5)
    sealer = world.sealer()
    lost = [world.rows.find_one_and_delete({"_id": world.write(store, 20)[2]}) for store in writers_in_order(world, 2)]
    for _ in range(2):
        look_again(world, sealer)
    assert world.verify().leaves == 4
    world.rows.insert_one(lost[1])
    look_again(world, sealer)

    assert world.verify().leaves == 2 + 20


@pytest.mark.parametrize(("number", "leaves"), [(4, 3), (1000, 6)])
def test_a_row_of_several_writers_stops_no_sealing(world, number, leaves):
    """Who asks for the rows of one finds it."""
    store, sealer = world.writer(), world.sealer()
    world.write(store, 3)
    sealer.tick()
    row = world.rows.find_one()
    world.rows.insert_one({**row, "_id": "strange", "w": [row["w"], "another"], "n": number})
    world.write(store, leaves - 3)
    look_again(world, sealer)

    assert world.verify().leaves == leaves

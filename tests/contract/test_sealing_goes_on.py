"""Sealing where somebody put something in its way, or was late: no row waits for another, and the operator is told."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta

import pytest
from bson import Decimal128, MaxKey

from fhir_dmp import log
from fhir_dmp.clock import FixedClock
from fhir_dmp.metrics import SEAL_FAULTS
from fhir_dmp.service import seal_state
from fhir_dmp.service.seal_state import SealError
from fhir_dmp.settings import Settings
from fhir_dmp.store.ledger import Fenced
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
        assert len(world.heads()) == 2
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
        ledger.forget_runs(asleep, 0, 10)
    assert world.verify().findings == []


def test_however_many_runs_no_head_holds_some_are_taken_away_at_a_time_and_a_few_told(world, told, monkeypatch):
    """Whoever put them there may have put millions."""
    monkeypatch.setattr(seal_state, "RUNS_AT_ONCE", 3)
    monkeypatch.setattr(seal_state, "RUNS_TOLD", 5)
    store, sealer = world.writer(), world.sealer()
    world.write(store, 5)
    assert sealer.tick()
    sealer.release()
    for leaf in range(100, 110):
        put_run(world, leaf)
    assert world.sealer().tick()

    assert world.seals["runs"].count_documents({"_id": {"$gte": 5}}) == 0
    (line,) = [line for line in told() if line["event"] == "runs-of-no-head"]
    assert (line["number"], len(line["runs"])) == (10, 5)


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
    world.look_again(sealer)
    world.write(store, 4)
    for _ in range(3):
        if hand:
            hand.tick()
        world.look_again(sealer)

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
    world.look_again(sealer)
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
        world.look_again(sealer)

    assert world.verify().leaves == 2 + 2 + 12


def test_a_gap_that_is_filled_is_gone_on_from_though_others_are_not(world, monkeypatch):
    """Whoever stands still is asked for the next row alone."""
    monkeypatch.setattr("fhir_dmp.service.sealer.AT_ONCE", 5)
    sealer = world.sealer()
    lost = [world.rows.find_one_and_delete({"_id": world.write(store, 20)[2]}) for store in writers_in_order(world, 2)]
    for _ in range(2):
        world.look_again(sealer)
    assert world.verify().leaves == 4
    world.rows.insert_one(lost[1])
    world.look_again(sealer)

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
    world.look_again(sealer)

    assert world.verify().leaves == leaves


def test_an_epoch_that_begins_beside_what_is_no_head_is_sealed(world):
    """It was registered as one that began after that, and so as none."""
    sealer = world.sealer()
    sealer.tick()
    for own in ("x", datetime(2026, 1, 1, tzinfo=UTC), 2.5):
        world.seals["heads"].insert_one({"_id": own})
    world.write(world.writer(), 5)
    world.look_again(sealer, seconds=10)

    assert world.ledger().size() == 5


@pytest.mark.parametrize(
    "change",
    [
        {"until": datetime(2200, 1, 1, tzinfo=UTC)},
        {"until": MaxKey()},
        {"until": "x"},
        {"wanted": "nobody", "wanted_until": datetime(2200, 1, 1, tzinfo=UTC)},
        {"token": Decimal128("7.5")},
        {"token": "x"},
        None,
    ],
    ids=str,
)
def test_a_lease_that_somebody_damaged_holds_nobody_up(world, change):
    """One that is never over, is no lease, or is not there: nobody sealed, and nobody was told."""
    store, sealer = world.writer(), world.sealer()
    sealer.tick()
    sealer.release()
    if change is None:
        world.seals["lease"].delete_many({})
    else:
        world.seals["lease"].update_one({"_id": "lease"}, {"$set": change})
    world.write(store, 5)
    sealer = world.sealer()
    led = [sealer.tick() for _ in range(2)]

    assert led[-1]
    assert world.verify().leaves == 5


def test_a_public_half_that_was_damaged_is_written_anew(world):
    """Whoever seals knows the key, and stopped."""
    sealer = world.sealer()
    sealer.tick()
    whole = world.keys.public_path.read_bytes()
    world.keys.public_path.write_bytes(whole[:-30])
    world.write(world.writer(), 5)
    sealer.tick()

    assert world.keys.public_path.read_bytes() == whole
    assert world.verify().leaves == 5


def test_a_key_that_is_none_stops_sealing_and_is_named(world):
    """The operator is told which file it is."""
    sealer = world.sealer()
    sealer.tick()
    world.keys.path.write_bytes(b"x")
    world.write(world.writer(), 5)

    with pytest.raises(SealError, match=r"heads\.key holds no key"):
        sealer.tick()

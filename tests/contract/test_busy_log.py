"""A log that goes on while it is verified: nothing honest is named, and what was altered before it was sealed is."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fhir_dmp.service.audit_verify import verify_database
from fhir_dmp.store.query import EVERYTHING
from fhir_dmp.stores.mongo.ledger import MongoLedger
from tests.packed_log import Log
from tests.sealed_world import sealed_world


@pytest.fixture
def world(mongodb_uri, database_name, tmp_path):
    """A log that nobody has written to."""
    with sealed_world(mongodb_uri, database_name, tmp_path) as made:
        yield made


def verified_while(world, monkeypatch, name, act):
    """Return what a verification finds during which ``act`` is done, once, right after the ledger was asked for that."""
    asked, done = getattr(MongoLedger, name), []

    def ask(ledger, *what):
        told = list(asked(ledger, *what))
        if act(*what, done=bool(done)):
            done.append(name)
        return iter(told)

    with monkeypatch.context() as patched:
        patched.setattr(MongoLedger, name, ask)
        report = verify_database(world.ledger(), world.published(), lambda _: lambda _: None)
    assert done
    return report.findings


def test_a_worker_that_begins_while_the_log_is_verified_is_no_stranger(world, monkeypatch):
    """Its epoch is registered after the others were read, and its rows are there when rows are counted."""
    world.begin()

    def another_worker_writes(*_, done):
        return not done and bool(world.write(world.writer(), 3))

    assert verified_while(world, monkeypatch, "openings", another_worker_writes) == []


def test_rows_before_and_after_midnight_follow_on_each_other(world, monkeypatch):
    """An epoch goes on in the old month once that is counted, and then in the new one: the first rows are looked for in both."""
    last_second, midnight = datetime(2026, 10, 31, 23, 59, 59, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
    world.clock.set(last_second)
    store, other, leader = world.writer(), world.writer(), world.sealer()
    world.write(store, 5)
    leader.tick()
    world.clock.set(midnight)
    world.write(other, 1)
    leader.tick()
    world.clock.set(last_second)

    def goes_on(period, *, done):
        if done or period != "audit_2026_10":
            return False
        world.write(store, 2)
        world.clock.set(midnight)
        return bool(world.write(store, 2))

    assert verified_while(world, monkeypatch, "tallies", goes_on) == []


def test_a_block_that_was_altered_before_it_was_sealed_is_named_without_a_look_at_the_index(world):
    """What is sealed is what an honest block would hold: this one differs from it ever after."""
    log = Log(world)
    log.rows.update_one({"rows": {"$exists": True}}, {"$set": {"more": 1}})
    world.sealer().tick()

    findings = world.verify().findings

    assert findings
    assert {finding.kind for finding in findings} == {"altered"}


def test_a_head_without_its_line_is_named_and_stops_no_verification(world):
    """It is taken for one that says nothing."""
    world.begin()
    world.seals["heads"].insert_one({"_id": 10**6})

    assert world.verify().findings


@pytest.mark.parametrize("oldest_first", [True, False])
def test_a_row_of_several_moments_hides_no_other(world, oldest_first):
    """A list meets bounds by what it holds, and stands nowhere in the order of time."""
    world.begin()
    row = world.rows.find_one({"rows": {"$exists": False}})
    world.rows.update_one({"_id": row["_id"]}, {"$set": {"rec": [row["rec"]], "t": "x", "u": "x", "pt": "x"}})

    parts, _ = world.stores[0].search_events(EVERYTHING, 100, None, oldest_first=oldest_first)

    assert len(parts) == 39
    assert row["_id"] not in {part.event.id for part in parts}

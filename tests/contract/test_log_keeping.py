"""Retention and keys: a period is removed once it is over and sealed, and what was removed stays proven."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from fhir_dmp.audit.export import export
from fhir_dmp.audit.heads import SignedHead
from fhir_dmp.audit.merkle import consistency_ranges, range_hash, tiles_of, verify_consistency
from fhir_dmp.errors import Conflict, NotFound
from fhir_dmp.service.audit_verify import verify_export
from fhir_dmp.service.log_keeping import Keeper
from fhir_dmp.service.sealer import Sealer
from fhir_dmp.stores.mongo.ledger import remove_month
from tests.sealed_world import IDS, sealed_world

OCTOBER, NOVEMBER = "audit_2026_10", "audit_2026_11"


@pytest.fixture
def world(mongodb_uri, new_database_name, tmp_path):
    """A log of October and November, with an epoch that crosses the month; it is the 20th of November."""
    with sealed_world(mongodb_uri, new_database_name, tmp_path) as made:
        made.store, made.leader, made.announced = made.writer(), made.sealer(), []
        for day in (datetime(2026, 10, 20, tzinfo=UTC), datetime(2026, 10, 31, 23, 59, tzinfo=UTC)):
            made.clock.set(day)
            made.write(made.store, 6)
            made.leader.tick()
        made.clock.set(datetime(2026, 11, 20, tzinfo=UTC))
        made.write(made.store, 4)
        made.leader.tick()
        assert made.verify().findings == []
        yield made


def keeper(world):
    """Return a keeper beside the leader, as a command has it."""
    ledger = world.ledger()
    sealer = Sealer(ledger, world.keys, world.sink, world.clock, IDS)
    return Keeper(
        ledger,
        sealer,
        world.keys,
        world.clock,
        lambda act, context: world.announced.append((act.kind, act.why)),
        lambda period: remove_month(world.uri, world.name, period),
    )


def last_head(world):
    return [SignedHead.from_line(line).head for line in world.sink.lines()][-1]


def test_a_period_that_is_over_is_removed_and_the_log_verifies(world):
    """Twelve rows go, their leaves stay; a head says what they were, and the act has its event."""
    head = keeper(world).retire(OCTOBER, SimpleNamespace())
    report = world.verify()

    assert world.ledger().periods() == [NOVEMBER]
    assert (head.removed.period, head.removed.rows) == (OCTOBER, 12)
    assert last_head(world) == head
    assert world.announced == [("audit-retire", OCTOBER)]
    assert report.findings == []
    assert (report.leaves, report.removed) == (16, 12)


def test_proofs_across_a_removal_hold(world):
    """The tree of before begins the tree of after, and an export with holes verifies."""
    before = last_head(world)
    keeper(world).retire(OCTOBER, SimpleNamespace())
    world.write(world.store, 5)
    world.later(seconds=5)
    world.leader.tick()
    after, ledger = last_head(world), world.ledger()
    ranges = consistency_ranges(before.size, after.size)
    tiles = ledger.tiles(list(tiles_of(ranges)))
    path = [range_hash(leaves, tiles.__getitem__) for leaves in ranges]
    lines = [line.rstrip(b"\n") for line in export(ledger, 0, SignedHead.from_line(ledger.head()))]

    assert after.size == before.size + 5
    assert verify_consistency(before.size, after.size, before.root, after.root, path)
    assert verify_export(lines, world.published(), lambda _: lambda _: None).findings == []


def test_rows_removed_without_a_signed_record_are_missing(world):
    """Whoever drops a month by hand is found out."""
    world.rows.drop()

    assert set(world.found()) == {"missing"}


def test_rows_put_back_into_a_removed_period_are_altered_ones(world):
    """The leaf knows what was there."""
    row = world.database[f"{world.name}_log"][OCTOBER].find_one({"n": 3})
    keeper(world).retire(OCTOBER, SimpleNamespace())
    rows = world.database[f"{world.name}_log"][OCTOBER]
    rows.create_index([("w", 1), ("e", 1), ("n", 1)], unique=True)
    rows.insert_one({**row, "b": b"{}"})

    assert world.found() == ["altered"]


def test_a_period_that_is_not_over_stays(world):
    """The present month, and one that ended within a day; nothing is announced, nothing signed."""
    before = last_head(world)
    with pytest.raises(Conflict, match="2026-12-02"):
        keeper(world).retire(NOVEMBER, SimpleNamespace())
    world.clock.set(datetime(2026, 12, 1, 12, tzinfo=UTC))
    with pytest.raises(Conflict, match="not over"):
        keeper(world).retire(NOVEMBER, SimpleNamespace())
    with pytest.raises(NotFound, match=NOVEMBER):
        keeper(world).retire("audit_2020_01", SimpleNamespace())

    assert last_head(world) == before
    assert world.announced == []


def test_a_period_with_a_row_that_has_no_leaf_stays(world):
    """What is not sealed is not removed."""
    rows = world.database[f"{world.name}_log"][OCTOBER]
    rows.insert_one({**rows.find_one({"n": 3}), "_id": "invented", "e": "feedfeedfeed"})

    with pytest.raises(Conflict, match="feedfeedfeed"):
        keeper(world).retire(OCTOBER, SimpleNamespace())
    assert OCTOBER in world.ledger().periods()


def test_a_period_with_an_altered_row_stays(world):
    """Evidence of tampering is not signed away."""
    world.database[f"{world.name}_log"][OCTOBER].update_one({"n": 3}, {"$set": {"pt": []}})

    with pytest.raises(Conflict, match="not what was sealed"):
        keeper(world).retire(OCTOBER, SimpleNamespace())
    assert OCTOBER in world.ledger().periods()


def test_a_key_is_rotated_beside_the_one_who_seals(world):
    """The leader lets go within seconds, and takes the lease again afterwards."""
    old = world.keys.public()
    new = keeper(world).rotate_key(SimpleNamespace())
    world.write(world.store, 3)
    ends = time.monotonic() + 10
    while not world.leader.tick():
        assert time.monotonic() < ends
        time.sleep(0.1)

    assert world.keys.public() == new != old
    assert last_head(world).key == new.id
    assert world.verify(old).findings == world.verify(new).findings == []
    assert {key.id for key in world.published(old).survey().keys} == {old.id, new.id}

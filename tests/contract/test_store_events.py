"""Events that the store port takes on a real MongoDB: the chain of their rows, and what is sent twice or is large."""

from __future__ import annotations

import hashlib
import secrets

from fhir_dmp.store.change import Commit, Event
from fhir_dmp.store.query import And
from tests.contract.changes import CLOCK, IDS, create, event, together
from tests.fibres import run
from tests.log_rows import rows_of


def test_every_row_of_the_log_carries_the_hash_of_the_one_before(store):
    """Per writer and epoch: numbers without a gap, hashes that follow."""
    together(
        *[lambda: store.record(event()) for _ in range(20)],
        *[lambda: store.commit(Commit((create(),), (event(),))) for _ in range(20)],
    )
    rows = rows_of(store.log)

    assert len(rows) == 40
    last = {}
    for row in rows:
        key = (row.writer, row.epoch)
        number, digest = last.get(key, (0, hashlib.sha256("/".join(key).encode()).digest()))
        assert row.number == number + 1
        assert row.previous == digest
        assert row.hash == hashlib.sha256(digest + row.body).digest()
        last[key] = (row.number, row.hash)


def test_an_event_sent_twice_is_stored_once(store):
    """Its id is chosen before it is sent; the chain of those that follow has no gap."""
    one = event()
    store.record(one)
    store.record(one)
    store.record(event())

    assert store.count_events(And(())).told == 2
    assert sorted(row.number for row in rows_of(store.log)) == [1, 2]


def test_large_events_that_come_together_are_stored_one_by_one(store):
    """Together they would be more than one command of the database carries, and none of them would be disclosed."""
    large = [
        Event(IDS.new(), CLOCK.micros(), secrets.token_hex(6_000_000).encode(), {"t": [], "pt": []}) for _ in range(3)
    ]

    run(*[lambda each=each: store.record(each) for each in large])

    assert all(store.find_event(each.id).body == each.body for each in large)

"""The store port on a real MongoDB: commits and their groups, versions, locks, histories, and faults."""

from __future__ import annotations

import threading

import pytest

from fhir_dmp.errors import Stale, Unavailable
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.settings import Settings
from fhir_dmp.store.change import STAMP, Change, Commit, Lock, PolicyChange
from fhir_dmp.store.port import HistoryPage, Scope
from fhir_dmp.store.query import And, Eq
from fhir_dmp.stores.mongo import connect, transaction
from fhir_dmp.stores.mongo.store import MongoStore
from tests.connections import none_free
from tests.contract.changes import CLOCK, IDS, body, create, event, next_of, together


def test_a_commit_stamps_its_bodies_with_the_moment_it_was_made(store):
    """lastUpdated in the body is the row's own moment, and no two are the same."""
    first, second = store.commit(Commit((create(), create())))

    assert STAMP not in first.body
    assert first.updated < second.updated
    assert store.find_current(first.ref).body == first.body


def test_a_superseded_version_moves_and_stays_findable(store):
    """Version 1 is found before and after version 2 takes its place."""
    (first,) = store.commit(Commit((create(),)))
    assert store.find_version(first.ref, 1).body == first.body
    (second,) = store.commit(Commit((next_of(store.find_current(first.ref)),)))

    assert store.find_current(first.ref).version == 2
    assert store.find_version(first.ref, 1).body == first.body
    assert store.find_version(first.ref, 2).body == second.body
    assert second.co == first.co


def test_of_two_writers_of_one_version_one_wins(store):
    """The other is told that it is out of date, and nothing of it is stored."""
    (first,) = store.commit(Commit((create(),)))
    before = store.find_current(first.ref)
    outcomes = together(*[lambda n=n: store.commit(Commit((next_of(before, str(n)),), (event(),))) for n in range(8)])

    assert sum(isinstance(each, Stale) for each in outcomes) == 7
    assert store.find_current(first.ref).version == 2
    assert store.count_events(And(())).told == 1


def test_a_loser_is_dropped_alone(store):
    """Those who wait in the same group are stored."""
    (first,) = store.commit(Commit((create(),)))
    old = store.find_current(first.ref)
    store.commit(Commit((next_of(old),)))
    outcomes = together(
        lambda: store.commit(Commit((next_of(old),))), *[lambda: store.commit(Commit((create(),))) for _ in range(7)]
    )

    assert isinstance(outcomes[0], Stale)
    assert all(not isinstance(each, Exception) for each in outcomes[1:])


def test_whoever_makes_what_is_there_already_loses_alone(store):
    """An id, a policy, a mark: those who wait in the same group are stored."""
    store.commit(Commit((create("taken"),), policies=(PolicyChange("Patient/p", 0, b"{}"),), marks=("done",)))
    outcomes = together(
        lambda: store.commit(Commit((create("taken"),))),
        lambda: store.commit(Commit((create(),), policies=(PolicyChange("Patient/p", 0, b"{}"),))),
        lambda: store.commit(Commit((create(),), marks=("done",))),
        *[lambda: store.commit(Commit((create(),))) for _ in range(9)],
    )

    assert [isinstance(each, Stale) for each in outcomes] == [True] * 3 + [False] * 9
    assert store.count(Eq("t", "Basic")) == 10


def test_an_id_that_exists_cannot_be_created_again(store):
    """Whoever planned on its absence is out of date."""
    store.commit(Commit((create("one"),)))

    with pytest.raises(Stale):
        store.commit(Commit((create("one"),)))


def test_a_plan_whose_reading_has_moved_on_is_out_of_date(store):
    """relied_on is held to within the transaction."""
    (first,) = store.commit(Commit((create(),)))
    store.commit(Commit((create(),), relied_on={first.ref: 1}))
    store.commit(Commit((next_of(store.find_current(first.ref)),)))

    with pytest.raises(Stale):
        store.commit(Commit((create(),), relied_on={first.ref: 1}))


def test_a_plan_may_rely_on_more_than_one_answer_brings(store):
    """MongoDB answers 101 rows at first; the 150th counts like the first."""
    read = store.commit(Commit(tuple(create() for _ in range(150))))
    relied_on = {each.ref: each.version for each in read}
    store.commit(Commit((create(),), relied_on=relied_on))

    with pytest.raises(Stale):
        store.commit(Commit((create(),), relied_on={**relied_on, read[-1].ref: 2}))


def test_a_commit_larger_than_one_message_is_stored_whole(store, monkeypatch):
    """MongoDB takes 48 MB at once; here a message carries two or three rows, new ones or those that are replaced."""
    monkeypatch.setattr(transaction, "MESSAGE", 10_000)
    large = "x" * 1000
    made = tuple(Change(Ref("Basic", IDS.new()), 1, None, body(large), {"t": ["Basic"]}) for _ in range(40))
    first = store.commit(Commit(made))
    second = store.commit(Commit(tuple(next_of(each, large + "y") for each in first)))

    assert [store.find_version(each.ref, 1).body for each in first] == [each.body for each in first]
    assert [store.find_current(each.ref).body for each in second] == [each.body for each in second]
    with pytest.raises(Stale):
        store.commit(Commit(tuple(next_of(each) for each in (*second[:-1], first[-1]))))


def test_of_many_with_the_same_criteria_one_creates(store):
    """A lock repeats the search within the commit."""
    query = Eq("t", "Basic.identifier=a")
    lock = Lock("Basic?identifier=a", query, ())

    def attempt():
        return store.commit(Commit((create(t=["Basic", "Basic.identifier=a"]),), locks=(lock,)))

    outcomes = together(*[attempt] * 8)

    assert sum(isinstance(each, Stale) for each in outcomes) == 7
    assert store.count(query) == 1


def test_a_failed_commit_leaves_nothing_behind(store):
    """No row, no version, no event, no mark, no lock that matters."""
    store.commit(Commit((create("taken"),)))
    with pytest.raises(Stale):
        store.commit(Commit((create("new"), create("taken")), (event(),), marks=("m",)))

    assert store.find_current(Ref("Basic", "new")) is None
    assert store.count_events(And(())).told == 0
    assert not store.has_mark("m")


def test_history_shows_each_version_once_while_rows_move(store):
    """Pages taken while others write: no version twice, none lost of those that were there."""
    rows = store.commit(Commit(tuple(create() for _ in range(30))))
    over = threading.Event()

    def write():
        while not over.is_set():
            for row in rows[:5]:
                store.commit(Commit((next_of(store.find_current(row.ref)),)))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3):
            seen, before = [], None
            while True:
                found = store.history(Scope("Basic"), HistoryPage(7, before))
                seen += [(row.ref, row.version) for row in found.rows]
                if not found.more:
                    break
                (before,) = found.last
            assert len(seen) == len(set(seen))
            assert {(row.ref, 1) for row in rows} <= set(seen)
    finally:
        over.set()
        writer.join()


def test_a_deletion_is_a_tombstone_that_searches_do_not_find(store):
    """It is still there by id, with its version, and its record comes back as the next."""
    (first,) = store.commit(Commit((create(t=["Basic", "Basic.code=a"]),)))
    before = store.find_current(first.ref)
    store.commit(Commit((Change(first.ref, 2, before, None, {"t": []}),)))
    gone = store.find_current(first.ref)

    assert gone.deleted
    assert gone.version == 2
    assert store.count(Eq("ty", "Basic")) == 0
    store.commit(Commit((next_of(gone),)))
    assert store.find_current(first.ref).version == 3


def test_nobody_waits_without_end_for_a_connection(mongodb_uri, database_name, monkeypatch):
    """Neither who reads nor who writes: they may come again, and nothing was stored meanwhile."""
    monkeypatch.setattr(connect, "ROOM_MILLIS", 50)
    store = MongoStore.connect(mongodb_uri, database_name, clock=CLOCK, settings=Settings())
    change = create("one")
    for call in (lambda: store.find_current(change.ref), lambda: store.commit(Commit((change,), (event(),)))):
        with none_free(store.database.client), pytest.raises(Unavailable, match="busy") as told:
            call()
        assert dict(told.value.headers) == {"Retry-After": "1"}

    assert store.find_current(change.ref) is None
    assert store.commit(Commit((change,), (event(),)))
    store.close()

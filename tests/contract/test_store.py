"""The store port on a real MongoDB: groups, versions, locks, pages, the chain of events, and faults."""

from __future__ import annotations

import hashlib
import secrets
import subprocess
import threading
from decimal import Decimal
from pathlib import Path

import pymongo
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fhir_dmp.clock import RandomIds, SystemClock
from fhir_dmp.errors import Stale, Unavailable
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.fibres import pause
from fhir_dmp.settings import Settings
from fhir_dmp.store.change import STAMP, Change, Commit, Event, Lock, PolicyChange
from fhir_dmp.store.matching import matches
from fhir_dmp.store.port import HistoryPage, Order, Page, Scope
from fhir_dmp.store.query import And, Between, Eq, In, Lasts, Like, Near, Not, Or, Range
from fhir_dmp.stores.mongo import connect, mongod, transaction, walk
from fhir_dmp.stores.mongo.compile import compile_query, to_row
from fhir_dmp.stores.mongo.data_folder import DatabaseError
from fhir_dmp.stores.mongo.embedded import Embedded, ServerLock
from fhir_dmp.stores.mongo.store import MongoStore
from tests.at_once import at_once
from tests.connections import none_free
from tests.fibres import run
from tests.journeys.conftest import free_port
from tests.log_rows import rows_of

IDS, CLOCK = RandomIds(), SystemClock()


@pytest.fixture
def store(mongodb_uri, database_name):
    """An empty store."""
    made = MongoStore.connect(mongodb_uri, database_name, clock=CLOCK, settings=Settings())
    yield made
    made.close()


def event():
    """Return an event with an id of its own."""
    return Event(IDS.new(), CLOCK.micros(), b'{"act":"read"}', {"t": ["a=R"], "pt": []})


def body(text="x"):
    """Return a body that waits for its moment."""
    return b'{"resourceType":"Basic","meta":{"lastUpdated":"' + STAMP + b'"},"x":"' + text.encode() + b'"}'


def create(own=None, **index):
    """Return the change that makes a new resource."""
    return Change(Ref("Basic", own or IDS.new()), 1, None, body(), {"t": ["Basic"], **index})


def next_of(before, text="y", **index):
    """Return the change that makes the next version."""
    return Change(before.ref, before.version + 1, before, body(text), {"t": ["Basic"], **index})


def together(*calls):
    """Run the calls at the same time and return their results or errors."""

    def run(call):
        try:
            return call()
        except Exception as error:
            return error

    return at_once(run, calls)


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


def test_whose_rows_are_counted_is_told_without_them(store):
    """Of present rows and of versions, up to a limit: their patients and labels, and nothing that they hold."""
    made = [store.commit(Commit((create(pt=[f"Patient/{name}"], sec=[f"s|{name}"]),)))[0] for name in "abc"]
    store.commit(Commit((next_of(store.find_current(made[0].ref), pt=["Patient/d"]),)))
    present = store.concerned(Eq("t", "Basic"), 9)
    versions = store.history_concerned(Scope("Basic"), 9)

    assert [len(store.concerned(Eq("t", "Basic"), limit)) for limit in (1, 2, 9)] == [1, 2, 3]
    assert {name for row in present for name in row.index["pt"]} == {"Patient/b", "Patient/c", "Patient/d"}
    assert {name for row in versions for name in row.index["pt"]} == {f"Patient/{name}" for name in "abcd"}
    assert {row.body for row in (*present, *versions)} == {None}
    assert {"s|b"} <= {label for row in present for label in row.index.get("sec", ())}
    assert not any("t" in row.index for row in present)


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


@pytest.mark.parametrize("crowd", [0, 150])
def test_many_criteria_are_asked_at_once_and_each_is_answered(store, crowd):
    """None, the one, two for many, though one of the criteria meets more than a common answer brings."""
    numbered = [create(t=["Basic", f"n={place}"]) for place in range(20)]
    store.commit(Commit((*numbered, create(t=["n=0"]), *(create(t=["crowd"]) for _ in range(crowd)))))
    queries = [*(Eq("t", f"n={place}") for place in range(21)), Eq("t", "crowd")]

    found = store.find_each(queries)

    assert [len(rows) for rows in found] == [2, *[1] * 19, 0, min(crowd, 2)]
    assert [rows[0].ref for rows in found[1:20]] == [change.ref for change in numbered[1:]]
    assert store.find_each(()) == ()


def test_tokens_that_stand_side_by_side_are_told_once(store):
    """Those with one of the beginnings, row by row; rows without any are passed over, and what is beyond the limit is not told."""
    rows = (["n", "u=a", "v=1", "x=1"], ["n", "u=a", "v=1", "x=2"], ["n", "u=a"], ["n", "x=3"], ["u=b", "v=2"])
    store.commit(Commit(tuple(create(t=list(tokens)) for tokens in rows)))

    assert set(store.tokens(Eq("t", "n"), ("u=", "v="), 10)) == {("u=a", "v=1"), ("u=a",)}
    assert len(store.tokens(Eq("t", "n"), ("u=", "v="), 1)) == 1
    assert store.tokens(Eq("t", "none"), ("u=",), 10) == ()


def test_tokens_and_keys_are_told_by_how_they_begin_to_the_letter(store):
    """Whatever characters they hold, and whether or not the beginnings have anything in common."""
    held = [
        "n",
        "$t=1",
        "$t=$n",
        "T.a=é",
        "T.a=\ud7ff",
        "T.a=\U0010ffff",
        "T.a",
        "T.b=x",
        "T.ab=y",
        "t.a=z",
        "=",
        ".*=1",
    ]
    store.commit(Commit((create(t=held),)))
    found = Eq("t", "n")

    assert set(store.keys(found, "T.a=", 10)) == {"é", "\ud7ff", "\U0010ffff"}
    assert set(store.keys(found, "$t=", 10)) == {"1", "$n"}
    assert store.keys(found, ".*=", 10) == ("1",)
    assert store.keys(found, "T.c=", 10) == ()
    assert store.tokens(found, ("T.a=", "T.b="), 10) == (("T.a=é", "T.a=\ud7ff", "T.a=\U0010ffff", "T.b=x"),)
    assert store.tokens(found, ("T.ab=", "t.a=", "$t=1"), 10) == (("$t=1", "T.ab=y", "t.a=z"),)


def test_a_failed_commit_leaves_nothing_behind(store):
    """No row, no version, no event, no mark, no lock that matters."""
    store.commit(Commit((create("taken"),)))
    with pytest.raises(Stale):
        store.commit(Commit((create("new"), create("taken")), (event(),), marks=("m",)))

    assert store.find_current(Ref("Basic", "new")) is None
    assert store.count_events(And(())).told == 0
    assert not store.has_mark("m")


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


@pytest.mark.parametrize(
    "order",
    [
        (),
        (Order("lu", descending=True),),
        (Order("_id"),),
        (Order("t:Basic.name="),),
        (Order("r:Basic.date", descending=True),),
        (Order("ds", descending=True),),
        (Order("ds"),),
        (Order("ds"), Order("co", descending=True)),
    ],
)
def test_pages_show_every_row_once_in_their_order(store, order):
    """Also rows without a value, which come last."""
    for number in range(23):
        valued = number % 4
        tokens = ["Basic", *([f"Basic.name={number % 5}"] if valued else [])]
        index = {"t": tokens}
        if valued:
            index.update(r=[{"k": "Basic.date", "lo": number % 5, "hi": number % 5 + 1}], ds=number % 5)
        store.commit(Commit((create(**index),)))
    seen, after = [], None
    while True:
        found = store.search(Eq("t", "Basic"), Page(4, order, after, with_index=True))
        seen += [row.index for row in found.rows]
        if not found.more:
            break
        after = found.last

    assert len({row["_id"] for row in seen}) == len(seen) == 23
    if order and order[0].field.startswith("t:"):
        names = [next((token for token in row["t"] if "name=" in token), "~") for row in seen]
        assert names == sorted(names)
    if order and order[0].field == "ds":
        last = -1 if order[0].descending else 9
        starts = [row.get("ds", last) for row in seen]
        assert starts == sorted(starts, reverse=order[0].descending)


_NAMES = st.lists(st.sampled_from(["P.x=a", "P.x=ab", "P.x=b", "P.x=é", "P.x:exact=A", "P.y=a", "P.x^a"]), unique=True)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(_NAMES, max_size=14), limit=st.integers(1, 5), farthest=st.integers(1, 20))
def test_many_rows_are_walked_in_the_order_in_which_few_are_sorted(store, monkeypatch, rows, limit, farthest):
    """By several values or none, equal ones and such as begin alike, page by page, however far is gone for one."""
    current = store.database["current"]
    current.delete_many({})
    for number, tokens in enumerate(rows):
        current.insert_one(
            {
                "_id": f"P/{number}",
                "ty": "P",
                "v": 1,
                "lu": f"{number:017x}",
                "co": f"{number:017x}",
                "t": ["P", *tokens],
            }
        )
    own = [sorted(token for token in tokens if token.startswith("P.x=")) for tokens in rows]
    meant = sorted(range(len(rows)), key=lambda number: (not own[number], own[number][:1], number))
    for many in (1, 1000):
        monkeypatch.setattr(walk, "MANY", many)
        monkeypatch.setattr(walk, "FARTHEST", farthest)
        seen, after = [], None
        while after is not None or not seen:
            found = store.search(Eq("t", "P"), Page(limit, (Order("t:P.x="),), after))
            seen += [int(row.ref.id) for row in found.rows]
            if not found.more:
                break
            after = found.last
        assert seen == meant


_ORDERS = st.sampled_from(
    [
        (Order("t:P.x=", descending=True),),
        (Order("t:P.x=", descending=True), Order("t:P.y=")),
        (Order("t:P.x="), Order("t:P.y=", descending=True)),
        (Order("t:P.x="), Order("ds"), Order("t:P.y=")),
        (Order("ds"), Order("t:P.x=")),
        (Order("ds", descending=True), Order("t:P.x="), Order("t:P.y=", descending=True)),
        (Order("t:P.x=", descending=True), Order("lu", descending=True)),
    ]
)
_DATED_NAMES = st.tuples(
    st.lists(st.sampled_from(["P.x=a", "P.x=ab", "P.x=é", "P.y=a", "P.y=b"]), unique=True, min_size=1, max_size=3),
    st.none() | st.integers(0, 2),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(_DATED_NAMES, min_size=9, max_size=20),
    order=_ORDERS,
    limit=st.integers(1, 3),
    farthest=st.sampled_from([1, 3, 40]),
)
def test_many_rows_are_sorted_where_their_page_lies_as_all_of_them_are(
    store, monkeypatch, rows, order, limit, farthest
):
    """Downwards, by several keys, and by a date before others: the same pages as where all that match are fetched and sorted."""
    current = store.database["current"]
    current.delete_many({})
    for number, (tokens, date) in enumerate(rows):
        dated = {} if date is None else {"ds": date}
        row = {"_id": f"P/{number}", "ty": "P", "v": 1, "lu": f"{number:017x}", "co": f"{number:017x}", **dated}
        current.insert_one({**row, "t": [*(["P"] if number % 4 else ["Q"]), *tokens]})
    monkeypatch.setattr(walk, "FARTHEST", farthest)
    pages = []
    for many in (1, 1000):
        monkeypatch.setattr(walk, "MANY", many)
        seen, after = [], None
        while (after is not None or not seen) and len(seen) <= len(rows):
            found = store.search(Eq("t", "P"), Page(limit, order, after))
            seen.append([int(row.ref.id) for row in found.rows])
            after = found.last if found.more else None
            if after is None:
                break
        pages.append(seen)

    assert pages[0] == pages[1]
    assert sorted(number for page in pages[0] for number in page) == [n for n in range(len(rows)) if n % 4]


FIELDS = st.sampled_from(["a", "b", "ab", "b|c", ""])
TOKENS = st.sampled_from(["P.x=a", "P.x=ab", "P.y=b|c", "P", "P.y=%(", "P.x=é"])
NUMBERS = st.one_of(st.integers(-3, 3), st.decimals(-3, 3, places=1))
BOUNDS = st.tuples(st.none() | NUMBERS, st.none() | NUMBERS)
ROWS = st.fixed_dictionaries(
    {"t": st.lists(TOKENS, unique=True), "ty": st.sampled_from(["P", "O"])},
    optional={
        "r": st.lists(
            st.fixed_dictionaries({"k": st.sampled_from(["P.d", "P.d~"]), "lo": NUMBERS, "hi": NUMBERS}), min_size=1
        ),
        "pt": st.lists(st.sampled_from(["Patient/1", "Patient/2"]), unique=True),
        "ds": st.integers(-3, 3),
    },
)
QUERIES = st.recursive(
    st.one_of(
        st.builds(Eq, st.just("t"), TOKENS),
        st.builds(Eq, st.just("ty"), st.sampled_from(["P", "O"])),
        st.builds(In, st.just("pt"), st.lists(st.sampled_from(["Patient/1", "Patient/3"])).map(tuple)),
        st.builds(Between, st.just("t"), st.none() | TOKENS, st.none() | TOKENS),
        st.builds(Like, st.just("t"), st.sampled_from(["P.x=", "P.y="]), FIELDS, st.booleans()),
        st.builds(Near, st.just("P.d"), st.floats(-3, 3), st.floats(-180, 180), st.floats(0, 1e6)),
        st.builds(Range, st.sampled_from(["P.d", "P.d~"]), BOUNDS, BOUNDS),
        st.builds(Lasts, st.integers(-3, 3)),
    ),
    lambda inner: st.one_of(
        st.builds(And, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Not, inner),
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROWS, min_size=1, max_size=6), queries=st.lists(QUERIES, min_size=1, max_size=6))
@example(
    rows=[{"ty": "P", "t": ["P.x=a"]}, {"ty": "P", "t": ["P.y=b|c"]}],
    queries=[
        And((Eq("ty", "P"), Eq("ty", "P"), And((Not(Eq("t", "P.x=a")), Not(Eq("t", "P.y=b|c")))))),
        And((And((Eq("t", "P.x=a"), Eq("t", "P.x=ab"))), Eq("ty", "P"), Eq("ty", "P"))),
    ],
)
def test_what_a_query_means_and_what_mongodb_finds_agree(store, rows, queries):
    """``matches`` is the meaning; the adapter's filter must find the same rows."""
    collection = store.database["agreement"]
    collection.delete_many({})
    collection.insert_many([{"_id": place, **to_row(row)} for place, row in enumerate(rows)])
    for query in queries:
        meant = {place for place, row in enumerate(rows) if matches(query, row)}
        found = {row["_id"] for row in collection.find(compile_query(query), {"_id": 1})}
        assert found == meant, query


@pytest.mark.parametrize(
    "order",
    [
        (),
        (Order("lu", descending=True),),
        (Order("ds"),),
        (Order("ds", descending=True),),
        (Order("t:Basic.name="),),
        (Order("t:Basic.name=", descending=True), Order("ds")),
    ],
)
def test_a_fibre_finds_what_a_thread_finds_and_others_go_on(store, monkeypatch, order):
    """In every order, few or many, with what is found one by one and what was superseded: another fibre has its turns meanwhile."""
    monkeypatch.setattr(walk, "MANY", 5)
    rows = [create(f"o{n}", t=["Basic", f"Basic.name=n{n % 7}"], **({"ds": n % 5} if n % 3 else {})) for n in range(12)]
    made = store.commit(Commit(tuple(rows), (event(),)))
    store.commit(Commit((next_of(made[0]),), (event(),)))
    asked = [
        lambda: store.search(Eq("t", "Basic"), Page(4, order)).rows,
        lambda: store.find_each([Eq("t", "Basic.name=n3"), Eq("t", "Basic.name=n9"), Eq("t", "Basic")]),
        lambda: store.find_version(made[0].ref, 1),
    ]
    turns = []

    def other():
        for _ in range(3):
            pause(0)
            turns.append(1)

    found = run(*asked, other)[:-1]

    assert found == [ask() for ask in asked]
    assert found[0]
    assert len(turns) == 3


@pytest.mark.parametrize("order", ["co", "t:Basic.code="], ids=["in the order of an index", "in another"])
def test_rows_that_nobody_searches_in_come_without_what_they_are_found_by(store, order):
    """And with all else, present and past, however they are found: rules look at it."""
    told = {"pt": ["Patient/p"], "ds": 5, "sec": ["s|V"], "ca": "10"}
    searched = {"t": ["Basic", "Basic.code=a"], "r": [{"k": "Basic.created", "lo": 5, "hi": 6}], "w": ["word"]}
    (first,) = store.commit(Commit((create(**told, **searched),)))
    store.commit(Commit((next_of(store.find_current(first.ref), **told, **searched),)))

    whole, rest = (
        [
            *store.search(Eq("t", "Basic"), Page(5, (Order(order),), with_index=with_index)).rows,
            *store.history(Scope(), HistoryPage(5, with_index=with_index)).rows,
        ]
        for with_index in (True, False)
    )

    assert len(whole) == 3
    for row, left in zip(whole, rest, strict=True):
        assert not {"t", "r", "w"} & set(left.index)
        assert (
            left.index.items()
            >= {name: value for name, value in row.index.items() if name not in ("t", "r", "w")}.items()
        )
        assert (left.body, left.ref, left.version) == (row.body, row.ref, row.version)


def test_decimals_come_back_from_the_index_as_they_went_in(store):
    """36.70 keeps its precision there too."""
    span = {"k": "Basic.value", "lo": Decimal("36.65"), "hi": Decimal("36.70")}
    (first,) = store.commit(Commit((create(r=[span]),)))

    assert store.find_current(first.ref).index["r"] == [span]


def test_a_database_that_does_not_answer_is_unavailable():
    """Quickly, and without a stack trace of the driver."""
    with pytest.raises(Unavailable):
        MongoStore.connect("mongodb://127.0.0.1:1/?directConnection=true", "x", clock=CLOCK, settings=Settings())


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


def test_without_any_mongod_the_three_ways_to_get_one_are_named(monkeypatch):
    """The package, PATH, or an address."""
    monkeypatch.setattr(mongod, "_packaged", lambda: None)
    monkeypatch.setenv("PATH", "")

    with pytest.raises(DatabaseError, match=r"fhir_dmp\[embedded\].*PATH.*DMP_MONGODB_URI"):
        mongod.find_mongod()


def test_two_servers_cannot_have_one_folder(tmp_path):
    """The lock goes with the process."""
    first = ServerLock(tmp_path)
    with pytest.raises(DatabaseError, match="--data-dir"):
        ServerLock(tmp_path)
    first.release()
    ServerLock(tmp_path).release()


def test_the_secrets_of_the_embedded_database_are_its_owners_alone(tmp_path):
    """Key file, password and place are 0600, the folder 0700; what joins does not stop what it joined."""
    owner = Embedded.ensure(tmp_path)
    try:
        guest = Embedded.ensure(tmp_path)
        guest.stop()
        with pymongo.MongoClient(owner.uri) as client:
            assert client.admin.command("hello")["setName"] == "rs0"
        root = Path(tmp_path) / "mongodb"
        assert root.stat().st_mode & 0o77 == 0
        for name in ("keyfile", "password", "mongod.json"):
            assert (root / name).stat().st_mode & 0o77 == 0
    finally:
        owner.stop()


def test_a_standalone_is_refused_with_the_reason(tmp_path):
    """Transactions need a replica set, and the message says how to have one."""
    port = free_port()
    command = [mongod.find_mongod(), "--dbpath", tmp_path, "--port", str(port), "--bind_ip", "127.0.0.1"]
    process = subprocess.Popen([*command, "--nounixsocket", "--logpath", tmp_path / "log"], stdout=subprocess.DEVNULL)
    try:
        uri = f"mongodb://127.0.0.1:{port}/?directConnection=true"
        with pymongo.MongoClient(uri, serverSelectionTimeoutMS=60_000) as client:
            client.admin.command("ping")
        with pytest.raises(Unavailable, match="replSet"):
            MongoStore.connect(uri, "x", clock=CLOCK, settings=Settings())
    finally:
        process.terminate()
        process.wait(60)

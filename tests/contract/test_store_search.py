"""What the store port finds on a real MongoDB, in which order and page by page."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fhir_dmp.fibres import pause
from fhir_dmp.store.change import Commit
from fhir_dmp.store.port import HistoryPage, Order, Page, Scope
from fhir_dmp.store.query import Eq
from fhir_dmp.stores.mongo import walk
from tests.contract.changes import create, event, next_of
from tests.fibres import run


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

"""What a query means and what MongoDB finds by it, drawn at random, are the same."""

from __future__ import annotations

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fhir_dmp.store.matching import matches
from fhir_dmp.store.query import And, Between, Eq, In, Lasts, Like, Near, Not, Or, Range
from fhir_dmp.stores.mongo.compile import compile_query, to_row

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

"""The algebra of queries: what is said together means what was said one by one."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from fhir_dmp.store.matching import matches
from fhir_dmp.store.query import (
    NOTHING,
    And,
    Between,
    Eq,
    In,
    Not,
    Or,
    both,
    either,
    mentions,
    prefix,
    span,
    together,
)

TOKENS = ("a", "b", "c")
SIMPLE = st.one_of(
    st.builds(Eq, st.sampled_from(("t", "au")), st.sampled_from(TOKENS)),
    st.builds(
        lambda field, values: In(field, tuple(values)), st.sampled_from(("t", "au")), st.lists(st.sampled_from(TOKENS))
    ),
)
QUERIES = st.lists(
    st.builds(lambda parts: both(*parts), st.lists(st.one_of(SIMPLE, st.builds(Not, SIMPLE)), max_size=3)), max_size=4
)
ROWS = st.fixed_dictionaries({"t": st.lists(st.sampled_from(TOKENS)), "au": st.lists(st.sampled_from(TOKENS))})


@given(QUERIES, ROWS)
def test_queries_asked_together_find_what_one_of_them_finds(queries, row):
    """Neither more nor less, whatever they share."""
    assert matches(together(queries), row) == any(matches(query, row) for query in queries)


def test_what_all_ask_is_said_once_and_values_stand_side_by_side():
    """Conditional entries of one caller become one look into one index."""
    mine = either([Eq("au", "me"), Eq("au", "us")])

    asked = together([both(Eq("t", "a"), mine), both(Eq("t", "b"), mine), both(In("t", ("a", "c")), mine)])

    assert asked == both(mine, In("t", ("a", "b", "c")))


def test_no_query_finds_nothing():
    """The disjunction of nothing holds for no row."""
    assert together([]) == NOTHING


TEXTS = st.text(st.sampled_from("ab\ud7ff\ue000\uffff\U0010ffff"), max_size=4)


@given(TEXTS, TEXTS)
def test_a_prefix_finds_what_begins_with_it_and_nothing_else(start, text):
    """Whatever its last character is: surrogates are none that could follow it, and behind the last of all comes none."""
    query = prefix("t", f"T.p={start}")

    query.high.encode()
    assert matches(query, {"t": [f"T.p={text}"]}) == text.startswith(start)
    assert matches(query, {"t": [f"T.p={start}{text}"]})


def test_to_ask_what_a_query_looks_at_keeps_nothing_of_it():
    """A list's rules name up to a thousand Provenances, others each time: who polls histories would fill the memory with them."""
    named = tuple(f"Provenance/{number}" for number in range(1000))
    before = sys.getrefcount(named)

    looked = [mentions(In("_id", named), frozenset({field})) for field in ("_id", "t")]

    assert looked == [True, False]
    assert sys.getrefcount(named) == before


MOMENT = st.integers(0, 9)
TIMES = st.recursive(
    st.one_of(
        st.builds(Eq, st.just("rec"), MOMENT),
        st.builds(Between, st.just("rec"), st.none() | MOMENT, st.none() | MOMENT),
        SIMPLE,
    ),
    lambda parts: st.one_of(
        st.builds(Not, parts),
        st.builds(lambda found: And(tuple(found)), st.lists(parts, max_size=3)),
        st.builds(lambda found: Or(tuple(found)), st.lists(parts, max_size=3)),
    ),
)


@given(TIMES, MOMENT)
def test_no_row_that_meets_a_query_has_a_number_out_of_its_span(query, moment):
    """Where rows lie by a number, those of other numbers need not be asked."""
    low, high = span(query, "rec")
    if matches(query, {"rec": moment, "t": ["a"], "au": ["b"]}):
        assert (low is None or low <= moment) and (high is None or moment < high)


def test_the_span_of_a_query_is_as_narrow_as_what_it_says():
    """All that is asked at once narrows it; of alternatives the widest counts."""
    first, second = Between("rec", 1, 5), Between("rec", 3, 9)

    assert span(And((first, second, In("t", ("a",)))), "rec") == (3, 5)
    assert span(Or((first, second)), "rec") == (1, 9)
    assert span(Or((first, In("t", ("a",)))), "rec") == (None, None)
    assert span(And((Eq("rec", 4), Between("rec", None, 9))), "rec") == (4, 5)

"""Dates: every prefix against a plain reading of R4. https://hl7.org/fhir/R4/search.html#date."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_dmp.errors import FhirError
from tests.unit.search.world import NOON, finds, finds_value, matches, query_of, row_of

EARLIEST, LATEST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)

moments = st.integers(0, 63 * 86_400).map(lambda second: datetime(2023, 12, 30, tzinfo=UTC) + timedelta(seconds=second))
cuts = st.sampled_from(["%Y", "%Y-%m", "%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"])
dates = st.builds(lambda moment, cut: moment.strftime(cut), moments, cuts)
ends = st.one_of(st.none(), dates)


def covered(text):
    """Return what a date covers, first moment and first moment after."""
    for cut, following in (
        ("%Y", lambda start: start.replace(year=start.year + 1)),
        ("%Y-%m", lambda start: (start + timedelta(days=31)).replace(day=1)),
        ("%Y-%m-%d", lambda start: start + timedelta(days=1)),
        ("%Y-%m-%dT%H:%M:%SZ", lambda start: start + timedelta(seconds=1)),
    ):
        try:
            start = datetime.strptime(text, cut).replace(tzinfo=UTC)
        except ValueError:
            continue
        return start, following(start)
    raise AssertionError(text)


def overlap(one, other):
    return one[0] < other[1] and other[0] < one[1]


def contains(outer, inner):
    return outer[0] <= inner[0] and inner[1] <= outer[1]


def reading(prefix, asked, target):
    """Say what the table of prefixes says of two ranges, word for word."""
    above, below = (asked[1], LATEST), (EARLIEST, asked[0])
    return {
        "eq": contains(asked, target),
        "ne": not contains(asked, target),
        "gt": overlap(above, target),
        "lt": overlap(below, target),
        "ge": overlap(above, target) or contains(asked, target),
        "le": overlap(below, target) or contains(asked, target),
        "sa": not overlap(asked, target) and contains(above, target),
        "eb": not overlap(asked, target) and contains(below, target),
        "ap": overlap(widened(asked), target),
    }[prefix]


def widened(asked):
    tenth = abs(NOON - asked[0]) / 10
    return asked[0] - tenth, asked[1] + tenth


prefixes = st.sampled_from(["eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"])


@settings(max_examples=400)
@given(prefixes, dates, dates)
def test_a_date_is_found_as_the_table_of_prefixes_says(prefix, asked, target):
    """Value and question are ranges by their precision."""
    resource = {"resourceType": "Condition", "recordedDate": target}
    assert finds_value("recorded-date", prefix + asked, resource) == reading(prefix, covered(asked), covered(target))


@settings(max_examples=400)
@given(prefixes, dates, ends, ends)
def test_a_period_is_found_as_the_table_of_prefixes_says(prefix, asked, start, end):
    """A missing end is beyond every date; without both there is nothing to find."""
    period = {name: text for name, text in (("start", start), ("end", end)) if text}
    resource = {"resourceType": "Encounter", "period": period}
    target = (covered(start)[0] if start else EARLIEST, covered(end)[1] if end else LATEST)
    expected = bool(period) and reading(prefix, covered(asked), target)
    if target[0] < target[1]:
        assert finds_value("date", prefix + asked, resource) == expected


@pytest.mark.parametrize(
    ("question", "target", "found"),
    [
        ("eq2013-01-14", "2013-01-14T00:00:00Z", True),
        ("eq2013-01-14", "2013-01-14T10:00:00Z", True),
        ("2013-01-14", "2013-01-15T00:00:00Z", False),
        ("ne2013-01-14", "2013-01-15T00:00:00Z", True),
        ("ne2013-01-14", "2013-01-14T10:00:00Z", False),
        ("lt2013-01-14T10:00", "2013-01-14", True),
        ("gt2013-01-14T10:00", "2013-01-14", True),
        ("2013-01-14", "2013-01", False),
        ("2013-01", "2013-01-14", True),
        ("2013-01-14T23:30:00Z", "2013-01-15T00:30:00+01:00", True),
        ("2013-01-14", "2013-01-15T00:30:00+01:00", True),
        ("2013-01-15T00:30:00+01:00", "2013-01-14T23:30:00Z", True),
    ],
)
def test_the_examples_of_the_standard_hold(question, target, found):
    """Those of the table, and zones."""
    assert finds_value("recorded-date", question, {"resourceType": "Condition", "recordedDate": target}) is found


@pytest.mark.parametrize(
    ("question", "period", "found"),
    [
        ("ge2013-03-14", {"start": "2013-01-21"}, True),
        ("le2013-03-14", {"start": "2013-01-21"}, True),
        ("sa2013-03-14", {"start": "2013-03-15"}, True),
        ("sa2013-03-14", {"start": "2013-01-21"}, False),
        ("sa2013-03-14", {"end": "2013-01-21"}, False),
        ("eb2013-03-14", {"start": "2013-03-15"}, False),
        ("eb2013-03-14", {"start": "2013-01-21"}, False),
        ("eb2013-03-14", {"end": "2013-01-21"}, True),
        ("ge2013-01-01", {"start": "2012-12-01", "end": "2013-01-01"}, False),
        ("ge2013", {"start": "2012-12-28", "end": "2013-01-03"}, False),
        ("gt2012", {"start": "2012-12-28", "end": "2013-01-03"}, True),
        ("le2013", {"start": "2012-12-28", "end": "2013-01-03"}, True),
        ("le2012", {"start": "2012-12-28", "end": "2013-01-03"}, False),
        ("ge2013-01-01", {"start": "2013-01-01", "end": "2013-01-01"}, True),
        ("le2013-01-01", {"start": "2013-01-01", "end": "2013-02-01"}, False),
        ("le2013-01-01", {"start": "2013-01-01T08:00:00Z", "end": "2013-01-01T09:00:00Z"}, True),
    ],
)
def test_the_examples_of_open_periods_hold(question, period, found):
    """From 21-Jan 2013 onwards, and before and including it."""
    assert finds_value("date", question, {"resourceType": "Encounter", "period": period}) is found


def test_a_plus_that_came_as_a_space_is_a_plus():
    """A zone is often sent without its % encoding."""
    resource = {"resourceType": "Condition", "recordedDate": "2013-01-14T23:30:00Z"}
    assert finds("recorded-date=2013-01-15T00:30:00+01:00", resource)


def test_any_of_several_dates_is_enough():
    """A comma is or, a repeated parameter is and."""
    resource = {"resourceType": "Condition", "recordedDate": "2013-01-14"}
    assert finds("recorded-date=2012,2013", resource)
    assert finds("recorded-date=ge2013&recorded-date=lt2014", resource)
    assert not finds("recorded-date=ge2013&recorded-date=lt2013-01-14", resource)


def test_a_resource_without_the_date_is_missing_it():
    """:missing tells both ways, also for a period that is open."""
    without, with_it = {"resourceType": "Encounter"}, {"resourceType": "Encounter", "period": {"start": "2013"}}
    assert finds("date:missing=true", without)
    assert not finds("date:missing=false", without)
    assert finds("date:missing=false", with_it)
    assert not finds("date:missing=true", with_it)
    assert not finds("date=ne2013", without)


@pytest.mark.parametrize("value", ["", "yesterday", "2013-13", "xx2013", "ge", "2013-01-14T10", "1" * 5000])
def test_what_is_no_date_is_refused(value):
    """400, whatever it is."""
    with pytest.raises(FhirError) as refusal:
        finds_value("recorded-date", value, {"resourceType": "Condition"})
    assert refusal.value.status == 400


def test_a_modifier_that_dates_do_not_take_is_refused():
    """R4: reject, never ignore."""
    with pytest.raises(FhirError, match="not supported"):
        finds("recorded-date:exact=2013", {"resourceType": "Condition"})


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("gt2199", False),
        ("lt2199", True),
        ("lt9999", True),
        ("gt1800", True),
        ("lt1969", False),
        ("2024-01-01", True),
        ("ne2024", False),
    ],
)
def test_last_updated_reads_the_moment_of_the_row(question, found):
    """However far the question is from any clock."""
    micros = int(datetime(2024, 1, 1, 10, tzinfo=UTC).timestamp() * 1_000_000)
    row = row_of({"resourceType": "Patient"}, lu=f"{micros:013x}w0001")
    assert matches(query_of("Patient", f"_lastUpdated={question}"), row) is found

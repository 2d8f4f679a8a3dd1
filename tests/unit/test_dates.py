"""Partial dates as intervals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from email.utils import formatdate
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_dmp.fhir.dates import FIRST, LAST, anniversary, http_date, interval, of_value

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(*parts, zone=UTC):
    return (datetime(*parts, tzinfo=zone) - EPOCH) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2024", (2024, 1, 1), (2025, 1, 1)),
        ("2024-02", (2024, 2, 1), (2024, 3, 1)),
        ("2023-12", (2023, 12, 1), (2024, 1, 1)),
        ("2024-02-29", (2024, 2, 29), (2024, 3, 1)),
        ("2024-02-29T23:59", (2024, 2, 29, 23, 59), (2024, 3, 1)),
        ("2024-02-29T23:59Z", (2024, 2, 29, 23, 59), (2024, 3, 1)),
        ("2016-12-31T23:59:60Z", (2016, 12, 31, 23, 59, 59), (2017, 1, 1)),
        ("1969-12-31", (1969, 12, 31), (1970, 1, 1)),
    ],
)
def test_a_partial_date_covers_all_that_it_does_not_say(text, start, end):
    """A year is its twelve months, a day its 24 hours, a minute its 60 seconds."""
    assert interval(text) == (micros(*start), micros(*end))


def test_the_last_year_of_the_calendar_ends():
    """9999 is a year like any other."""
    low, high = interval("9999")
    assert high - low == 365 * 86_400_000_000


def test_a_fraction_covers_its_last_digit():
    """.5 is a tenth of a second, .123456789 cannot be less than a microsecond."""
    low = micros(2024, 1, 1)
    assert interval("2024-01-01T00:00:00.5Z") == (low + 500_000, low + 600_000)
    assert interval("2024-01-01T00:00:00.123Z") == (low + 123_000, low + 124_000)
    assert interval("2024-01-01T00:00:00.123456789Z") == (low + 123_456, low + 123_457)


@given(
    st.integers(-(10**16), 10**17).map(lambda micro: EPOCH + timedelta(microseconds=micro)),
    st.integers(-14 * 60, 14 * 60),
)
def test_a_zone_moves_the_moment(moment, minutes):
    """The same instant written in any zone is the same interval."""
    zone = timezone(timedelta(minutes=minutes))
    sign, size = ("-", -minutes) if minutes < 0 else ("+", minutes)
    there = moment.astimezone(zone).replace(tzinfo=None)
    written = f"{there.isoformat(timespec='microseconds')}{sign}{size // 60:02d}:{size % 60:02d}"
    start = (moment - EPOCH) // timedelta(microseconds=1)
    assert interval(written) == (start, start + 1)


@pytest.mark.parametrize(
    "text",
    ["", "24", "2024-13", "2024-02-30", "2023-02-29", "2024-1-1", "2024-01-01T24:00:00Z", "2024-01-01T10", "2024-01-01T10:60Z",
     "2024-01-01T10:00:00+15:00", "0000-01-01", "2024-01-01 10:00", "٢٠٢٤", "2024-01-01T10:00:00.Z", "2024\n", "gt2024"],
)  # fmt: skip
def test_what_is_no_date_is_said_so(text):
    """Never a guess."""
    with pytest.raises(ValueError, match=r"date|day|month|year"):
        interval(text)


def test_an_instant_is_a_point_whatever_its_digits():
    """R4 gives instants an effective width of zero; a dateTime of the same text covers its second."""
    low = micros(2024, 1, 1)
    assert of_value("2024-01-01T00:00:00Z", "instant") == [(low, low + 1)]
    assert of_value("2024-01-01T00:00:00Z", "dateTime") == [(low, low + 1_000_000)]


def test_a_period_is_open_where_it_says_nothing():
    """A missing start is before everything, a missing end after everything; the end's whole day belongs to it."""
    start, end = micros(2024, 1, 1), micros(2024, 2, 1)
    assert of_value({"start": "2024-01-01", "end": "2024-01-31"}, "Period") == [(start, end)]
    assert of_value({"start": "2024-01-01"}, "Period") == [(start, LAST)]
    assert of_value({"end": "2024-01-31"}, "Period") == [(FIRST, end)]
    assert of_value({}, "Period") == []


def test_only_the_outer_limits_of_a_timing_matter():
    """Events and bounds together make one interval."""
    timing = {
        "event": ["2024-01-10", "2024-01-02"],
        "repeat": {"boundsPeriod": {"end": "2024-01-31", "start": "2024-01-05"}},
    }
    assert of_value(timing, "Timing") == [(micros(2024, 1, 2), micros(2024, 2, 1))]
    assert of_value({"repeat": {"frequency": 1}}, "Timing") == []


@pytest.mark.parametrize("value", [None, 5, [], {}, "tomorrow", {"start": 5}, {"event": "2024"}])
@pytest.mark.parametrize("datatype", ["date", "Period", "Timing", "instant", "Age"])
def test_what_is_not_understood_has_no_interval(value, datatype):
    """Nothing is indexed for it, and nothing crashes."""
    assert of_value(value, datatype) == []


@pytest.mark.parametrize(
    ("born", "zone", "moment"),
    [
        ("2008-11-26", "UTC", (2026, 11, 26)),
        ("2008-11-26", "Europe/Paris", (2026, 11, 25, 23)),
        ("2008-07-14", "Europe/Paris", (2026, 7, 13, 22)),
        ("2008-07", "Europe/Paris", (2026, 6, 30, 22)),
        ("2008-02-29", "Europe/Paris", (2026, 2, 28, 23)),
        ("2008-07-14", "America/Cayenne", (2026, 7, 14, 3)),
    ],
)
def test_a_birthday_begins_at_midnight_where_it_is_kept(born, zone, moment):
    """In winter and in summer; of 29 February in a common year on 1 March."""
    assert anniversary(born, 18, ZoneInfo(zone)) == micros(*moment)


CALENDAR = st.integers(micros(1, 1, 1), micros(9999, 12, 31, 23, 59, 59, 999_999))


@given(st.one_of(CALENDAR, st.integers(0, micros(2100, 1, 1))))
def test_headers_tell_a_moment_as_mail_does(moment):
    """In whole seconds, in the words of the standard, whatever is spoken where the server runs."""
    assert http_date(moment) == formatdate(moment // 1_000_000, usegmt=True)


@pytest.mark.parametrize("month", range(1, 13))
def test_headers_tell_the_days_of_each_month_as_mail_does(month):
    """From the first second of a day to its last, in common years, leap years, and those that are no leap years though four divides them."""
    for year in (1900, 1969, 1970, 2000, 2023, 2024):
        first = micros(year, month, 1)
        for moment in (first - 1, first, first + 86_399_999_999, first + 27 * 86_400_000_000, first + 43_200_000_000):
            assert http_date(moment) == formatdate(moment // 1_000_000, usegmt=True)


def test_headers_tell_the_example_of_the_standard():
    """RFC 9110, 5.6.7."""
    assert http_date(micros(1994, 11, 6, 8, 49, 37)) == "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize("moment", [micros(1, 1, 1) - 1, micros(9999, 12, 31, 23, 59, 59) + 1_000_000])
def test_headers_tell_no_moment_outside_of_the_calendar(moment):
    """It is a fault of who asks, as it is of mail."""
    with pytest.raises(ValueError, match="is out of range"):
        http_date(moment)

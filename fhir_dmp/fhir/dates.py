"""Partial dates as intervals: what a date of some precision covers. https://hl7.org/fhir/R4/search.html#date."""

from __future__ import annotations

import re
from calendar import isleap, monthrange
from collections.abc import Mapping
from datetime import UTC, date, datetime, tzinfo
from functools import lru_cache
from typing import Any

from fhir_dmp.clock import DAY, SECOND

Interval = tuple[int, int]
"""Half-open, in microseconds since 1970 UTC."""

FIRST, LAST = -(2**62), 2**62
"""Ends of an interval that is open there."""

_MINUTE = 60 * SECOND
_EPOCH = date(1970, 1, 1).toordinal()
_LEAP_SECOND = 60
_WEEKDAY_NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTH_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TWO_DIGITS = tuple(f"{number:02}" for number in range(60))
_DATE = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)"
    r"(?:T([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d|60)(?:\.(\d{1,9}))?)?(Z|[+-](?:0\d|1[0-4]):[0-5]\d)?)?)?)?",
    re.ASCII,
)


def interval(text: str) -> Interval:
    """Return what the date, dateTime or instant covers; without a zone it is UTC.

    Raises ``ValueError`` for what is no date of the calendar.
    """
    found = _DATE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} is no date: write 2024, 2024-05, 2024-05-31 or 2024-05-31T12:00:00Z")
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    if day is None:
        return _months(int(year), int(month) if month else None)
    low = (date(int(year), int(month), int(day)).toordinal() - _EPOCH) * DAY
    if hour is None:
        return low, low + DAY
    low += (int(hour) * 60 + int(minute)) * _MINUTE - _offset(zone)
    if second is None:
        return low, low + _MINUTE
    low += min(int(second), _LEAP_SECOND - 1) * SECOND
    if fraction is None:
        return low, low + SECOND
    return low + int(fraction[:6].ljust(6, "0")), low + int(fraction[:6].ljust(6, "0")) + _width(fraction)


def _months(year: int, month: int | None) -> Interval:
    """Return the interval of a month, or of a whole year."""
    low = (date(year, month or 1, 1).toordinal() - _EPOCH) * DAY
    last = date(year, month or 12, monthrange(year, month or 12)[1]).toordinal() + 1
    return low, (last - _EPOCH) * DAY


def anniversary(text: str, years: int, zone: tzinfo = UTC) -> int:
    """Return the moment (microseconds) when the first day that ``text`` may mean is so many years past; of 29 February, on 1 March.

    That day begins at midnight in the ``zone``. Raises ``ValueError`` for what is no date.
    """
    born = date.fromordinal(interval(text)[0] // DAY + _EPOCH)
    year = born.year + years
    leaps = (born.month, born.day) == (2, 29) and not isleap(year)
    day = date(year, 3, 1) if leaps else born.replace(year=year)
    return _midnight(day, zone)


def http_date(moment: int) -> str:
    """Return a moment (microseconds) as a header tells it: ``Sun, 06 Nov 1994 08:49:37 GMT``. https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7.

    Every answer of a resource has one, and ``email.utils`` takes six times as long for the same. Raises ``ValueError`` or
    ``OverflowError`` for what is outside of the calendar.
    """
    day, rest = divmod(moment, DAY)
    second = rest // SECOND
    return f"{_http_day(day)} {_TWO_DIGITS[second // 3600]}:{_TWO_DIGITS[second // 60 % 60]}:{_TWO_DIGITS[second % 60]} GMT"


@lru_cache(maxsize=4096)
def _http_day(number: int) -> str:
    """Return the first half of ``http_date``, of a day counted from 1970."""
    day = datetime.fromtimestamp(number * DAY // SECOND, UTC)
    return f"{_WEEKDAY_NAMES[day.weekday()]}, {day.day:02} {_MONTH_NAMES[day.month - 1]} {day.year:04}"


def days(text: str, zone: tzinfo) -> Interval:
    """Return what the date covers by the days of the ``zone``; a dateTime says itself when it is.

    Raises ``ValueError`` for what is no date of the calendar.
    """
    low, high = interval(text)
    return (low, high) if "T" in text else (_begun(low, zone), _begun(high, zone))


def _begun(moment: int, zone: tzinfo) -> int:
    """Return when the day begins in the zone that begins then in UTC; that after the last one of the calendar is the same everywhere."""
    ordinal = moment // DAY + _EPOCH
    return moment if ordinal > date.max.toordinal() else _midnight(date.fromordinal(ordinal), zone)


def _midnight(day: date, zone: tzinfo) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * SECOND


def _offset(zone: str | None) -> int:
    """Return what has to be taken off to be in UTC."""
    if zone is None or zone == "Z":
        return 0
    length = (int(zone[1:3]) * 60 + int(zone[4:6])) * _MINUTE
    return -length if zone[0] == "-" else length


def _width(fraction: str) -> int:
    return int(10 ** max(6 - len(fraction), 0))


def of_value(value: Any, datatype: str) -> list[Interval]:
    """Return the interval of a value in a resource: date, dateTime, instant, Period or Timing; none if it has none.

    An instant is a point in time, whatever the digits it is written with. Of a Timing the outer limits count.
    """
    try:
        if isinstance(value, str):
            low, high = interval(value)
            return [(low, low + 1)] if datatype == "instant" else [(low, high)]
        if datatype == "Period":
            return _period(value)
        if datatype == "Timing":
            return _timing(value)
    except (ValueError, TypeError, AttributeError):
        pass
    return []


def _period(value: Mapping[str, Any]) -> list[Interval]:
    start, end = value.get("start"), value.get("end")
    if start is None and end is None:
        return []
    return [(interval(start)[0] if start else FIRST, interval(end)[1] if end else LAST)]


def _timing(value: Mapping[str, Any]) -> list[Interval]:
    spans = [interval(event) for event in value.get("event") or () if event is not None]
    spans += _period((value.get("repeat") or {}).get("boundsPeriod") or {})
    return [(min(low for low, _ in spans), max(high for _, high in spans))] if spans else []

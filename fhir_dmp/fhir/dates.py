"""Partial dates as intervals: what a date of some precision covers. https://hl7.org/fhir/R4/search.html#date."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

Interval = tuple[int, int]
"""Half-open, in microseconds since 1970 UTC."""

FIRST, LAST = -(2**62), 2**62
"""Ends of an interval that is open there."""

_DATE = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d)"
    r"(?:T(?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d{1,9}))?)?"
    r"(?P<zone>Z|[+-]\d\d:\d\d)?)?)?)?\Z"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)
_SECOND = 1_000_000


def interval(text: str) -> Interval:
    """Return what the date, dateTime or instant covers; without a zone it is UTC.

    Raises ``ValueError`` for what is no date of the calendar.
    """
    found = _DATE.match(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} is no date: write 2024, 2024-05, 2024-05-31 or 2024-05-31T12:00:00Z")
    part = found.groupdict()
    year, month, day = int(part["year"]), int(part["month"] or 1), int(part["day"] or 1)
    second = min(int(part["second"] or 0), 59)
    start = datetime(
        year, month, day, int(part["hour"] or 0), int(part["minute"] or 0), second, tzinfo=_zone(part["zone"])
    )
    low = (start - _EPOCH) // _MICRO + _fraction(part["fraction"])
    return low, low + _length(part, start)


def _zone(text: str | None) -> timezone:
    if text in (None, "Z"):
        return UTC
    hours, minutes = int(text[1:3]), int(text[4:6])
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)


def _fraction(digits: str | None) -> int:
    return int(digits[:6].ljust(6, "0")) if digits else 0


def _length(part: Mapping[str, str | None], start: datetime) -> int:
    if part["fraction"]:
        return int(10 ** max(6 - len(part["fraction"]), 0))
    if part["second"]:
        return _SECOND
    if part["hour"]:
        return 60 * _SECOND
    if part["day"]:
        days = 1
    elif part["month"]:
        days = monthrange(start.year, start.month)[1]
    else:
        days = 366 if monthrange(start.year, 2)[1] == 29 else 365  # noqa: PLR2004 - a leap year's February
    return days * 86_400 * _SECOND


def of_value(value: Any, datatype: str) -> list[Interval]:
    """Return the intervals of a value in a resource: date, dateTime, instant, Period or Timing; none if it has none."""
    if datatype in ("Period",):
        return _period(value)
    if datatype == "Timing":
        bounds = (value.get("repeat") or {}).get("boundsPeriod") or {}
        return [found for event in value.get("event", ()) for found in of_value(event, "dateTime")] or _period(bounds)
    try:
        return [interval(value)] if isinstance(value, str) else []
    except ValueError:
        return []


def _period(value: Mapping[str, Any]) -> list[Interval]:
    start, end = value.get("start"), value.get("end")
    if start is None and end is None:
        return []
    try:
        return [(interval(start)[0] if start else FIRST, interval(end)[1] if end else LAST)]
    except ValueError:
        return []

"""Periods of the log: the months, in UTC, that keep its rows."""

from __future__ import annotations

from functools import lru_cache

from fhir_dmp.clock import DAY, datetime_of
from fhir_dmp.fhir.dates import Interval, interval

PERIOD_PREFIX = "audit_"


def period_of(micros: int) -> str:
    """Return the name of the period that keeps rows of this moment: its month, UTC; the first or last that a date can tell, for any beyond."""
    return _period_of_day(micros // DAY)


@lru_cache(maxsize=64)
def _period_of_day(day: int) -> str:
    return f"{PERIOD_PREFIX}{datetime_of(day * DAY):%Y_%m}"


def span_of(period: str) -> Interval:
    """Return the first moment of a period, and that of the next (microseconds); for what is no month of ours, no time at all.

    A year, or a month written in another way, would keep rows of a time that is another's: pages go through months one after the other.
    """
    try:
        since, until = interval(period.removeprefix(PERIOD_PREFIX).replace("_", "-"))
    except ValueError:
        return 0, 0
    return (since, until) if period_of(since) == period == period_of(until - 1) else (0, 0)

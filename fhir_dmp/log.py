"""Structured log lines, one JSON object each, never with clinical content. https://www.structlog.org/."""

from __future__ import annotations

import logging
import sys
import traceback

import structlog
from structlog.typing import EventDict, WrappedLogger


def configure(level: str) -> None:
    """Send log lines of ``level`` and above to standard error."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _without_words,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        # In one piece: print ends a line apart, and two workers' lines came out as one.
        logger_factory=structlog.WriteLoggerFactory(_StandardError()),  # type: ignore[arg-type] # all that is asked of a file
        cache_logger_on_first_use=True,
    )


class _StandardError:
    """Standard error as it is when a line is written, not when the first one was."""

    def write(self, text: str) -> None:
        """Write to it."""
        sys.stderr.write(text)

    def flush(self) -> None:
        """Let it go."""
        sys.stderr.flush()


def _without_words(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Tell where a fault happened and of what kind: its message may quote a record, so it stays out."""
    if event.pop("exc_info", None):
        kind, fault, trace = sys.exc_info()
        if kind is not None and fault is not None:
            event["fault"] = kind.__qualname__
            event["at"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)]
    return event

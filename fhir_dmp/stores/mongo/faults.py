"""The driver's errors, translated once: a database that does not answer is ``Unavailable``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from pymongo.errors import AutoReconnect, DuplicateKeyError, ExecutionTimeout, PyMongoError, WaitQueueTimeoutError

from fhir_dmp.errors import TooCostly, Unavailable

T = TypeVar("T")


def again_once(read: Callable[[], T]) -> T:
    """Return what the read brings, by another connection if its own broke: commands are not repeated by the driver."""
    try:
        return read()
    except AutoReconnect:
        return read()


@contextmanager
def promptly() -> Iterator[None]:
    """Raise ``Unavailable`` for whatever fails or takes too long: what is found by its id is not long by its caller's fault."""
    try:
        yield
    except DuplicateKeyError:
        raise
    except PyMongoError as fault:
        raise unanswered(fault) from fault


def unanswered(fault: PyMongoError) -> Unavailable:
    """Return what is told of a question that was not answered."""
    reasons, again = (type(fault).__name__,), come_again(fault)
    text = "The server is busy; try again in a moment." if again else "The database does not answer."
    return Unavailable(text, reasons=reasons, headers=again)


def come_again(fault: PyMongoError | None) -> tuple[tuple[str, str], ...]:
    """Return the header that asks who found no connection free to come again; none for any other fault."""
    return (("Retry-After", "1"),) if isinstance(fault, WaitQueueTimeoutError) else ()


@contextmanager
def answering() -> Iterator[None]:
    """Raise ``Unavailable`` for a database that does not answer, ``TooCostly`` for a query that ran out of time."""
    with promptly():
        try:
            yield
        except ExecutionTimeout:
            raise TooCostly("This query takes longer than one request may: narrow it.") from None

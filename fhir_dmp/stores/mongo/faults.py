"""The driver's errors, translated once: a database that does not answer is ``Unavailable``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from pymongo.errors import AutoReconnect, DuplicateKeyError, ExecutionTimeout, PyMongoError

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
        raise Unavailable("The database does not answer.", reasons=(type(fault).__name__,)) from fault


@contextmanager
def answering() -> Iterator[None]:
    """Raise ``Unavailable`` for a database that does not answer, ``TooCostly`` for a query that ran out of time."""
    with promptly():
        try:
            yield
        except ExecutionTimeout:
            raise TooCostly("This query takes longer than one request may: narrow it.") from None

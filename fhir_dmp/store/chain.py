"""Rows of the log, and their places in the chains of their writers.

A writer numbers the rows of each of its epochs, and each row holds the hash of the one before it (``stores.mongo.chain``). What is told of
many rows that follow on each other, without the rows, is told as ``Run`` and ``Leaves``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

MOMENTS = ("at", "ps")
"""What a row is found by that is a moment, in microseconds: of a client's own event alone."""

HASH_SIZE = 32


class Row(NamedTuple):
    """One row of the log as it is stored, with its place in its writer's chain (``stores.mongo.chain``).

    ``body`` is what happened, as canonical JSON; ``terms`` is whatever else the row is found by. ``period`` is the month that keeps it;
    ``secret`` lies beside the row, whose body names its digest: it is no part of what is sealed, and can be taken away.
    """

    id: str
    recorded: int
    writer: str
    epoch: str
    number: int
    previous: bytes
    hash: bytes
    body: bytes
    terms: Mapping[str, Any]
    period: str
    secret: bytes | None = None


class Run(NamedTuple):
    """Rows of one epoch and one period that follow on each other: leaves ``leaf`` on are its numbers ``number`` on."""

    leaf: int
    size: int
    writer: str
    epoch: str
    number: int
    period: str

    @property
    def is_one(self) -> bool:
        """Whether this is a run at all: of leaves, and of rows that have a place."""
        return self.leaf >= 0 and self.size > 0 and self.number > 0 and "" not in (self.writer, self.epoch, self.period)


class Leaves(Struct, frozen=True):
    """The leaves of rows that follow on each other: of one epoch and one period, from ``number`` on, ``hashes`` one after the other.

    ``previous`` is what the first of the rows follows on, ``hash`` that of the last one, which was ``recorded`` then (microseconds).
    """

    writer: str
    epoch: str
    number: int
    period: str
    hashes: bytes
    previous: bytes
    hash: bytes
    recorded: int

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return len(self.hashes) // HASH_SIZE

    def __iter__(self) -> Iterator[bytes]:
        """Yield the hashes one by one."""
        return (self.hashes[at : at + HASH_SIZE] for at in range(0, len(self.hashes), HASH_SIZE))

    @property
    def link(self) -> Link:
        """The place of the last row in its epoch's chain."""
        return Link(self.writer, self.epoch, self.number + self.size - 1, self.hash, self.recorded)

    def after(self, number: int) -> Leaves:
        """Return those after that number."""
        past = max(number + 1 - self.number, 0)
        return replace(self, number=self.number + past, hashes=self.hashes[past * HASH_SIZE :])


class Link(Struct, frozen=True):
    """A place in the chain of an epoch: its last number and hash so far, and when that row was recorded (microseconds)."""

    writer: str
    epoch: str
    number: int
    hash: bytes
    recorded: int


class Opening(Struct, frozen=True):
    """An epoch as its writer registered it: before its first row; and at its end, if it ended in order.

    ``head`` is the number of the last signed head that the writer knew, 0 if none. ``closed`` is the last number and hash.
    A missing close is a crash, or an end with rows under way: what was acknowledged is at least what others hold an answer to.
    """

    writer: str
    epoch: str
    at: int
    head: int
    after: Link | None = None
    closed: Link | None = None

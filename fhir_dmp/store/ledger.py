"""The port of the sealed log: its rows in the order of their leaves, the tree's tiles, the signed heads, the lease of who seals.

Rows are read here and never changed. What is written stands beside them, by whoever holds the lease: each write is fenced by the
lease's token, so that of two who believe that they lead one fails with ``Fenced``. Other methods raise ``errors.Unavailable``
when the database does not answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from msgspec import Struct, field

from fhir_dmp.store.chain import Leaves, Link, Opening, Row, Run

TilePlace = tuple[int, int]
"""Level and place of a tile, as ``audit.merkle.Tile`` has them."""


class Lease(Struct, frozen=True):
    """The right to seal, until another takes it: ``token`` grows with each taking."""

    holder: str
    token: int


class Batch(Struct, frozen=True):
    """What one sealing adds: the next signed head, runs for new leaves, tiles as they are now, links of the chains."""

    number: int
    line: bytes
    runs: Sequence[Run] = ()
    tiles: Mapping[TilePlace, bytes] = field(default_factory=dict)
    links: Sequence[Link] = ()


class Tally(Struct, frozen=True):
    """How many rows of an epoch a period keeps, and the highest number among them."""

    writer: str
    epoch: str
    rows: int
    highest: int


class Fenced(Exception):
    """Another holds the lease: nothing was written."""


class Occupied(Exception):
    """What is to be written stands there already, put there by somebody who did not hold the lease: nothing was written."""


class Recent(Protocol):
    """The rows that this process has made durable lately, for who hands in their leaves."""

    def take(self) -> list[Row]:
        """Return the rows that nobody has taken yet, those of an epoch in their order; from the first call on they are kept for the next."""
        ...


class Ledger(Protocol):
    """The sealed log."""

    def lead(self, holder: str, seconds: float) -> Lease | None:
        """Take or keep the lease for so long by the database's clock; return None while another holds it."""
        ...

    def claim(self, holder: str, seconds: float) -> None:
        """Ask that nobody else takes or keeps the lease for so long."""
        ...

    def release(self, lease: Lease) -> None:
        """Let another have the lease at once."""
        ...

    def seal(self, lease: Lease, batch: Batch) -> None:
        """Write all of the batch or nothing; raise ``Fenced`` if the lease is another's by now, ``Occupied`` if some of it is there."""
        ...

    def forget_runs(self, lease: Lease, leaf: int, limit: int) -> Sequence[Run]:
        """Take away and return up to ``limit`` of the runs from this leaf on, which no head holds.

        Raises ``Fenced`` if the lease is another's by now.
        """
        ...

    def heads(self, after: int = 0) -> Iterator[bytes]:
        """Yield the lines of the signed heads after that number, in order; an empty one for what stands between them or is none."""
        ...

    def odd_heads(self) -> Iterator[str]:
        """Yield the ids of what lies among the heads and has no number."""
        ...

    def head(self, number: int | None = None) -> bytes | None:
        """Return the line of one head, or of the last."""
        ...

    def acknowledged(self, number: int, witness: str) -> None:
        """Remember that a witness has acknowledged a head."""
        ...

    def witnessed(self, witness: str | None = None) -> int:
        """Return the number of the last head that this witness, or any, has acknowledged; 0 if none has."""
        ...

    def tiles(self, places: Sequence[TilePlace]) -> Mapping[TilePlace, bytes]:
        """Return what these tiles hold, those that exist."""
        ...

    def links(self, keys: Sequence[tuple[str, str]] | None = None) -> Iterator[Link]:
        """Yield how far each epoch is sealed that is sealed at all: all of them, or these by writer and epoch."""
        ...

    def writers(self, periods: Iterable[str]) -> frozenset[str]:
        """Return who wrote rows that these periods keep."""
        ...

    def hand_in(self, leaves: Sequence[Leaves]) -> None:
        """Lay leaves of durable rows before whoever seals."""
        ...

    def handed(self, limit: int) -> list[Leaves]:
        """Return so many of the leaves that were handed in, by epoch and number."""
        ...

    def clear(self, leaves: Sequence[Leaves]) -> None:
        """Take away leaves that were handed in: they are sealed, or their rows are read."""
        ...

    def fresh(self, links: Sequence[Link], limit: int) -> list[Row]:
        """Return rows after these links, by epoch and number."""
        ...

    def next_row(self, link: Link) -> Row | None:
        """Return the row with the number after this link's, if it is there."""
        ...

    def place_of(self, event_id: str) -> tuple[Row, int | None] | None:
        """Return the row with this id, and the number of its leaf if it has one yet."""
        ...

    def size(self) -> int:
        """Return how many leaves the runs cover."""
        ...

    def runs(self, leaf: int, end: int) -> Iterator[Run]:
        """Yield the runs that hold the leaves from ``leaf`` up to, without, ``end``."""
        ...

    def every_run(self) -> Iterator[Run]:
        """Yield all runs in the order of their leaves; what is no run is told as one that ``is_one`` denies."""
        ...

    def rows(self, runs: Sequence[Run]) -> Mapping[tuple[str, str, int], Row]:
        """Return the rows of these runs by writer, epoch and number, from the period that each run names."""
        ...

    def periods(self) -> list[str]:
        """Return the periods that are kept, oldest first."""
        ...

    def leaf_of(self, row: Row) -> int | None:
        """Return the number of the leaf that stands for the row, if it has one."""
        ...

    def rows_of(self, period: str, writer: str, epoch: str, after: int) -> Iterator[Row]:
        """Yield the rows of one epoch that the period keeps, after that number, in order."""
        ...

    def count(self, period: str, writer: str, epoch: str, last: int) -> int:
        """Return how many rows of the epoch the period keeps, up to that number."""
        ...

    def tallies(self, period: str) -> Iterator[Tally]:
        """Yield how many rows of each epoch the period keeps; those that have no place, as rows of an epoch without a name."""
        ...

    def displaced(self, period: str) -> Iterator[str]:
        """Yield the ids of the documents whose rows have no place in any chain: their writer, epoch or number is none."""
        ...

    def odd_indexes(self, period: str) -> Iterator[str]:
        """Yield in words what the period's rows are looked up by and is not as it should be: some of them may not be found."""
        ...

    def openings(self, since: int = 0) -> Iterator[Opening]:
        """Yield the epochs that were registered or closed since then (microseconds). What is none is left out."""
        ...

    def openings_of(self, keys: Iterable[tuple[str, str]]) -> Iterator[Opening]:
        """Yield those of these epochs, by writer and epoch, that are registered."""
        ...

    def odd_openings(self) -> Iterator[str]:
        """Yield the ids of what is registered and is no epoch."""
        ...

"""The leaves of a sealed log in order, with their rows, read in windows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from msgspec import Struct

from fhir_dmp.audit.asked import digest
from fhir_dmp.audit.entry import encoded, entry_of, taken
from fhir_dmp.audit.look import WINDOW, Leaf, Seen, Sight
from fhir_dmp.audit.merkle import HASH_BYTES, TILE_WIDTH
from fhir_dmp.store.chain import Row, Run
from fhir_dmp.store.ledger import Ledger


class Stored(Struct, frozen=True):
    """A window of leaves as they are stored."""

    ledger: Ledger
    runs: Sequence[Run]
    index: bool

    def look(self) -> Seen | None:
        """Return what is to be told of the leaves, or None if anything is wrong with one."""
        runs, rows, tiles = _read(self.ledger, self.runs)
        sight = Sight(runs[0].leaf, index=self.index)
        for run in runs:
            _, _, writer, epoch, first, _ = run
            for number, known in enumerate(_hashes(tiles, run.leaf, run.size), first):
                row = rows.get((writer, epoch, number))
                if row is None or not _beside(row):
                    return None
                entry = taken(row)
                if not sight.take(known, encoded(entry), entry):
                    return None
        return sight.seen

    def leaves(self) -> Iterator[Leaf]:
        """Yield the leaves."""
        return _leaves(*_read(self.ledger, self.runs))


def windows(ledger: Ledger, first: int, end: int, *, index: bool) -> Iterator[Stored]:
    """Yield the leaves from ``first`` up to, without, ``end``, a window at a time; ``index`` says what is looked at of each."""
    return (Stored(ledger, runs, index) for runs in _windows(_covering(ledger.runs(first, end), first, end)))


def leaves(ledger: Ledger, first: int, end: int) -> Iterator[Leaf]:
    """Yield the leaves from ``first`` up to, without, ``end``; what is not found is yielded without hash or entry."""
    with ThreadPoolExecutor(1) as ahead:
        waiting = None
        for runs in _windows(_covering(ledger.runs(first, end), first, end)):
            coming = ahead.submit(_read, ledger, runs)
            if waiting is not None:
                yield from _leaves(*waiting.result())
            waiting = coming
        if waiting is not None:
            yield from _leaves(*waiting.result())


_Window = tuple[Sequence[Run], Mapping[tuple[str, str, int], Row], Mapping[tuple[int, int], bytes]]


def _windows(runs: Iterable[Run]) -> Iterator[list[Run]]:
    """Yield the runs a window at a time."""
    window: list[Run] = []
    size = 0
    for run in runs:
        window.append(run)
        size += run.size
        if size >= WINDOW:
            yield window
            window, size = [], 0
    if window:
        yield window


def _covering(runs: Iterable[Run], first: int, end: int) -> Iterator[Run]:
    """Yield runs that cover every leaf once, in parts that fit a window; where none is known, a run of nobody's."""
    at = first
    for run in runs:
        if run.leaf > at:
            yield from _slices(Run(at, run.leaf - at, "", "", 0, ""))
            at = run.leaf
        over = at - run.leaf
        if run.size > over:
            yield from _slices(run._replace(leaf=at, size=run.size - over, number=run.number + over))
            at = run.leaf + run.size
    if at < end:
        yield from _slices(Run(at, end - at, "", "", 0, ""))


def _slices(run: Run) -> Iterator[Run]:
    """Yield the run in parts that fit a window."""
    for over in range(0, run.size, WINDOW):
        yield run._replace(leaf=run.leaf + over, size=min(WINDOW, run.size - over), number=run.number + over)


def _read(ledger: Ledger, runs: Sequence[Run]) -> _Window:
    last = runs[-1].leaf + runs[-1].size - 1
    places = [(0, place) for place in range(runs[0].leaf // TILE_WIDTH, last // TILE_WIDTH + 1)]
    return runs, ledger.rows([run for run in runs if run.period]), ledger.tiles(places)


def _leaves(
    runs: Sequence[Run], rows: Mapping[tuple[str, str, int], Row], tiles: Mapping[tuple[int, int], bytes]
) -> Iterator[Leaf]:
    for run in runs:
        for over, known in enumerate(_hashes(tiles, run.leaf, run.size)):
            row = rows.get((run.writer, run.epoch, run.number + over))
            place = f"{run.writer}/{run.epoch}/{run.number + over}" if run.period else ""
            if row is None:
                yield Leaf(run.leaf + over, known, None, place, run.period)
            else:
                yield Leaf(run.leaf + over, known, entry_of(row), place, run.period, _beside(row), row.terms)


def _hashes(tiles: Mapping[tuple[int, int], bytes], leaf: int, size: int) -> Iterator[bytes | None]:
    """Yield the hashes that the tree has for so many leaves from this one on; None where a tile lacks it."""
    end = leaf + size
    while leaf < end:
        tile, first = divmod(leaf, TILE_WIDTH)
        content, last = tiles.get((0, tile), b""), min(TILE_WIDTH, first + end - leaf)
        content = content[: len(content) // HASH_BYTES * HASH_BYTES]
        for at in range(first * HASH_BYTES, last * HASH_BYTES, HASH_BYTES):
            yield content[at : at + HASH_BYTES] or None
        leaf += last - first


def _beside(row: Row) -> bool:
    """Tell whether what lies beside the row is what it names."""
    if not isinstance(row.secret, bytes):
        return row.secret is None
    return digest(row.secret).encode() in row.body

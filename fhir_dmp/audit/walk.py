"""The leaves of a sealed log in order, with their rows, read in windows; and the rows that no leaf stands for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from heapq import merge
from itertools import islice

from msgspec import Struct

from fhir_dmp.audit.asked import digest
from fhir_dmp.audit.entry import encoded, entry_of, first_link, link, misfiled, taken
from fhir_dmp.audit.look import WINDOW, Leaf, Seen, Sight
from fhir_dmp.audit.merkle import HASH_BYTES, TILE_WIDTH
from fhir_dmp.audit.verify import Report
from fhir_dmp.store.ledger import Ledger, Link, Row, Run


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
                yield Leaf(run.leaf + over, known, entry_of(row), place, run.period, _beside(row))


def _hashes(tiles: Mapping[tuple[int, int], bytes], leaf: int, size: int) -> Iterator[bytes | None]:
    """Yield the hashes that the tree has for so many leaves from this one on; None where a tile lacks it."""
    end = leaf + size
    while leaf < end:
        tile, first = divmod(leaf, TILE_WIDTH)
        content, last = tiles.get((0, tile), b""), min(TILE_WIDTH, first + end - leaf)
        for at in range(first * HASH_BYTES, last * HASH_BYTES, HASH_BYTES):
            yield content[at : at + HASH_BYTES] or None
        leaf += last - first


def _beside(row: Row) -> bool:
    """Tell whether what lies beside the row is what it names."""
    return row.secret is None or digest(row.secret).encode() in row.body


def unaccounted(ledger: Ledger) -> Report:
    """Return rows that no leaf stands for and that cannot be new ones, and ends of closed epochs that are not there.

    Rows that wait for the next head are counted as ``unsealed``. What is sealed is read before the rows are counted, so that rows
    which come meanwhile confuse nobody.
    """
    report = Report()
    sealed: dict[Key, int] = {}
    expected: dict[tuple[str, Key], int] = {}
    for period, tally in ledger.run_tallies():
        key = (tally.writer, tally.epoch)
        sealed[key] = max(tally.highest, sealed.get(key, 0))
        expected[period, key] = tally.rows
    openings = {(opening.writer, opening.epoch): opening for opening in ledger.openings()}
    links = {(each.writer, each.epoch): each for each in ledger.links()}
    highest, waiting = dict(sealed), dict[Key, list[str]]()
    for period in ledger.periods():
        for tally in ledger.tallies(period):
            key = (tally.writer, tally.epoch)
            highest[key] = max(tally.highest, highest.get(key, 0))
            if key not in openings:
                told = f"{tally.rows} rows of {period} are of {_epoch(key)}, which nobody registered"
                report.add("inserted", None, told)
                continue
            last = sealed.get(key, 0)
            rows = tally.rows if tally.highest <= last else ledger.count(period, *key, last)
            if rows > expected.get((period, key), 0):
                _tell_extra(ledger, report, period, key, last)
            if tally.highest > last:
                waiting.setdefault(key, []).append(period)
    for key, periods in waiting.items():
        _check_unsealed(ledger, report, periods, links.get(key) or Link(*key, 0, first_link(*key), 0))
    for key, opening in openings.items():
        stored = highest.get(key, 0)
        if opening.closed and stored != opening.closed.number:
            told = f"{_epoch(key)} was closed at number {opening.closed.number}, and ends at {stored}"
            report.add("tail cut" if stored < opening.closed.number else "inserted", None, told)
    return report


Key = tuple[str, str]


def _epoch(key: Key) -> str:
    return f"epoch {key[0]}/{key[1]}"


def _tell_extra(ledger: Ledger, report: Report, period: str, key: Key, last: int) -> None:
    """Report the rows of the period and epoch, up to this number, that are in no run."""
    seen: set[int] = set()
    for row in ledger.rows_of(period, *key, after=0):
        if row.number > last:
            continue
        if row.number in seen:
            report.add("duplicated", None, f"{_named(row)} stands where another does")
        elif ledger.leaf_of(row) is None:
            report.add("inserted", None, f"{_named(row)} is in no leaf")
        seen.add(row.number)


def _check_unsealed(ledger: Ledger, report: Report, periods: Sequence[str], known: Link) -> None:
    """Count the rows that wait for the next head. They are stored in their order, so that there is no gap between them."""
    number, digest = known.number, known.hash
    tails = [ledger.rows_of(period, known.writer, known.epoch, after=number) for period in periods]
    for row in merge(*tails, key=lambda row: row.number):
        if row.number <= number:
            report.add("duplicated", None, f"{_named(row)} stands where another does")
            continue
        if row.number != number + 1 and not _stands(ledger, periods, known, number + 1):
            lacking = f"{known.writer}/{known.epoch}/{number + 1}"
            report.add("missing", None, f"event {lacking} does not stand before {_named(row)}")
        elif (row.number == number + 1 and row.previous != digest) or link(row.previous, row.body) != row.hash:
            report.add("chain broken", None, f"{_named(row)} does not follow on the one before it")
        elif wrong := misfiled(taken(row)):
            report.add("misfiled", None, f"{_named(row)} is not found by what it says: {', '.join(wrong)}")
        report.unsealed += 1
        number, digest = row.number, row.hash


def _stands(ledger: Ledger, periods: Sequence[str], known: Link, number: int) -> bool:
    """Tell whether the row is there by now: around midnight one period was read before another went on."""
    later = (ledger.rows_of(period, known.writer, known.epoch, after=number - 1) for period in periods)
    return any(row.number == number for rows in later for row in islice(rows, 1))


def _named(row: Row) -> str:
    return f"event {row.id} ({row.writer}/{row.epoch}/{row.number}) in {row.period}"

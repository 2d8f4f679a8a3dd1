"""The rows that no leaf stands for: those that wait for the next head, and those that somebody put there.

They are counted, month by month, while the leaves are looked at: each epoch has as many rows as there are leaves for them, and then those that
wait. These follow on the last row that has a leaf, which is known once the leaves are verified. What is believed of runs and links, which
lie beside the heads and are not signed, is what agrees with the leaves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from heapq import merge
from itertools import islice

from msgspec import Struct, field

from fhir_dmp.audit.entry import link, misfiled, taken
from fhir_dmp.audit.findings import Chain, Report
from fhir_dmp.audit.tiles import stored_size, wrong_tiles
from fhir_dmp.store.chain import Link, Opening, Row, Run
from fhir_dmp.store.ledger import Ledger
from fhir_dmp.store.period import period_of

Last = Callable[[Chain], tuple[int, str | None]]
"""Tells the number and the hash (hex) of the last row of an epoch that has a leaf."""


class Waiting(Struct):
    """Where rows of an epoch lie that come after its leaves, and the highest number among them."""

    periods: list[str] = field(default_factory=list)
    highest: int = 0


class Strays(Struct):
    """What counting the rows brings: what is wrong, and what is to be compared with the leaves."""

    report: Report = field(default_factory=Report)
    waiting: dict[Chain, Waiting] = field(default_factory=dict)
    links: Mapping[Chain, Link] = field(default_factory=dict)


class _Sealed(Struct):
    """What the runs tell: how many rows of a period and epoch have leaves, up to which number, and up to which by all the runs there are."""

    rows: Counter[tuple[str, Chain]] = field(default_factory=Counter)
    highest: dict[Chain, int] = field(default_factory=dict)
    known: dict[Chain, int] = field(default_factory=dict)


def counted(ledger: Ledger, end: int) -> Strays:
    """Count the rows; those of leaves from ``end`` on count among those that wait."""
    strays = Strays(links=_links(ledger))
    report, sealed = strays.report, _sealed(ledger, end, strays.report)
    _compare_links(strays, sealed, _links(ledger))
    openings = {(opening.writer, opening.epoch): opening for opening in ledger.openings()}
    highest = dict(sealed.known)
    for period in ledger.periods():
        for told in ledger.odd_indexes(period):
            report.add("misfiled", None, told)
        for tally in ledger.tallies(period):
            key = (tally.writer, tally.epoch)
            if key == NOWHERE:
                _tell_displaced(ledger, report, period)
                continue
            highest[key] = max(tally.highest, highest.get(key, 0))
            if key not in openings and (report.full or not _is_registered(ledger, key)):
                told = f"{tally.rows} rows of {period} are of {_epoch(key)}, which nobody registered"
                report.add("inserted", None, told)
                continue
            last = sealed.highest.get(key, 0)
            rows = tally.rows if tally.highest <= last else ledger.count(period, *key, last)
            if rows > sealed.rows[period, key] and not report.full:
                _Extra(ledger, report, period, key, last).tell(end, rows - sealed.rows[period, key])
            if tally.highest > last:
                waiting = strays.waiting.setdefault(key, Waiting())
                waiting.periods.append(period)
                waiting.highest = max(waiting.highest, tally.highest)
    _compare_ends(report, openings, highest)
    for own in ledger.odd_openings():
        report.add("altered", None, f"{own} is registered as an epoch, and is none")
    for told in wrong_tiles(ledger, end):
        report.add("tree altered", None, told)
    return strays


def follow(ledger: Ledger, strays: Strays, last: Last, report: Report) -> None:
    """Report what counting brought, and what of the rows that wait does not follow on the leaves, whose ends ``last`` tells."""
    report.add_all(strays.report)
    for key, known in strays.links.items():
        number, digest = last(key)
        if known.number == number and digest not in (None, known.hash.hex()):
            report.add(
                "tree altered", None, f"{_epoch(key)} goes on from another row {number} than the one that has a leaf"
            )
    for key, waiting in strays.waiting.items():
        _check_waiting(ledger, report, key, waiting, *last(key))


NOWHERE: Chain = ("", "")


def _is_registered(ledger: Ledger, key: Chain) -> bool:
    """Tell whether the epoch is registered by now: a writer may have begun since the others were read."""
    return any((opening.writer, opening.epoch) == key for opening in ledger.openings())


def _epoch(key: Chain) -> str:
    return f"epoch {key[0]}/{key[1]}"


def _links(ledger: Ledger) -> dict[Chain, Link]:
    return {(each.writer, each.epoch): each for each in ledger.links()}


def _sealed(ledger: Ledger, end: int, report: Report) -> _Sealed:
    sealed = _Sealed()
    for run in _following(ledger, report):
        key = (run.writer, run.epoch)
        sealed.known[key] = max(run.number + run.size - 1, sealed.known.get(key, 0))
        if run.leaf < end:
            size = min(run.size, end - run.leaf)
            sealed.rows[run.period, key] += size
            sealed.highest[key] = max(run.number + size - 1, sealed.highest.get(key, 0))
    return sealed


def _following(ledger: Ledger, report: Report) -> Iterator[Run]:
    """Yield the runs that follow on each other; report those that do not, whose rows might be anybody's, and those beyond the last head."""
    leaf = 0
    for run in ledger.every_run():
        if not run.is_one or run.leaf != leaf:
            told = f"{run.size} rows from {run.writer}/{run.epoch}/{run.number} on, in {run.period or 'no period'}"
            report.add(
                "tree altered", leaf, f"the leaves from {run.leaf} on are said to be of {told}: leaf {leaf} comes next"
            )
        if run.is_one and run.leaf >= leaf:
            yield run
            leaf = run.leaf + run.size
    size = stored_size(ledger)
    if leaf > size:
        report.add("tree altered", size, f"leaves up to {leaf - 1} are said to be of rows; the last head holds {size}")


def _compare_links(strays: Strays, sealed: _Sealed, later: Mapping[Chain, Link]) -> None:
    """Report epochs whose links are of another number than their runs, which were read in between."""
    nowhere = Link("", "", 0, b"", 0)
    for key in sorted({*strays.links, *sealed.known}):
        known = sealed.known.get(key, 0)
        if not strays.links.get(key, nowhere).number <= known <= later.get(key, nowhere).number:
            told = f"{_epoch(key)} has leaves up to number {known}, and is said to go on after {later.get(key, nowhere).number}"
            strays.report.add("tree altered", None, told)


def _compare_ends(report: Report, openings: Mapping[Chain, Opening], highest: Mapping[Chain, int]) -> None:
    """Report epochs that do not end where they were closed."""
    for key, opening in openings.items():
        stored = highest.get(key, 0)
        if opening.closed and stored != opening.closed.number:
            told = f"{_epoch(key)} was closed at number {opening.closed.number}, and ends at {stored}"
            report.add("tail cut" if stored < opening.closed.number else "inserted", None, told)


def _tell_displaced(ledger: Ledger, report: Report, period: str) -> None:
    for own in ledger.displaced(period):
        if report.full:
            return
        report.add("inserted", None, f"event {own} in {period} has no place in any chain")


class _Extra(Struct):
    """The rows of a period and epoch, up to this number, of which there are more than leaves."""

    ledger: Ledger
    report: Report
    period: str
    key: Chain
    last: int

    def tell(self, end: int, more: int) -> None:
        """Report those that are in none of the leaves before ``end``, or stand there twice; if that is none, that there are ``more``."""
        before, highest = len(self.report.findings), 0
        runs = self._runs(end)
        run = next(runs, None)
        for row in self.ledger.rows_of(self.period, *self.key, after=0):
            if self.report.full:
                return
            if row.number > self.last:
                continue
            while run is not None and run.number + run.size <= row.number:
                run = next(runs, None)
            if row.number <= highest:
                self.report.add("duplicated", None, f"{_named(row)} stands where another does")
            elif run is None or row.number < run.number:
                self.report.add("inserted", None, f"{_named(row)} is in no leaf")
            highest = max(row.number, highest)
        if len(self.report.findings) == before:
            told = f"{_epoch(self.key)} has {more} rows in {self.period} more than leaves"
            self.report.add("inserted", None, told)

    def _runs(self, end: int) -> Iterator[Run]:
        """Yield the runs that stand for rows of the period and epoch."""
        for run in _following(self.ledger, Report()):
            if run.leaf < end and (run.period, (run.writer, run.epoch)) == (self.period, self.key):
                yield run._replace(size=min(run.size, end - run.leaf))


def _check_waiting(
    ledger: Ledger, report: Report, key: Chain, waiting: Waiting, number: int, digest: str | None
) -> None:
    """Count the rows that wait for the next head. They are stored in their order, so that there is no gap between them."""
    tails = [ledger.rows_of(period, *key, after=number) for period in waiting.periods]
    for row in merge(*tails, key=lambda row: row.number):
        if row.number > waiting.highest:
            break
        if row.number <= number:
            report.add("duplicated", None, f"{_named(row)} stands where another does")
            continue
        if row.number != number + 1 and not _stands(ledger, report, key, number + 1):
            lacking = f"{row.writer}/{row.epoch}/{number + 1}"
            report.add("missing", None, f"event {lacking} does not stand before {_named(row)}")
        elif _breaks(row, number, digest):
            report.add("chain broken", None, f"{_named(row)} does not follow on the one before it")
        elif row.period != period_of(row.recorded):
            report.add("misfiled", None, f"{_named(row)} was not recorded then")
        elif wrong := misfiled(taken(row)):
            report.add("misfiled", None, f"{_named(row)} is not found by what it says: {', '.join(wrong)}")
        report.unsealed += 1
        number, digest = row.number, row.hash.hex()


def _breaks(row: Row, number: int, digest: str | None) -> bool:
    """Tell whether the row does not follow on the one before it, of this number and hash."""
    follows = row.number != number + 1 or digest in (None, row.previous.hex())
    return not follows or link(row.previous, row.body) != row.hash


def _stands(ledger: Ledger, report: Report, key: Chain, number: int) -> bool:
    """Tell whether the row is there by now: around midnight one period was read before another went on."""
    if report.full:
        return False
    later = (ledger.rows_of(period, *key, after=number - 1) for period in ledger.periods())
    return any(row.number == number for rows in later for row in islice(rows, 1))


def _named(row: Row) -> str:
    return f"event {row.id} ({row.writer}/{row.epoch}/{row.number}) in {row.period}"

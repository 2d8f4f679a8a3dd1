"""The rows of the log by their places in their writers' chains: as who seals and who verifies goes through them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pymongo.database import Database

from fhir_dmp.clock import SECOND
from fhir_dmp.store.chain import Link, Row, Run
from fhir_dmp.store.ledger import Tally
from fhir_dmp.store.period import period_of
from fhir_dmp.stores.mongo.block_rows import rows_checked, rows_in
from fhir_dmp.stores.mongo.blocks import BLOCK, MOST_ROWS, SIZE, WHOLE
from fhir_dmp.stores.mongo.documents import months
from fhir_dmp.stores.mongo.faults import answering
from fhir_dmp.stores.mongo.reading import read_aggregate, read_all, read_with_bytes

PLACED = [("w", 1), ("e", 1), ("n", 1)]
"""The index of places: writer, epoch, number. No question names it: the database plans by it if it has all rows (``month_indexes``)."""

_HAS_PLACE: dict[str, Any] = {
    "$and": [
        {"$eq": [{"$type": "$w"}, "string"]},
        {"$eq": [{"$type": "$e"}, "string"]},
        {"$in": [{"$type": "$n"}, WHOLE]},
        {"$gte": ["$n", 1]},
    ]
}
"""The expression for whether a document is of a chain; queries find others too, a number among several, or a fraction."""

_BRANCHES = 100
"""Ranges that one query asks for."""

_AT_ONCE = 5000
"""Documents that the driver fetches in one go; rows are small, and a go is bounded by 16 MB besides."""

_LATE = 3600 * SECOND
"""A row is stored well within an hour (microseconds) of being recorded."""

T = TypeVar("T")
_Document = dict[str, Any]


class PlacedRows:
    """The part of ``store.ledger.Ledger`` that reads rows of the log by their places."""

    log: Database[_Document]

    def fresh(self, links: Sequence[Link], limit: int) -> list[Row]:
        """Return rows after these links, by epoch and number: so many of each hundred epochs, and none after one that is left out."""
        with answering():
            periods = months(self.log)
            found = [row for part in _chunks(links, _BRANCHES) for row in self._fresh(part, periods, limit)]
        found.sort(key=lambda row: (row.writer, row.epoch, row.number))
        return found

    def _fresh(self, links: Sequence[Link], periods: Sequence[str], limit: int) -> list[Row]:
        """Return rows of a few epochs, oldest period first: what one leaves out comes before all of the next.

        As an honest document would have them: a mark that says how this one differs would be sealed, and nothing would differ any more.
        """
        found: list[Row] = []
        last = {(link.writer, link.epoch): link.number for link in links}
        taken: set[tuple[str, str, int]] = set()
        at_once = limit // MOST_ROWS + 1  # a document may have as many rows
        for period in periods:
            after = [_after(link) for link in links if period_of(link.recorded - _LATE) <= period]
            if not after:
                continue
            documents = read_all(self.log[period], {"$or": after}, sort=PLACED, batch_size=at_once)
            for row in (row for each in documents for row in rows_in(each, period)):
                if len(found) == limit:
                    return found
                place = row.writer, row.epoch, row.number
                if row.number > last.get(place[:2], row.number) and place not in taken:
                    found.append(row)
                    taken.add(place)
        return found

    def next_row(self, link: Link) -> Row | None:
        """Return the row with the number after this link's, if it is there: the first that ``fresh`` would tell."""
        wanted = {"w": link.writer, "e": link.epoch, "n": {"$gt": link.number - MOST_ROWS, "$lte": link.number + 1}}
        with answering():
            for period in (each for each in months(self.log) if period_of(link.recorded - _LATE) <= each):
                for row in (
                    row for each in read_all(self.log[period], wanted, sort=PLACED) for row in rows_in(each, period)
                ):
                    if (row.writer, row.epoch, row.number) == (link.writer, link.epoch, link.number + 1):
                        return row
        return None

    def rows(self, runs: Sequence[Run]) -> Mapping[tuple[str, str, int], Row]:
        """Return the rows of these runs by writer, epoch and number, from the period that each run names."""
        found: dict[tuple[str, str, int], Row] = {}
        with answering():
            for period in dict.fromkeys(run.period for run in runs):
                seen: set[str] = set()
                ranges = [
                    {
                        "w": run.writer,
                        "e": run.epoch,
                        "n": {"$gt": run.number - MOST_ROWS, "$lt": run.number + run.size},
                    }
                    for run in _joined([run for run in runs if run.period == period])
                ]
                for branches in _chunks(ranges, _BRANCHES):
                    wanted = {"$or": branches}
                    for each, stored in read_with_bytes(self.log[period], wanted, batch_size=_AT_ONCE):
                        if (own := repr(each["_id"])) not in seen:
                            seen.add(own)
                            _add(found, rows_checked(each, stored, period))
        return found

    def rows_of(self, period: str, writer: str, epoch: str, after: int) -> Iterator[Row]:
        """Yield the rows of one epoch that the period keeps, after that number, in order."""
        with answering():
            place = {"w": writer, "e": epoch, "n": {"$gt": after - MOST_ROWS}}
            for document, stored in read_with_bytes(self.log[period], place, sort=PLACED, batch_size=_AT_ONCE):
                yield from (row for row in rows_checked(document, stored, period) if row.number > after)

    def count(self, period: str, writer: str, epoch: str, last: int) -> int:
        """Return how many rows of the epoch the period keeps, up to that number."""
        with answering():
            stages: list[_Document] = [
                {"$match": {"w": writer, "e": epoch, "n": {"$lte": last}, "$expr": _HAS_PLACE}},
                {"$group": {"_id": None, "rows": {"$sum": {"$min": [SIZE, {"$subtract": [last + 1, "$n"]}]}}}},
            ]
            return sum(int(row["rows"]) for row in self.log[period].aggregate(stages))

    def tallies(self, period: str) -> Iterator[Tally]:
        """Yield how many rows of each epoch the period keeps; those that have no place, as rows of an epoch without a name."""
        epoch = {"$cond": [_HAS_PLACE, {"w": "$w", "e": "$e"}, {"w": "", "e": ""}]}
        last = {"$cond": [_HAS_PLACE, {"$add": ["$n", {"$subtract": [SIZE, 1]}]}, 0]}
        stages: list[_Document] = [
            {"$group": {"_id": epoch, "rows": {"$sum": SIZE}, "highest": {"$max": last}}},
        ]
        with answering():
            for row in read_aggregate(self.log[period], stages, allowDiskUse=True):
                yield Tally(row["_id"]["w"], row["_id"]["e"], int(row["rows"]), int(row["highest"]))

    def displaced(self, period: str) -> Iterator[str]:
        """Yield the ids of the documents whose rows have no place in any chain: their writer, epoch or number is none."""
        with answering():
            for row in read_all(self.log[period], {"$expr": {"$not": [_HAS_PLACE]}}, projection=["_id"]):
                yield str(row["_id"])


def _add(found: dict[tuple[str, str, int], Row], rows: Iterable[Row]) -> None:
    """Add rows by their places; one whose place is taken is told to stand there twice: blocks that overlap are nobody's who writes."""
    for row in rows:
        place = row.writer, row.epoch, row.number
        known = found.setdefault(place, row)
        if known is not row:
            found[place] = known._replace(terms={**known.terms, "twice": row.id})


def _after(link: Link) -> _Document:
    """Return what documents meet that have rows after this one: a block may begin before it."""
    within = {"$gt": link.number - MOST_ROWS, "$lte": link.number}
    reaches = {"$expr": {"$gt": [{"$add": ["$n", SIZE]}, link.number + 1]}}
    later = [{"n": {"$gt": link.number}}, {"n": within, **BLOCK, **reaches}]
    return {"w": link.writer, "e": link.epoch, "n": {"$gt": link.number - MOST_ROWS}, "$or": later}


def _joined(runs: Sequence[Run]) -> list[Run]:
    """Return runs of one period with those joined that follow on each other: fewer ranges to ask for."""
    joined: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        known = joined.setdefault((run.writer, run.epoch), [])
        if known and known[-1].number + known[-1].size == run.number:
            known[-1] = known[-1]._replace(size=known[-1].size + run.size)
        else:
            known.append(run)
    return [run for known in joined.values() for run in known]


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]

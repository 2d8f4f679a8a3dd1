"""Which leaves stand for which rows: runs of them, by the number of their first leaf. The log's rows are not read for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pymongo.database import Database

from fhir_dmp.store.chain import Row, Run
from fhir_dmp.stores.mongo.blocks import WHOLE
from fhir_dmp.stores.mongo.exact import is_text, is_whole
from fhir_dmp.stores.mongo.faults import answering
from fhir_dmp.stores.mongo.reading import read_all, read_first, read_with_bytes, says

RUNS = "runs"

_Document = dict[str, Any]


class Runs:
    """The part of ``store.ledger.Ledger`` that knows the runs."""

    seals: Database[_Document]

    def leaf_of(self, row: Row) -> int | None:
        """Return the number of the leaf that stands for the row, if it has one."""
        wanted = {"w": row.writer, "e": row.epoch, "n": {"$lte": row.number}}
        with answering():
            found = read_first(self.seals[RUNS], wanted, sort=[("n", -1)])
        run = run_of(found) if found else None
        if run is None or not run.is_one or row.number >= run.number + run.size or run.period != row.period:
            return None
        return run.leaf + row.number - run.number

    def size(self) -> int:
        """Return how many leaves the runs cover."""
        whole = {"$type": WHOLE}
        with answering():
            last = read_first(self.seals[RUNS], {"_id": {"$gte": 0, **whole}, "size": whole}, sort=[("_id", -1)])
        return int(last["_id"] + last["size"]) if last else 0

    def runs(self, leaf: int, end: int) -> Iterator[Run]:
        """Yield the runs that hold the leaves from ``leaf`` up to, without, ``end``."""
        with answering():
            first = read_first(self.seals[RUNS], {"_id": {"$lte": leaf, "$type": WHOLE}}, sort=[("_id", -1)])
            since = first["_id"] if first else leaf
            for row in read_all(self.seals[RUNS], {"_id": {"$gte": since, "$lt": end}}, sort=[("_id", 1)]):
                run = run_of(row)
                if run.is_one:
                    yield _cut(run, leaf, end)

    def every_run(self) -> Iterator[Run]:
        """Yield all there are in the order of their leaves, and what is no run too."""
        with answering():
            for row, stored in read_with_bytes(self.seals[RUNS], {}, sort=[("_id", 1)]):
                yield run_of(row if says(row, stored) else {})


def run_row(run: Run) -> _Document:
    """Return the run as it is stored."""
    return {"_id": run.leaf, "size": run.size, "w": run.writer, "e": run.epoch, "n": run.number, "m": run.period}


def run_of(row: _Document) -> Run:
    """Return the run of a stored one; what is of another type than ours is nothing in it."""
    leaf, size, number = (int(row[name]) if is_whole(row.get(name)) else -1 for name in ("_id", "size", "n"))
    writer, epoch, period = (row[name] if is_text(row.get(name)) else "" for name in ("w", "e", "m"))
    return Run(leaf, size, writer, epoch, number, period)


def _cut(run: Run, leaf: int, end: int) -> Run:
    """Return the part of the run between the two leaves."""
    first, last = max(run.leaf, leaf), min(run.leaf + run.size, end)
    return run._replace(leaf=first, size=max(last - first, 0), number=run.number + first - run.leaf)

"""The log's rows in collections by month: made when one is first needed, written alone or within a transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, partial
from itertools import groupby
from operator import attrgetter
from typing import Any

from prometheus_client import Counter
from pymongo.database import Database
from pymongo.read_concern import ReadConcern

from fhir_dmp.fibres import offload, offloaded
from fhir_dmp.metrics import LOG_BYTES, LOG_ROWS
from fhir_dmp.store.chain import Row
from fhir_dmp.store.change import Event
from fhir_dmp.stores.mongo.block_rows import ids_in
from fhir_dmp.stores.mongo.blocks import ID, documents_of
from fhir_dmp.stores.mongo.chain import DURABLE
from fhir_dmp.stores.mongo.lines import Lines
from fhir_dmp.stores.mongo.month_indexes import make_month
from fhir_dmp.stores.mongo.transaction import Transaction

_Document = dict[str, Any]


class Months:
    """Sees that the month's collection of rows is there before a row is sent to it."""

    def __init__(self, database: Database[_Document]) -> None:
        self._database = database
        self._lines = Lines(database.client)
        self._ready: set[str] = set()

    def insert(self, rows: Sequence[Row], transaction: Transaction) -> None:
        """Insert the rows of one chain where they belong, within the transaction."""
        for name, part in _by_month(rows):
            transaction.insert(name, documents_of(part), self._database)

    def insert_alone(self, rows: Sequence[Row]) -> bool:
        """Make the rows durable by themselves; return False if some are not, or if that is not known.

        They are stored in their order, so that what a crash leaves of them is a beginning without gaps. The command is sent as it
        is: half the cost of ``insert_many`` for a group of rows, which is what every read waits for.
        """
        return all(self._inserted(name, documents_of(part)) for name, part in _by_month(rows))

    def _inserted(self, name: str, documents: Sequence[_Document]) -> bool:
        answer = self._lines.command(
            self._database, {"insert": name, "documents": documents, "writeConcern": DURABLE.document}
        )
        return not answer.get("writeErrors") and not answer.get("writeConcernError")

    def prepare(self, periods: set[str]) -> None:
        """Make the collections of these months."""
        for name in periods - self._ready:
            offload(partial(make_month, self._database, name))
            self._ready.add(name)

    @offloaded
    def stored(self, rows: Sequence[Row]) -> dict[str, tuple[str, int]]:
        """Return the ids of those rows that are stored, with the epoch and the number they have."""
        found: dict[str, tuple[str, int]] = {}
        ids = {"$in": [row.id for row in rows]}
        for name in {row.period for row in rows}:
            majority = self._database.get_collection(name, read_concern=ReadConcern("majority"))
            for document in majority.find({"$or": [{"_id": ids}, {ID: ids}]}, {"e": 1, "n": 1, ID: 1}):
                found |= {each: (document["e"], number) for number, each in enumerate(ids_in(document), document["n"])}
        return found


def count_durable(of: str, events: Sequence[Event]) -> None:
    """Count rows that are durable; ``of`` is what the metrics call them."""
    rows, size = _counted(of)
    rows.inc(len(events))
    size.inc(sum([len(event.body) for event in events]))


@cache
def _counted(of: str) -> tuple[Counter, Counter]:
    return LOG_ROWS.labels(of), LOG_BYTES.labels(of)


def _by_month(rows: Sequence[Row]) -> Iterable[tuple[str, list[Row]]]:
    """Return the rows by the collection they go to, in their order: a group that crosses midnight may go back and forth."""
    for name, part in groupby(rows, attrgetter("period")):
        yield name, list(part)

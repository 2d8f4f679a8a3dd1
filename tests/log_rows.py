"""The rows of a log, straight from its database."""

from __future__ import annotations

from fhir_dmp.stores.mongo.block_rows import rows_in
from fhir_dmp.stores.mongo.documents import months


def rows_of(log):
    """Return all rows of the database of a log (``store.chain.Row``), those of blocks too, by month and place in their chains."""
    rows = [row for name in months(log) for document in log[name].find() for row in rows_in(document, name)]
    return sorted(rows, key=lambda row: (row.period, row.writer, row.epoch, row.number))

"""From rows to leaves of the tree. https://www.rfc-editor.org/rfc/rfc9162#section-2.1.1."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from fhir_dmp.audit.entry import entry_of
from fhir_dmp.audit.merkle import leaf_hash
from fhir_dmp.store.chain import Leaves, Row


def leaves_of(rows: Iterable[Row]) -> list[Leaves]:
    """Return the leaves of rows, those that follow on each other together; the rows of an epoch come in their order."""
    placed = enumerate(rows)
    stretches = groupby(placed, lambda each: (each[1].writer, each[1].epoch, each[1].period, each[1].number - each[0]))
    return [_leaves([row for _, row in stretch]) for _, stretch in stretches]


def _leaves(rows: Sequence[Row]) -> Leaves:
    first, last = rows[0], rows[-1]
    hashes = b"".join([leaf_hash(entry_of(row)) for row in rows])
    place = first.writer, first.epoch, first.number, first.period
    return Leaves(*place, hashes, first.previous, last.hash, last.recorded)

"""Leaves that writers have handed in and nobody has sealed yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from pymongo import ReplaceOne
from pymongo.database import Database

from fhir_dmp.store.chain import HASH_SIZE, Leaves
from fhir_dmp.store.period import period_of
from fhir_dmp.stores.mongo.exact import is_bytes, is_text, is_whole
from fhir_dmp.stores.mongo.faults import answering
from fhir_dmp.stores.mongo.placed import PLACED
from fhir_dmp.stores.mongo.reading import NO_TEXT, read_list

HANDED = "handed"
MOST_HANDED = 1000
"""Pieces of leaves that wait to be sealed: some minutes of what several workers write."""

_TYPES = ((("w", "e", "m"), is_text), (("n", "rec"), is_whole), (("b", "p", "h"), is_bytes))
_Document = dict[str, Any]
_log = structlog.get_logger(__name__)


class Handed:
    """The part of ``store.ledger.Ledger`` that takes leaves in."""

    seals: Database[_Document]

    def hand_in(self, leaves: Sequence[Leaves]) -> None:
        """Lay leaves of durable rows before whoever seals; twice is harmless.

        Where much lies there already, because nobody seals, they are left out: their rows are read later.
        """
        if not leaves:
            return
        with answering():
            if self.seals[HANDED].estimated_document_count() < MOST_HANDED:
                rows = [ReplaceOne({"_id": _id_of(each)}, _row_of(each), upsert=True) for each in leaves]
                self.seals[HANDED].bulk_write(rows)

    def handed(self, limit: int) -> list[Leaves]:
        """Return the leaves among so many of the rows that were handed in, by epoch and number; what is none is told, and taken away.

        All but the leaves goes with it: under which id it lies the driver cannot always say, and whoever's rows these were, they are read.
        """
        with answering():
            rows = read_list(self.seals[HANDED], {}, sort=PLACED, limit=limit)
            found = [(row["_id"], _leaves_of(row)) for row in rows]
            leaves = [each for _, each in found if each is not None]
            if odd := [repr(own) for own, each in found if each is None]:
                _log.error("handed-in-no-leaves", rows=odd)
                self.seals[HANDED].delete_many({"_id": {"$nin": [_id_of(each) for each in leaves]}})
        return leaves

    def clear(self, leaves: Sequence[Leaves]) -> None:
        """Take away leaves that were handed in: they are sealed, or their rows are read."""
        if leaves:
            with answering():
                self.seals[HANDED].delete_many({"_id": {"$in": [_id_of(each) for each in leaves]}})


def _id_of(leaves: Leaves) -> str:
    return f"{leaves.writer}/{leaves.epoch}/{leaves.number}"


def _row_of(leaves: Leaves) -> _Document:
    place = {"w": leaves.writer, "e": leaves.epoch, "n": leaves.number, "m": leaves.period}
    return {**place, "b": leaves.hashes, "p": leaves.previous, "h": leaves.hash, "rec": leaves.recorded}


def _leaves_of(row: _Document) -> Leaves | None:
    """Return the leaves that are stored so, None if these are none, or lie under another id."""
    if not all(is_one(row.get(name)) for names, is_one in _TYPES for name in names):
        return None
    place = row["w"], row["e"], int(row["n"]), row["m"]
    leaves = Leaves(*place, row["b"], row["p"], row["h"], int(row["rec"]))
    whole = leaves.size and len(leaves.hashes) == leaves.size * HASH_SIZE
    linked = len(leaves.previous) == len(leaves.hash) == HASH_SIZE and leaves.number > 0
    stands = leaves.period == period_of(leaves.recorded) and row["_id"] == _id_of(leaves)
    return leaves if whole and linked and stands and NO_TEXT not in row["_id"] else None

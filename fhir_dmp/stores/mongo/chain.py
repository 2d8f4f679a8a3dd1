"""The chain of one writer's rows: each holds its number and the hash of the one before. Proofs stand on it.

``h`` = SHA-256 of ``p`` + the row's text, which ``b`` holds packed; the first ``p`` of an epoch is SHA-256 of the epoch's name. A process has
a chain for the rows of reads and one for those of writes, each with a number sequence of its own from 1. An epoch ends when the writer
cannot tell any more what was stored. It is registered before its first row, and closed when the process ends in order.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any

from pymongo.database import Database
from pymongo.errors import DuplicateKeyError
from pymongo.write_concern import WriteConcern

from fhir_dmp.clock import Clock
from fhir_dmp.fibres import offload
from fhir_dmp.store.chain import Link, Row
from fhir_dmp.store.change import Event
from fhir_dmp.store.period import period_of
from fhir_dmp.stores.mongo.recent import RecentRows

DURABLE = WriteConcern("majority", j=True)
EPOCHS = "epochs"
HEADS = "heads"


class Chain:
    """Gives rows their place; ``advance`` makes it final once they are stored, and then ``recent`` hears of them."""

    def __init__(self, writer: str, recent: RecentRows | None = None) -> None:
        self.writer = writer
        self.after: Link | None = None
        self._recent = recent
        self._begin()

    def _begin(self) -> None:
        self.epoch = secrets.token_hex(6)
        self.registered = False
        self._recorded = self._number = 0
        self._last = sha256(f"{self.writer}/{self.epoch}".encode()).digest()

    @property
    def last(self) -> Link:
        """The last row that is known to be stored; number 0 if there is none yet."""
        return Link(self.writer, self.epoch, self._number, self._last, self._recorded)

    def rows(self, events: Sequence[Event]) -> list[Row]:
        """Return the events as rows that follow on the last stored one; calling it again gives the same places."""
        number, last, writer, epoch = self._number, self._last, self.writer, self.epoch
        rows = []
        for event in events:
            number += 1
            digest = sha256(last + event.body).digest()
            place = event.id, event.recorded, writer, epoch, number, last, digest
            rows.append(Row(*place, event.body, event.index, period_of(event.recorded), event.secret))
            last = digest
        return rows

    def advance(self, rows: Sequence[Row]) -> None:
        """Go on from the last of the rows, which are stored."""
        if rows:
            if self._recent is not None:
                self._recent.add(rows)
            self._number, self._last, self._recorded = rows[-1].number, rows[-1].hash, rows[-1].recorded

    def break_off(self) -> None:
        """Begin a new epoch: whether the last rows were stored cannot be told."""
        self.after = self.last if self._number else self.after
        self._begin()


class Epochs:
    """The register of epochs, beside the log: rows are only ever added."""

    def __init__(self, log: Database[dict[str, Any]], seal: Database[dict[str, Any]], clock: Clock) -> None:
        self._rows = log.get_collection(EPOCHS, write_concern=DURABLE)
        self._heads = seal.get_collection(HEADS)
        self._clock = clock

    def begin(self, chain: Chain) -> None:
        """Register the chain's epoch, if it is not yet: with the last signed head, and the last row before it."""
        if not chain.registered:
            offload(lambda: self._register(chain))
            chain.registered = True

    def _register(self, chain: Chain) -> None:
        numbered = {"_id": {"$type": ["int", "long"]}}  # what else lies there is no head, and no epoch begins after it
        head = self._heads.find_one(numbered, {"_id": 1}, sort=[("_id", -1)])
        row = {"head": head["_id"] if head else 0, "after": _stored(chain.after) if chain.after else None}
        self._add(f"{chain.writer}/{chain.epoch}", chain, row)

    def close(self, chain: Chain) -> None:
        """Say what the chain's last row is; a missing close is a crash, or rows that were under way at the end."""
        if chain.registered:
            self._add(f"{chain.writer}/{chain.epoch}/closed", chain, {"closed": _stored(chain.last)})
            chain.registered = False

    def _add(self, own: str, chain: Chain, more: dict[str, Any]) -> None:
        row = {"_id": own, "w": chain.writer, "e": chain.epoch, "at": self._clock.micros(), **more}
        with suppress(DuplicateKeyError):
            self._rows.insert_one(row)


def _stored(link: Link) -> dict[str, Any]:
    return {"e": link.epoch, "n": link.number, "h": link.hash, "rec": link.recorded}

"""The committer of a process for the events of reads: what waits together becomes durable together, one flush in flight."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from pymongo.errors import PyMongoError

from fhir_dmp.errors import Crowded, TooMany, Unavailable, Unrecorded
from fhir_dmp.fibres import pause
from fhir_dmp.stopping import LANDING_SECONDS
from fhir_dmp.store.chain import Row
from fhir_dmp.store.change import Event
from fhir_dmp.stores.mongo.chain import Chain, Epochs
from fhir_dmp.stores.mongo.faults import come_again
from fhir_dmp.stores.mongo.flights import MOST_WAITING, Flights, Member
from fhir_dmp.stores.mongo.months import Months, count_durable

_PAUSE = 0.005
_HEAVIEST = 1000
_BYTES = 8_000
"""Of a row and what lies beside it, count as one more: a command of the heaviest group stays below the 16 MB that the database takes."""


class EventCommitter:
    """Makes the events of reads durable, in groups; ``seconds`` bounds how long one waits."""

    def __init__(
        self, months: Months, epochs: Epochs, chain: Chain, seconds: float, beside: list[Flights[Any]]
    ) -> None:
        self._months = months
        self._epochs = epochs
        self._chain = chain
        self._seconds = seconds
        self._flights = Flights(
            self._flush, of="reads", heaviest=_HEAVIEST, most=MOST_WAITING, seconds=seconds, beside=beside
        )

    def record(self, event: Event) -> None:
        """Return when the event is durable; raise ``Unrecorded`` if it is not in time, or nobody can tell, ``Crowded`` if too many wait."""
        try:
            size = len(event.body) + (len(event.secret) if event.secret else 0)
            self._flights.join(event, weight=1 + size // _BYTES)
        except TooMany as full:
            raise Crowded(str(full), reasons=("too many events wait",), headers=full.headers) from full
        except Unavailable as fault:
            raise Unrecorded(str(fault), reasons=fault.reasons, headers=fault.headers) from fault

    def close(self) -> bool:
        """Let nobody record any more and say what the last row is; return False if that cannot be said, of rows under way."""
        landed = self._flights.close(LANDING_SECONDS)
        if landed:
            self._epochs.close(self._chain)
        return landed

    def _flush(self, members: Sequence[Member[Event]]) -> None:
        ends = time.monotonic() + self._seconds
        left = [member.item for member in members]
        while left:
            rows = self._chain.rows(left)
            fault: PyMongoError | None = None
            try:
                self._months.prepare({row.period for row in rows})
                self._epochs.begin(self._chain)
                if self._months.insert_alone(rows):
                    self._chain.advance(rows)
                    break
            except PyMongoError as error:
                fault = error
            if time.monotonic() > ends:
                self._give_up(fault)
            pause(_PAUSE)
            left = self._missing(left, rows)
        count_durable("reads", [member.item for member in members])
        for member in members:
            member.result = True

    def _missing(self, events: list[Event], rows: list[Row]) -> list[Event]:
        """Return the events that are not stored; those that are at their place in the chain are final."""
        try:
            stored = self._months.stored(rows)
        except PyMongoError:
            return events
        self._chain.advance([row for row in rows if stored.get(row.id) == (row.epoch, row.number)])
        return [event for event in events if event.id not in stored]

    def _give_up(self, fault: PyMongoError | None) -> None:
        self._chain.break_off()
        raise Unavailable(
            "The log cannot be written; nothing was disclosed.",
            reasons=(type(fault).__name__,),
            headers=come_again(fault),
        ) from fault

"""What is done to the log as a whole, by a named operator: its verification, a new key, the removal of a period that is over and sealed.

Each leaves one event of how it ended: done, refused, or failed. A removal cannot be undone, so that an event of its beginning
(``audit-retire-start``) is durable before anything goes: one that stands without an end broke off, and is simply asked for again.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from fhir_dmp.audit.heads import BrokenHeadError, Head, PublicKey, Removed
from fhir_dmp.audit.keys import KeyFile
from fhir_dmp.audit.merkle import Frontier, leaf_hash
from fhir_dmp.audit.walk import leaves
from fhir_dmp.call import Context
from fhir_dmp.clock import Clock
from fhir_dmp.errors import Conflict, FhirError, NotFound, Unavailable
from fhir_dmp.service.audit_verify import Report
from fhir_dmp.service.seal_state import SealError
from fhir_dmp.service.sealer import Sealer
from fhir_dmp.store.chain import Run
from fhir_dmp.store.ledger import Ledger
from fhir_dmp.token_act import Announce, TokenAct, TokenKind

__all__ = ["Keeper", "SealError"]

WAIT_SECONDS = 15.0
"""How long the one who seals may take to let go."""

OVER = timedelta(days=1)
"""How long after its end a period is over: no row can still come to it."""

_PERIOD = re.compile(r"audit_(\d{4})_(\d\d)")


class Keeper(Struct, frozen=True):
    """Keeps the log; the context names the operator.

    ``drop`` removes the rows of a period, for good; ``years`` after its end nobody has to say why any more.
    """

    ledger: Ledger
    sealer: Sealer
    keys: KeyFile
    clock: Clock
    announce: Announce
    drop: Callable[[str], None]
    years: int = 10
    pause: Callable[[float], object] = time.sleep

    def verify(self, look: Callable[[Ledger], Report], context: Context) -> Report:
        """Return what ``look`` finds in the log as it is stored; what that is, the log itself is told before anybody hears of it."""
        with self._failing("audit-verify", "", context):
            report = look(self.ledger)
        wrong = report.findings[0] if report.findings else None
        told = str(wrong or f"{report.leaves} events verified against {report.heads} heads")
        self.announce(TokenAct("audit-verify", error="conflict" if wrong else None, why=told), context)
        return report

    def rotate_key(self, context: Context) -> PublicKey:
        """Let a new key sign from now on; the next head, signed by the old one, introduces it."""
        with self._failing("audit-rotate-key", "", context):
            self.sealer.insist(WAIT_SECONDS, self.pause)
            key = self.keys.prepare_successor()
            self.sealer.tick()
            self.sealer.release()
        self.announce(TokenAct("audit-rotate-key", why=f"the key {key.id}"), context)
        return key

    def retire(self, period: str, context: Context, early: str = "") -> Head:
        """Remove the rows of a period; what was removed is signed before it goes, and its leaves stay in the tree.

        ``early`` says why it goes before its time; it stands in the log. One that broke off is asked for again: as long as the rows are
        there, what was signed already is signed once more. Raises ``NotFound`` for a period that is not kept, ``Conflict`` for one that is
        not over, not wholly sealed, or altered, and for one that is younger than it may be without a reason; ``Unavailable`` where the rows
        could not be removed.
        """
        why = f"{period}, before its time: {early}" if early else period
        with self._failing("audit-retire", period, context):
            self._require_over(period, self._end(period), early)
            self.announce(TokenAct("audit-retire-start", why=why), context)
            self.sealer.insist(WAIT_SECONDS, self.pause)
            try:
                self._require_sealed(period)
                head = self.sealer.remove(self._removed(period))
            finally:
                self.sealer.release()
            self._drop(period, head)
        self.announce(TokenAct("audit-retire", why=why), context)
        return head

    @contextmanager
    def _failing(self, kind: TokenKind, what: str, context: Context) -> Iterator[None]:
        """Tell in the log that it came to nothing, and why, if it does: whatever broke it off."""
        try:
            yield
        except BaseException as fault:
            error = fault.code if isinstance(fault, FhirError) else FhirError.code
            told = str(fault) if isinstance(fault, FhirError | BrokenHeadError) else type(fault).__name__
            self.announce(TokenAct(kind, error=error, why=f"{what}: {told}" if what else told), context)
            raise

    def _drop(self, period: str, head: Head) -> None:
        try:
            self.drop(period)
        except FhirError as fault:
            told = f"Head {head.number} says that {period} is removed, and its rows are there still: run the command again."
            raise Unavailable(f"{told} ({fault})") from fault

    def _end(self, period: str) -> datetime:
        found = _PERIOD.fullmatch(period)
        if found is not None and period not in self.ledger.periods() and self._runs(period):
            raise NotFound(f"The rows of {period} are removed already; a signed head says what they were.")
        if found is None or period not in self.ledger.periods():
            raise NotFound(f"The log keeps no period {period!r}; it keeps {', '.join(self.ledger.periods())}.")
        year, month = int(found[1]), int(found[2])
        return datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)

    def _require_over(self, period: str, end: datetime, early: str) -> None:
        now, due = self.clock.now(), end.replace(year=end.year + self.years)
        if now < end + OVER:
            raise Conflict(f"The period {period} is not over: it may be retired from {(end + OVER).date()} on.")
        if now < due and not early:
            raise Conflict(
                f"The period {period} is kept until {due.date()}, {self.years} years after its end (DMP_AUDIT_RETENTION_YEARS): traces are"
                " kept in the record (R.1111-43), and a record for ten years after it was closed (L.1111-18). Say --early WHY if it is to go"
                " before."
            )

    def _require_sealed(self, period: str) -> None:
        sealed: Counter[tuple[str, str]] = Counter()
        for run in self._runs(period):
            sealed[run.writer, run.epoch] += run.size
        for tally in self.ledger.tallies(period):
            if sealed[tally.writer, tally.epoch] != tally.rows:
                raise Conflict(
                    f"Rows of {period} have no leaf (epoch {tally.writer}/{tally.epoch}): see fhir-dmp audit verify."
                )

    def _removed(self, period: str) -> Removed:
        """Return what is to be removed; each row must be what its leaf says."""
        frontier = Frontier()
        for run in self._runs(period):
            for leaf in leaves(self.ledger, run.leaf, run.leaf + run.size):
                if leaf.hash is None or leaf.entry is None or leaf_hash(leaf.entry) != leaf.hash:
                    raise Conflict(f"Leaf {leaf.number} is not what was sealed: see fhir-dmp audit verify.")
                frontier.append(leaf.hash)
        return Removed(period, frontier.size, frontier.root())

    def _runs(self, period: str) -> list[Run]:
        return [run for run in self.ledger.runs(0, self.ledger.size()) if run.period == period]

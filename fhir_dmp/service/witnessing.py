"""Witnessing: the newest head is given to each witness outside, by whoever seals the log.

What a witness acknowledges stands beside the published heads (``audit.witnesses``).
"""

from __future__ import annotations

from collections.abc import Sequence

from fhir_dmp.audit.heads import SignedHead
from fhir_dmp.audit.witnesses import ReceiptsFile, Witness, WitnessError
from fhir_dmp.clock import Clock, instant
from fhir_dmp.service.sealer import Sealer
from fhir_dmp.store.ledger import Ledger


class Witnessing:
    """Gives the newest head to each witness, every so many seconds, while the sealer beside it leads.

    Witnesses are slow and may be away: nothing waits for them, and the next head holds all before it.
    """

    def __init__(
        self, sealer: Sealer, ledger: Ledger, witnesses: Sequence[Witness], receipts: ReceiptsFile, clock: Clock
    ) -> None:
        self._sealer = sealer
        self._ledger = ledger
        self._witnesses = witnesses
        self._receipts = receipts
        self._clock = clock

    def tick(self) -> None:
        """Ask each witness that has not acknowledged the newest head; raise ``WitnessError`` if one does not."""
        line = self._ledger.head() if self._sealer.leads else None
        if line is None:
            return
        signed, wrong = SignedHead.from_line(line), []
        for witness in self._witnesses:
            if self._ledger.witnessed(witness.name) >= signed.head.number:
                continue
            try:
                receipt = witness.acknowledge(signed)
            except WitnessError as fault:
                wrong.append(str(fault))
                continue
            self._receipts.append(signed.head.number, witness.name, instant(self._clock.micros()), receipt)
            self._ledger.acknowledged(signed.head.number, witness.name)
        if wrong:
            raise WitnessError("; ".join(wrong))

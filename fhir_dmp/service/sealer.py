"""Sealing: about once a second the one who holds the lease takes new rows into the tree, and signs and publishes its head.

Every worker has a sealer; one of them leads, and another takes over within seconds when it ends. Rows are taken by epoch and
number, without gaps, so that a row that is committed late cannot be missed, whatever its time says; leaves never move.

What workers hand in (``service.handing``) is taken as it was written; the rows that nobody hands in are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from fhir_dmp.audit.heads import NOTHING_BEFORE, BrokenHeadError, Head, Removed, SignedHead, SigningKey
from fhir_dmp.audit.keys import KeyFile
from fhir_dmp.audit.leaves import leaves_of
from fhir_dmp.audit.merkle import EMPTY
from fhir_dmp.audit.sinks import HeadsFile
from fhir_dmp.clock import DAY, SECOND, Clock, Ids, instant
from fhir_dmp.metrics import SEAL_FAULTS
from fhir_dmp.service.chains import lately
from fhir_dmp.service.seal_state import SealError, SealState, take_over
from fhir_dmp.store.chain import Leaves, Run
from fhir_dmp.store.ledger import Batch, Fenced, Ledger, Occupied

LEASE_SECONDS = 3.0
SECONDS = 1.0
"""Between two sealings."""

STEP_SECONDS = 0.2
AT_ONCE = 1000
"""Rows that one sealing reads of a hundred epochs; those of large transactions are some 20 kB each."""

SWEEP = 60 * SECOND
"""How often epochs are asked that have been quiet, or stand still at a gap (microseconds): each time until they bring no more."""

HANDED_AT_ONCE = 100
"""Pieces of leaves that one sealing takes; a worker hands in two at a time."""

OVERLAP = 600 * SECOND
"""How much later than its time an epoch's registration may be seen by each sealing (microseconds)."""

OVERLAP_OF_SWEEPS = DAY
"""How much later by those that ask epochs that have been quiet.

One that comes later still, by a clock that stands still, is looked for by its name as soon as its writer hands in leaves.
"""


class Sealer:
    """Seals while it holds the lease. Not for two threads at once."""

    def __init__(self, ledger: Ledger, keys: KeyFile, sink: HeadsFile, clock: Clock, ids: Ids) -> None:
        self._ledger = ledger
        self._keys = keys
        self._sink = sink
        self._clock = clock
        self._ids = ids
        self._holder = ids.new()
        self._state: SealState | None = None

    def tick(self) -> bool:
        """Seal what is new, if the lease is ours; tell whether it is.

        Raises ``SealError`` where database, key and published heads do not fit together, ``Unavailable`` if the database does not answer.
        """
        try:
            more = True
            while more:
                state = self._led()
                if state is None:
                    return False
                more = self._seal_rows(state)
        except Fenced:
            self._state = None
            return False
        except (SealError, BrokenHeadError) as fault:
            self._state = None
            SEAL_FAULTS.inc()
            if isinstance(fault, SealError):
                raise
            raise SealError(f"{fault}: see fhir-dmp audit verify.") from None
        except BaseException:
            self._state = None
            raise
        return True

    def insist(self, seconds: float, pause: Callable[[float], object]) -> None:
        """Lead, and seal what is new: whoever leads now lets go within a few seconds.

        Raises ``SealError`` if that does not happen in so many seconds.
        """
        for _ in range(int(seconds / STEP_SECONDS)):
            self._ledger.claim(self._holder, seconds)
            if self.tick():
                return
            pause(STEP_SECONDS)
        raise SealError("The one who seals the log does not let go; try again.")

    def remove(self, removed: Removed) -> Head:
        """Publish that a period is removed, as the one who leads; return the head that says so."""
        state = self._led()
        if state is None:
            raise SealError("Another seals the log by now; try again.")
        return self._publish(state, state.next_head(self._time(), removed=removed)).head

    @property
    def leads(self) -> bool:
        """Tell whether the last sealing was ours."""
        return self._state is not None

    def release(self) -> None:
        """Let another lead at once."""
        if self._state is not None:
            self._ledger.release(self._state.lease)
            self._state = None

    def _led(self) -> SealState | None:
        lease = self._ledger.lead(self._holder, LEASE_SECONDS)
        if lease is None:
            self._state = None
            return None
        if self._state is None or self._state.lease != lease:
            state = take_over(lease, self._ledger, self._sink)
            self._notice_epochs(state)
            state.chains.forget("")
            self._state = state
        if self._state.head is None:
            self._begin(self._state)
        self._rotate(self._state)
        return self._state

    def _begin(self, state: SealState) -> None:
        key = self._signing_key()
        origin = f"fhir-dmp log {self._ids.new()}"
        first = Head(origin, 0, EMPTY, 1, NOTHING_BEFORE, self._time(), key.public.id, adds=key.public)
        self._publish(state, first, key)

    def _signing_key(self) -> SigningKey:
        try:
            return self._keys.current()
        except ValueError:
            raise SealError(f"{self._keys.path} holds no key: nothing is sealed until it is there again.") from None

    def _rotate(self, state: SealState) -> None:
        """Introduce the key that waits, and sign by it; a crash in between leaves one of the two files to show how far it came.

        Whoever knows the new key alone trusts nothing before it has signed, and nobody may act for a long time.
        """
        successor = self._keys.successor()
        if successor is not None:
            if state.key != successor.public.id:
                self._publish(state, state.next_head(self._time(), adds=successor))
            self._keys.succeed()
        if state.head is not None and state.head.head.key != state.key:
            self._publish(state, state.next_head(self._time()))

    def _seal_rows(self, state: SealState) -> bool:
        """Seal what is new: leaves that writers have handed in, and rows of those who hand in none; tell whether there is more."""
        now, chains, stuck = self._clock.micros(), state.chains, len(state.chains.stuck)
        sweep = now - state.swept >= SWEEP
        self._notice_epochs(state, OVERLAP_OF_SWEEPS if sweep else OVERLAP)
        handed = self._ledger.handed(HANDED_AT_ONCE)
        leaves = chains.fitting(handed, now)
        if sweep:
            chains.notice_idle(now)
        due = chains.due({(each.writer, each.epoch) for each in leaves}, now, sweep=sweep)
        rows = self._ledger.fresh(due, AT_ONCE) if due else []
        full = len(rows) >= AT_ONCE or len(handed) >= HANDED_AT_ONCE
        for key, group in groupby(rows, lambda row: (row.writer, row.epoch)):
            leaves.extend(leaves_of(chains.following(key, group)))
        if leaves:
            self._seal(state, leaves)
        self._ledger.clear(handed)
        more = full and (bool(leaves) or len(chains.stuck) > stuck)
        if sweep and not more:
            state.swept = now
            chains.forget("" if full else lately(now)[0])  # what was full may have left some unread
        return more

    def _seal(self, state: SealState, leaves: Sequence[Leaves]) -> None:
        runs = list(_runs(leaves, state.tree.size))
        tiles = state.tree.append([leaf for each in leaves for leaf in each])
        links = {(each.writer, each.epoch): each.link for each in leaves}
        self._publish(state, state.next_head(self._time()), batch=Batch(0, b"", runs, tiles, tuple(links.values())))
        state.chains.links.update(links)

    def _notice_epochs(self, state: SealState, overlap: int = OVERLAP) -> None:
        now = self._clock.micros()
        state.chains.notice(self._ledger.openings(max(state.seen - overlap, 0)))
        state.seen = now

    def _time(self) -> str:
        return instant(self._clock.micros())

    def _publish(
        self, state: SealState, head: Head, key: SigningKey | None = None, batch: Batch | None = None
    ) -> SignedHead:
        """Sign, write to the database behind the fence, then to the sink."""
        key = key or self._signing_key()
        if key.public.id != head.key:
            raise SealError(f"The log is signed by the key {head.key}, and {self._keys.path} holds {key.public.id}.")
        signed = SignedHead.sign(head, key)
        batch = batch or Batch(0, b"")
        try:
            self._ledger.seal(state.lease, Batch(head.number, signed.line(), batch.runs, batch.tiles, batch.links))
        except Occupied as fault:
            self._state = None  # whoever takes over, this one too, looks at what is there
            raise SealError(f"{fault}: see fhir-dmp audit verify.") from None
        state.head = signed
        self._sink.append([signed])
        return signed


def _runs(leaves: Iterable[Leaves], leaf: int) -> Iterable[Run]:
    """Yield the runs that the leaves make, from this number on."""
    for each in leaves:
        yield Run(leaf, each.size, each.writer, each.epoch, each.number, each.period)
        leaf += each.size

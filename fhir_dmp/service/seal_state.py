"""What the one who seals knows of the log: read anew, and held against what was published, by whoever takes over."""

from __future__ import annotations

import structlog
from msgspec import Struct

from fhir_dmp.audit.heads import Head, Removed, SignedHead, SigningKey
from fhir_dmp.audit.merkle import Tree, edge_tiles
from fhir_dmp.audit.sinks import HeadsFile
from fhir_dmp.metrics import SEAL_FAULTS
from fhir_dmp.service.chains import Chains
from fhir_dmp.store.ledger import Lease, Ledger

RUNS_AT_ONCE = 1000
"""Runs that no head holds and that are taken away in one transaction."""

RUNS_TOLD = 20
"""Of these, how many the operator is told."""

_log = structlog.get_logger(__name__)


class SealError(ValueError):
    """Nothing can be sealed until somebody looks: the message says what does not fit."""


class SealState(Struct):
    """What the leader knows; read anew by whoever takes over."""

    lease: Lease
    head: SignedHead | None
    tree: Tree
    chains: Chains
    seen: int
    swept: int = 0

    @property
    def key(self) -> str:
        """The id of the key whose turn it is to sign; empty before the first head."""
        if self.head is None:
            return ""
        return self.head.head.adds.id if self.head.head.adds else self.head.head.key

    def next_head(self, time: str, *, adds: SigningKey | None = None, removed: Removed | None = None) -> Head:
        """Return the head of the tree as it is now, to be signed."""
        if self.head is None:
            raise SealError("The log has no first head yet.")
        before = self.head.head
        return Head(
            origin=before.origin,
            size=self.tree.size,
            root=self.tree.root(),
            number=before.number + 1,
            previous=self.head.digest,
            time=time,
            key=self.key,
            adds=adds.public if adds else None,
            removed=removed,
        )


def take_over(lease: Lease, ledger: Ledger, sink: HeadsFile) -> SealState:
    """Return what there is for whoever has the lease by now; nothing of what was begun and not done is left behind.

    Raises ``SealError`` where database and published heads do not fit together.
    """
    line = ledger.head()
    head = SignedHead.from_line(line) if line else None
    size = head.head.size if head else 0
    tree = Tree(size, {tile: content for tile in edge_tiles(size) for content in ledger.tiles([tile]).values()})
    if head is not None and tree.root() != head.head.root:
        raise SealError(f"The stored tree is not that of head {head.head.number}: see fhir-dmp audit verify.")
    _catch_up(head, ledger, sink)
    _forget_runs(lease, head, ledger)
    return SealState(lease, head, tree, Chains.of(ledger), seen=0)


def _catch_up(head: SignedHead | None, ledger: Ledger, sink: HeadsFile) -> None:
    """Publish what was signed and not published; refuse to go on from a database that lags behind what was."""
    published = sink.last()
    last = published.head.number if published else 0
    if published is not None:
        known = ledger.head(last)
        if known is None or SignedHead.from_line(known).digest != published.digest:
            raise SealError(
                f"Head {last} of {sink.path} is not in the database: an older state was restored, "
                "or the file is another log's. Nothing is sealed until they fit."
            )
    if head is not None and last < head.head.number:
        sink.append([SignedHead.from_line(line) for line in ledger.heads(last)])


def _forget_runs(lease: Lease, head: SignedHead | None, ledger: Ledger) -> None:
    """Take away runs that no head holds: they are nobody's, and the next ones could not be stored beside them.

    A head and the runs of its leaves are written together or not at all, and who holds the lease knows the last one. Where there is no
    head, whatever had some is gone: nothing is taken away of that.
    """
    if head is None:
        if ledger.size():
            raise SealError("There are runs of leaves, and no head holds any: see fhir-dmp audit verify.")
        return
    forgotten, told, size = 0, list[str](), head.head.size
    while odd := ledger.forget_runs(lease, size, RUNS_AT_ONCE):
        forgotten += len(odd)
        told += [str(run) for run in odd[: RUNS_TOLD - len(told)]]
    if forgotten:
        SEAL_FAULTS.inc()
        _log.error("runs-of-no-head", size=size, number=forgotten, runs=told, see="fhir-dmp audit verify")

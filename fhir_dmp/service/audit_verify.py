"""Verifying a log with nothing but the public key: a live database, an exported file or one proof, against published heads."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

from msgspec import Struct

from fhir_dmp.audit.export import Exported
from fhir_dmp.audit.findings import Report
from fhir_dmp.audit.heads import BrokenHeadError, Head, HeadChain, PublicKey, SignedHead
from fhir_dmp.audit.look import Looking, here
from fhir_dmp.audit.lookers import lookers
from fhir_dmp.audit.merkle import leaf_hash, verify_consistency, verify_inclusion
from fhir_dmp.audit.strays import counted, follow
from fhir_dmp.audit.tiles import wrong_heads
from fhir_dmp.audit.verify import Verifier
from fhir_dmp.audit.walk import windows
from fhir_dmp.fhir.parameters import Parameters
from fhir_dmp.store.ledger import Ledger

__all__ = [
    "BrokenHeadError",
    "PublicKey",
    "Published",
    "Report",
    "lookers",
    "verify_database",
    "verify_export",
    "verify_proof",
]

Progress = Callable[[int], object]


class Published(Struct, frozen=True):
    """The heads as they were published: ``lines`` yields them from the first on, each time it is called."""

    lines: Callable[[], Iterable[bytes]]
    key: PublicKey

    def survey(self) -> HeadChain:
        """Check signatures and order; raise ``BrokenHeadError`` naming the head that is wrong."""
        chain = HeadChain(self.key)
        for _ in chain.read(self.lines()):
            pass
        return chain

    def heads(self, checked: HeadChain) -> Iterator[Head]:
        """Yield the heads that a survey has checked: those that are published meanwhile tell of a log that is longer than what is looked at."""
        return (SignedHead.from_line(line).head for line in self.checked(checked))

    def checked(self, checked: HeadChain) -> Iterator[bytes]:
        """Yield the lines of those heads."""
        return islice(self.lines(), checked.count)


def verify_database(
    ledger: Ledger,
    published: Published,
    progress: Callable[[int], Progress],
    looking: Looking = here,
    *,
    index: bool = False,
) -> Report:
    """Return what is wrong with the log as it is stored; ``progress`` is told how many leaves there are.

    ``looking`` may be several processes (``lookers``). With ``index`` what events are found by is made anew from their rows.
    Raises ``BrokenHeadError`` if the heads themselves do not hold.
    """
    checked = published.survey()
    size = checked.last.head.size if checked.last else 0
    end = min(size, ledger.size())
    with ThreadPoolExecutor(1) as beside:
        strays = beside.submit(counted, ledger, end)
        verifier = Verifier(checked.removed, index=index)
        looked = looking(windows(ledger, 0, end, index=index))
        report = verifier.run(looked, published.heads(checked), progress(end))
        follow(ledger, strays.result(), verifier.last, report)
    report.halfway = [period for period in ledger.periods() if period in checked.removed]
    if not report.cut:
        for told in wrong_heads(ledger, published.checked(checked), checked):
            report.add("tree altered", None, told)
    return report


def verify_export(
    lines: Iterable[bytes],
    published: Published,
    progress: Callable[[int], Progress],
    looking: Looking = here,
    *,
    to_the_last: bool = False,
    index: bool = False,
) -> Report:
    """Return what is wrong with an exported log (``audit.export``), whose lines come without their ends.

    It must reach the head that its last line names; the last head there is if it has no such line, or ``to_the_last``.
    Raises ``BrokenHeadError`` if the heads do not hold, ``ValueError`` for lines that are no export.
    """
    checked = published.survey()
    exported = Exported.begin(lines)
    size = checked.last.head.size if checked.last else 0
    verifier = Verifier(checked.removed, exported.first, exported.edge, index=index)
    claimed = (lambda: None) if to_the_last else (lambda: exported.head)
    looked = looking(exported.windows(index=index))
    return verifier.run(looked, published.heads(checked), progress(max(size - exported.first, 0)), claimed)


def verify_proof(told: Parameters, *keys: PublicKey) -> str:
    """Return what a ``$proof`` or a ``$consistency`` proves, in words, by whoever of the keys signed its heads.

    Raises ``ValueError`` if it does not hold.
    """
    path = [_bytes(value) for value in told.values("path")]
    if told.all("leaf"):
        head = _signed(told, "head", keys)
        entry = _bytes(told.value("entry")) if told.all("entry") else None
        leaf = leaf_hash(entry) if entry is not None else _bytes(told.value("hash"))
        if not verify_inclusion(leaf, told.value("leaf"), head.size, path, head.root):
            raise ValueError("The path does not lead from the entry to the head.")
        what = entry.decode() if entry is not None else f"an entry whose hash is {leaf.hex()}"
        return f"Leaf {told.value('leaf')} of head {head.number} ({head.time}) is {what}"
    older, newer = _signed(told, "from", keys), _signed(told, "to", keys)
    if not verify_consistency(older.size, newer.size, older.root, newer.root, path):
        raise ValueError("The path does not lead from the older head to the newer one.")
    return f"The {older.size} leaves of head {older.number} ({older.time}) begin head {newer.number} ({newer.time})."


def _signed(told: Parameters, name: str, keys: Sequence[PublicKey]) -> Head:
    parts = next((item.parts for item in told.all(name) if item.parts), Parameters())
    note = str(parts.value("note"))
    signature = _bytes(parts.value("signature"))
    if not any(key.verify(signature, note) for key in keys):
        raise ValueError(f"The head is not signed by {' or '.join(key.id for key in keys)}.")
    return Head.parse(note)


def _bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError):
        raise ValueError("This is no proof: hashes and signatures are base64.") from None

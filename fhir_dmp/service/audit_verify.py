"""Verifying a log with nothing but the public key: a live database or an exported file, against the published heads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from fhir_dmp.audit.heads import BrokenHeadError, HeadChain, PublicKey, SignedHead
from fhir_dmp.audit.verify import Leaf, Report, Verifier
from fhir_dmp.audit.walk import leaves, unaccounted
from fhir_dmp.store.ledger import Ledger

__all__ = ["BrokenHeadError", "PublicKey", "Published", "Report", "verify_database"]

Progress = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class Published:
    """The heads as they were published: ``lines`` yields them from the first on, each time it is called."""

    lines: Callable[[], Iterable[bytes]]
    key: PublicKey

    def survey(self) -> HeadChain:
        """Check signatures and order; raise ``BrokenHeadError`` naming the head that is wrong."""
        chain = HeadChain(self.key)
        for _ in chain.read(self.lines()):
            pass
        return chain

    def verify(self, checked: HeadChain, found: Iterable[Leaf], progress: Progress) -> Report:
        """Return what is wrong with the leaves, which begin at the first."""
        heads = (SignedHead.from_line(line).head for line in self.lines())
        return Verifier(checked.removed).run(found, heads, progress)


def verify_database(ledger: Ledger, published: Published, progress: Callable[[int], Progress]) -> Report:
    """Return what is wrong with the log as it is stored; ``progress`` is told how many leaves there are.

    Raises ``BrokenHeadError`` if the heads themselves do not hold.
    """
    checked = published.survey()
    size = checked.last.head.size if checked.last else 0
    end = min(size, ledger.size())
    report = published.verify(checked, leaves(ledger, 0, end), progress(end))
    unaccounted(ledger, report)
    return report


def lines_of(file: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of a file without their ends."""
    for line in file:
        yield line.rstrip(b"\r\n")

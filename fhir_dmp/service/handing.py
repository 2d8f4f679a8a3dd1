"""Handing in: a worker knows the rows that it has made durable, and gives their leaves to who seals.

What is sealed is what was written, whatever becomes of it on disk within the second, and no row is read again for it. Commands, and who
ends without a word, leave rows that nobody hands in: they are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from fhir_dmp.audit.leaves import leaves_of
from fhir_dmp.store.chain import Leaves, Link
from fhir_dmp.store.ledger import Ledger, Recent

HANDING_SECONDS = 0.4
"""Between two times that a worker hands in its leaves."""

Key = tuple[str, str]
"""Writer and epoch: what a chain is of."""


class Handing:
    """Hands in the leaves of what this process writes, so that who seals need not read it again; what is not, is read."""

    def __init__(self, ledger: Ledger, recent: Recent) -> None:
        self._ledger = ledger
        self._recent = recent

    def tick(self) -> None:
        """Hand in what is new; raise ``Unavailable`` if the database does not answer."""
        rows = sorted(self._recent.take(), key=lambda row: (row.writer, row.epoch))
        self._ledger.hand_in(leaves_of(rows))


def fitting(handed: Iterable[Leaves], links: Mapping[Key, Link]) -> Iterator[tuple[Key, Leaves | None]]:
    """Yield the leaves that follow on what is sealed (``links``), or on each other; None for an epoch that has others: its rows are read."""
    last = dict(links)
    for each in handed:
        key = each.writer, each.epoch
        before = last.get(key)
        if before is None or each.link.number <= before.number:
            continue
        if each.number > before.number + 1 or (each.number == before.number + 1 and each.previous != before.hash):
            yield key, None
            continue
        yield key, each.after(before.number)
        last[key] = each.link

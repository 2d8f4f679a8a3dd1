"""A window of leaves, looked through in one go: if all is right with them in themselves, little remains to be told of them.

What remains is compared with the leaves before and with the signed heads (``audit.verify``), in their order. Windows need nothing of
each other, so that several processes look through them at once (``audit.lookers``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from fhir_dmp.audit.entry import Entry, holds, misfiled, read_entry
from fhir_dmp.audit.merkle import TILE_WIDTH, leaf_hash
from fhir_dmp.clock import DAY
from fhir_dmp.store.period import period_of

WINDOW = 16 * TILE_WIDTH
"""Leaves that are looked through together; what a process keeps in memory is about one window."""

_NOTHING: Mapping[str, Any] = {}


class Leaf(NamedTuple):
    """A leaf as it was found: its number, its hash in the tree, its entry; and whose it is (``w/e/n``), where that is known.

    ``entry`` is None for a row that is not there: because of ``period``, if that was removed. ``beside`` is False if what lies
    beside the row is not what the row names. ``terms`` are what a row that is stored is found by.
    """

    number: int
    hash: bytes | None
    entry: bytes | None
    place: str = ""
    period: str = ""
    beside: bool = True
    terms: Mapping[str, Any] = _NOTHING

    @property
    def read(self) -> Entry | None:
        """The entry taken apart, None if it is none."""
        try:
            return read_entry(self.entry or b"")
        except ValueError:
            return None


Place = tuple[int, str]
"""How far an epoch has come: the number and the hash of its last row."""


class Seen(NamedTuple):
    """What is to be told of a window with which all is right: its first leaf, the hashes of all, and how far each epoch was and is.

    Epochs are named by writer and epoch. ``periods`` says from which of the hashes on rows are of which period.
    """

    first: int
    hashes: list[bytes]
    before: dict[tuple[str, str], Place]
    after: dict[tuple[str, str], Place]
    periods: list[tuple[str, int]]


class Window(Protocol):
    """Leaves that follow on each other, to be read as often as one likes and in whatever process."""

    def look(self) -> Seen | None:
        """Return what is to be told of them, or None if anything at all is wrong."""
        ...

    def leaves(self) -> Iterable[Leaf]:
        """Yield them one by one."""
        ...


Looked = tuple[Window, Seen | None]
Looking = Callable[[Iterable[Window]], Iterable[Looked]]
"""Looks through windows, and yields them in their order."""


def here(windows: Iterable[Window]) -> Iterable[Looked]:
    """Yield the windows, looked through in this process."""
    return ((window, window.look()) for window in windows)


class Sight:
    """Takes the leaves of a window in their order, as long as all is right; with ``index`` what they are found by, too."""

    def __init__(self, first: int, *, index: bool) -> None:
        self.seen = Seen(first, [], {}, {}, [])
        self._index = index
        self._day: int | None = None

    def take(self, known: bytes | None, content: bytes, entry: Entry) -> bool:
        """Take a leaf: its hash in the tree, its entry, and that taken apart; tell whether all is right with it."""
        _, hashes, begun, last, periods = self.seen
        digest = leaf_hash(content)
        if digest != known or not holds(entry) or (self._index and misfiled(entry)):
            return False
        key, before = (entry.w, entry.e), (entry.n - 1, entry.p)
        if last.setdefault(key, before) != before:
            return False
        begun.setdefault(key, before)
        last[key] = (entry.n, entry.h)
        if (day := entry.rec // DAY) != self._day:
            self._day = day
            periods.append((period_in(entry), len(hashes)))
        hashes.append(digest)
        return True


def period_in(entry: Entry) -> str:
    """Return the period that the entry was recorded in; nothing for one that is of no time."""
    try:
        return period_of(entry.rec)
    except (ValueError, OverflowError, OSError):
        return ""


def look(leaves: Iterable[Leaf], *, index: bool) -> Seen | None:
    """Return what is to be told of leaves, or None if anything at all is wrong with them or there are none."""
    sight: Sight | None = None
    for leaf in leaves:
        sight = sight or Sight(leaf.number, index=index)
        entry, number = leaf.read, sight.seen.first + len(sight.seen.hashes)
        if entry is None or leaf.entry is None or leaf.number != number or not leaf.beside:
            return None
        if not sight.take(leaf.hash, leaf.entry, entry):
            return None
    return sight.seen if sight else None

"""What is left of a period that was removed: leaves without rows, which must be those that a signed head says were removed.

A leaf whose row is not there names the period it was removed with, and so it might whoever took it away. That it is one of those that
were removed shows when all leaves of the period are there: so many as the head says, and with the root that it says.
"""

from __future__ import annotations

from msgspec import Struct, field

from fhir_dmp.audit.heads import Removed
from fhir_dmp.audit.merkle import Frontier


class Removal(Struct):
    """The leaves of one removed period as they are read in their order, in constant memory.

    Leaves whose rows are there are counted too: an export that was begun before the removal, and went on after it, has some.
    ``since`` is the first leaf whose row is not, None while all are.
    """

    removed: Removed
    since: int | None = None
    absent: int = 0
    _tree: Frontier = field(default_factory=Frontier)

    def take(self, leaf: int, digest: bytes, *, there: bool) -> bool:
        """Take a leaf; return False, and leave it, if the period has all of its leaves already."""
        if self.full:
            return False
        self._tree.append(digest)
        if not there:
            self.since = leaf if self.since is None else self.since
            self.absent += 1
        return True

    @property
    def size(self) -> int:
        """How many leaves there are so far."""
        return self._tree.size

    @property
    def full(self) -> bool:
        """Whether there are as many as were removed."""
        return self._tree.size >= self.removed.rows

    @property
    def holds(self) -> bool:
        """Whether these are the leaves that were removed, once it is full."""
        return self._tree.root() == self.removed.root

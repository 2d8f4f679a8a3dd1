"""Acts as the metrics count them: by names that are on a list, since a caller can write anything in a URL.

A number that another process reads lies in a file, and to change it there takes fifteen times as long as here: acts are counted in this
process, and written there about once a second.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from fhir_dmp.audit.kinds import KINDS
from fhir_dmp.metrics import ACTS
from fhir_dmp.service.operations import OPERATIONS
from fhir_dmp.service.repeated import Repeated, repeating

OTHER = "other"
OUTCOMES = ("0", "4", "8", "12")
WRITE_SECONDS = 1.0
"""How often a worker writes down what it has counted: the metrics are so late, and who kills a worker loses so much."""


class _Tally:
    """How often something happened since the last look."""

    def __init__(self) -> None:
        ticks = count()
        self.add = ticks.__next__
        """Count one: a single step of the interpreter, which no other thread comes between."""
        self._tick = ticks.__next__
        self._next = 0

    def taken(self) -> int:
        """Return what was counted since, for one thread at a time; the look is a tick of its own."""
        tick = self._tick()
        fresh, self._next = tick - self._next, tick + 1
        return fresh


_TALLIES = {
    (name, outcome): _Tally() for name in (*KINDS, *(f"${code}" for code in OPERATIONS), OTHER) for outcome in OUTCOMES
}
_writing = threading.Lock()


def count_act(act: str, outcome: str) -> None:
    """Count one act by its name and outcome (0, 4, 8 or 12); it is told when counts are written down next."""
    (_TALLIES.get((act, outcome)) or _TALLIES[OTHER, outcome]).add()


def write_counts() -> None:
    """Add to the metrics what was counted since this was done last."""
    with _writing:
        for (act, outcome), tally in _TALLIES.items():
            if fresh := tally.taken():
                ACTS.labels(act, outcome).inc(fresh)


@contextmanager
def counts_written() -> Iterator[None]:
    """Write counts down every ``WRITE_SECONDS`` meanwhile, and what is left at the end."""
    try:
        with repeating(Repeated("counts", write_counts, WRITE_SECONDS)):
            yield
    finally:
        write_counts()

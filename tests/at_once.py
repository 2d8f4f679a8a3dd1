"""What is done at the same moment, each time in a thread of its own."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor


def at_once(do, each):
    """Return what ``do`` makes of each, in their order; none begins before all can. What one raises is raised here."""
    each = tuple(each)
    start = threading.Barrier(len(each))

    def run(one):
        start.wait(60)
        return do(one)

    with ThreadPoolExecutor(len(each)) as threads:
        return list(threads.map(run, each))

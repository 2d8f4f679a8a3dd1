"""Acts are counted where they happen, and told whole: none is lost, and none told twice, however many threads count and write."""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import REGISTRY

from fhir_dmp.errors import FhirError
from fhir_dmp.service import counting
from fhir_dmp.service.counting import OTHER, OUTCOMES, count_act, counts_written, write_counts


@pytest.fixture(autouse=True)
def _nothing_is_left():
    """What other tests of this process counted is told before."""
    write_counts()


def told(act, outcome="0"):
    """Return what the metrics tell of the act."""
    return REGISTRY.get_sample_value("dmp_acts_total", {"act": act, "outcome": outcome}) or 0.0


def test_acts_are_told_when_counts_are_written():
    """Not before, and once."""
    before = told("read"), told("read", "4"), told("vread")
    for _ in range(7):
        count_act("read", "0")
    count_act("read", "4")
    late = told("read"), told("read", "4"), told("vread")
    write_counts()
    write_counts()

    assert late == before
    assert (told("read"), told("read", "4"), told("vread")) == (before[0] + 7, before[1] + 1, before[2])


def test_counts_go_on_after_they_were_written():
    """A look at a count is none of what is counted."""
    before = told("create")
    for _ in range(5):
        write_counts()
        count_act("create", "0")
    write_counts()

    assert told("create") == before + 5


def test_names_that_callers_make_up_are_counted_as_others():
    """So that the list of labels is bounded."""
    before = told(OTHER, "4")
    count_act("$made-up", "4")
    write_counts()

    assert told(OTHER, "4") == before + 1
    assert told("$made-up", "4") == 0.0


def test_every_outcome_of_an_error_can_be_counted():
    """Those that errors are told with are on the list."""
    kinds, errors = [FhirError], set()
    while kinds:
        kind = kinds.pop()
        errors.add(kind.audit_outcome)
        kinds += kind.__subclasses__()

    assert errors <= set(OUTCOMES)


def test_threads_that_count_at_once_lose_nothing_while_others_write():
    """Though the interpreter changes from one to another as often as it can."""
    before, interval = told("update"), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    over = threading.Event()

    def count():
        for _ in range(20_000):
            count_act("update", "0")

    def write():
        while not over.is_set():
            write_counts()

    try:
        with ThreadPoolExecutor(6) as threads:
            writers = [threads.submit(write) for _ in range(2)]
            for done in [threads.submit(count) for _ in range(4)]:
                done.result()
            over.set()
            for done in writers:
                done.result()
    finally:
        over.set()
        sys.setswitchinterval(interval)
    write_counts()

    assert told("update") == before + 80_000


def test_a_worker_writes_now_and_then_and_at_its_end(monkeypatch):
    """By itself, while nobody asks; and what came after the last time when it ends."""
    monkeypatch.setattr(counting, "WRITE_SECONDS", 0.05)
    before = told("delete")
    with counts_written():
        count_act("delete", "0")
        ends = time.monotonic() + 30
        while told("delete") == before and time.monotonic() < ends:
            time.sleep(0.01)
        meanwhile = told("delete")
        monkeypatch.setattr(counting, "WRITE_SECONDS", 3600.0)
    with counts_written():
        count_act("delete", "0")
        late = told("delete")

    assert (meanwhile, late) == (before + 1, before + 1)
    assert told("delete") == before + 2

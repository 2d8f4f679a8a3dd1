"""What goes on beside the calls, and how it ends: in time, whatever hangs."""

from __future__ import annotations

import json
import threading
import time

import pytest

from fhir_dmp import log, stopping
from fhir_dmp.errors import Unavailable
from fhir_dmp.service import repeated
from fhir_dmp.service.repeated import Repeated, repeating
from fhir_dmp.stopping import in_time


@pytest.fixture
def hanging():
    """What nothing comes of until the test is over."""
    released = threading.Event()
    yield released
    released.set()


@pytest.fixture
def told(capsys):
    """Return the lines of the log, each as it was told."""
    log.configure("INFO")
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_threads_that_hang_are_waited_for_all_together(monkeypatch, hanging):
    """Twenty of them take as long as one: what a worker has for its end is counted."""
    monkeypatch.setattr(repeated, "THREADS_SECONDS", 0.5)
    begun = threading.Semaphore(0)

    def act():
        begun.release()
        hanging.wait()

    with repeating(*(Repeated(f"act-{number}", act, 0) for number in range(20))):
        for _ in range(20):
            assert begun.acquire(timeout=30)
        began = time.monotonic()

    assert 0.5 <= time.monotonic() - began < 8


def test_what_is_under_way_is_done_when_the_threads_have_stopped():
    """An act that has begun is not left half done, and none begins after it."""
    done, begun = [], threading.Event()

    def act():
        begun.set()
        time.sleep(0.1)
        done.append("whole")

    with repeating(Repeated("act", act, 0)):
        assert begun.wait(30)

    assert done
    before = len(done)
    time.sleep(0.15)
    assert len(done) == before


def test_what_fails_again_and_again_is_told_once(told):
    """Until it is something else that fails, or it has gone well in between."""
    faults = ["away", "away", "away", None, "away", "full"]
    tried = threading.Event()

    def act():
        if not faults:
            tried.set()
            return
        fault = faults.pop(0)
        if fault is not None:
            raise Unavailable(fault)

    with repeating(Repeated("act", act, 0)):
        assert tried.wait(30)

    assert [line["reason"] for line in told() if line["event"] == "not-done"] == ["away", "away", "full"]


def test_a_fault_that_nobody_foresaw_ends_nothing(told):
    """The thread goes on, and the log says of what kind it was and where, not what it said."""
    went_on = threading.Event()
    faults = [KeyError("Durand")]

    def act():
        if faults:
            raise faults.pop()
        went_on.set()

    with repeating(Repeated("act", act, 0)):
        assert went_on.wait(30)

    (line,) = told()
    assert (line["event"], line["what"], line["fault"]) == ("repeated-failed", "act", "KeyError")
    assert "Durand" not in str(line)


def test_closing_that_hangs_is_waited_for_so_long_and_told(monkeypatch, hanging, told):
    """The process may end then: it is killed otherwise, and nobody would know why."""
    monkeypatch.setattr(stopping, "CLOSE_SECONDS", 0.2)
    close = in_time(hanging.wait)

    close()

    assert [line["event"] for line in told()] == ["not-closed"]


def test_closing_is_done_once_and_waited_for():
    """Whoever asks first has it done; who asks again hears that it is."""
    done = []
    close = in_time(lambda: done.append(time.sleep(0.1)))
    assert done == []

    close()
    close()

    assert len(done) == 1

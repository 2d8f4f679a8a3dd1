"""Fibres: calls that take turns on one thread."""

from __future__ import annotations

import asyncio
import threading

import pytest

from fhir_dmp.errors import TooMany
from fhir_dmp.fibres import (
    BLOCKING_AT_ONCE,
    Threads,
    latch,
    offload,
    offloaded,
    on_loop,
    open_all,
    pause,
    set_off,
)
from tests.fibres import run


def test_fibres_take_turns_on_one_thread_while_they_wait():
    """The second fibre opens what the first waits for: neither has a thread of its own."""
    said, doors = [], []

    def first():
        doors.append(latch())
        said.append("first waits")
        doors[0].acquire()
        said.append("first goes on")
        return threading.get_ident()

    def second():
        said.append("second opens")
        open_all(doors)
        return threading.get_ident()

    threads = run(first, second)

    assert said == ["first waits", "second opens", "first goes on"]
    assert threads == [threading.get_ident()] * 2


def test_a_latch_that_was_opened_before_keeps_nobody():
    """Whoever comes late goes straight on."""

    def call():
        door = latch()
        open_all((door,))
        return door.acquire()

    assert run(call) == [True]


def test_what_many_wait_for_never_queues_behind_what_one_asked():
    """Slow searches have all threads that calls may block: evidence and tokens are looked after by others."""
    free = threading.Event()

    def slow():
        offload(lambda: free.wait(10))

    def many():
        done = latch()
        set_off(lambda: open_all((done,)) if offload(lambda: True) else None)
        in_time = done.acquire(timeout=5)
        free.set()
        return in_time

    assert run(*[slow] * (BLOCKING_AT_ONCE + 1), many)[-1] is True


@pytest.mark.parametrize("seconds", [0, 0.01])
def test_who_waits_too_long_is_told(seconds):
    """In a fibre and in a thread; what opens later disturbs nobody."""

    def call():
        door = latch()
        in_time = door.acquire(timeout=seconds)
        open_all((door,))
        return in_time

    assert run(call) == [False]
    assert call() is False


def test_a_pause_lets_others_go_on():
    """Who pauses longer comes later; no pause at all is none."""
    said = []

    def call(seconds):
        pause(seconds)
        said.append(seconds)

    run(lambda: call(0.5), lambda: call(0.01), lambda: call(0))
    call(0.001)

    assert said == [0, 0.01, 0.5, 0.001]


def test_what_blocks_is_done_by_another_thread_meanwhile():
    """Two fibres whose blocking calls wait for each other come to their ends."""
    meeting = threading.Barrier(2)

    def call():
        offload(lambda: meeting.wait(60))
        return "met"

    assert run(call, call) == ["met", "met"]


def test_a_fault_of_what_blocks_is_raised_where_it_was_asked_for():
    """As if there were no other thread; outside of a fibre there is none."""

    class Asked:
        @offloaded
        def ask(self):
            raise LookupError("no such row")

    (fault,) = run(Asked().ask)

    assert isinstance(fault, LookupError)
    with pytest.raises(LookupError):
        Asked().ask()


def test_threads_are_made_as_they_are_needed_and_kept():
    """Jobs one after the other need one thread; as many at once as may be have one each, and the rest waits."""
    threads, seen = Threads(2, "test"), []
    for _ in range(3):
        done = threading.Event()
        threads.submit(lambda done=done: (seen.append(threading.get_ident()), done.set()))
        assert done.wait(60)
        while threads._idle < 1:
            pass
    assert len(set(seen)) == 1

    both, third = threading.Barrier(3), threading.Event()
    for _ in range(2):
        threads.submit(lambda: both.wait(60))
    threads.submit(third.set)
    assert not third.wait(0.05)
    both.wait(60)
    assert third.wait(60)


def test_nobody_is_told_on_a_loop_that_is_closed():
    """The worker ends: who waited is not there any more."""
    loop = asyncio.new_event_loop()
    loop.close()

    on_loop(loop, lambda: pytest.fail("the loop is closed"))


def test_threads_are_not_made_for_want_of_counting():
    """Three kinds of jobs, one after the other each: some threads meet the next job before they are counted, but none is lost."""
    threads, left = Threads(100, "test"), [3 * 300]
    ended, counting = threading.Event(), threading.Lock()

    def job(rest):
        with counting:
            left[0] -= 1
            if not left[0]:
                ended.set()
        if rest:
            threads.submit(lambda: job(rest - 1))

    for _ in range(3):
        threads.submit(lambda: job(299))

    assert ended.wait(20)
    assert threads._made <= 30


def test_a_thread_that_cannot_be_made_leaves_nobody_waiting(monkeypatch):
    """The first is told; with one thread there, jobs wait for it."""
    threads, start = Threads(2, "test", waiting=2), threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda _: (_ for _ in ()).throw(RuntimeError("no more")))
    with pytest.raises(RuntimeError):
        threads.submit(lambda: None)
    monkeypatch.setattr(threading.Thread, "start", start)
    go, done = threading.Event(), threading.Event()
    threads.submit(lambda: go.wait(60))
    monkeypatch.setattr(threading.Thread, "start", lambda _: (_ for _ in ()).throw(RuntimeError("no more")))
    threads.submit(done.set)
    while threads._jobs.qsize() < 2:
        threads.submit(lambda: None)
    with pytest.raises(TooMany):
        threads.submit(lambda: None)
    go.set()

    assert done.wait(60)

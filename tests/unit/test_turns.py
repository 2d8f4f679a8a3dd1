"""Turns: who changes the same comes one after the other, and nobody waits for ever."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest

from fhir_dmp.errors import Conflict, Stale
from fhir_dmp.store import turns
from fhir_dmp.store.turns import Attempts, Turns
from tests.at_once import at_once


def test_those_who_want_the_same_have_it_one_after_the_other():
    """Whatever else each of them wants; the order of keys is everybody's, so that two never wait for each other."""
    order, inside, most = Turns(), [], []

    def work(number):
        with order.taken(frozenset({"shared", f"own {number}"})):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.002)
            inside.remove(number)

    at_once(work, range(20))

    assert most == [1] * 20
    assert not order.wanted(["shared", "own 3"])


def test_who_comes_first_has_its_turn_first():
    """The queue is one, not a scramble."""
    order, came = Turns(), []

    def work(number):
        with order.taken(frozenset({"key"})):
            came.append(number)

    with order.taken(frozenset({"key"})):
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for place, thread in enumerate(threads, start=2):
            thread.start()
            while len(order._waiting["key"]) < place:
                time.sleep(0.001)
        assert order.wanted(["other", "key"])
        assert not order.wanted(["other"])
    for thread in threads:
        thread.join()

    assert came == list(range(8))


def test_a_turn_that_does_not_come_is_a_conflict(monkeypatch):
    """Whoever gives up leaves the queue, and what it had already."""
    monkeypatch.setattr(turns, "PATIENCE", 0.05)
    order = Turns()
    with order.taken(frozenset({"b"})):
        with pytest.raises(Conflict), order.taken(frozenset({"a", "b"})):
            pytest.fail("somebody else has it")
        assert not order.wanted(["a"])

    assert not order.wanted(["b"])


def test_whoever_was_overtaken_has_a_turn_and_who_comes_meanwhile_waits_behind():
    """The first attempt needs no turn where nobody waits; it gives way where somebody does."""
    order = Turns()
    with Attempts(order) as attempts:
        numbers = iter(attempts)
        assert next(numbers) == 0
        attempts.about(["key"])
        assert not order.wanted(["key"])
        assert next(numbers) == 1
        assert order.wanted(["key"])
        with Attempts(order) as others:
            next(iter(others))
            others.about(["another"])
        with Attempts(order) as others, pytest.raises(Stale):
            next(iter(others))
            others.about(["another", "key"])

    assert not order.wanted(["key"])


def test_attempts_end_with_patience(monkeypatch):
    """There is always one, and not one more when time is up."""
    now = [0.0]
    monkeypatch.setattr(turns, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(turns, "pause", lambda seconds: now.append(now.pop() + seconds))
    made = list(Attempts(Turns()))

    assert made[:3] == [0, 1, 2]
    assert made == list(range(len(made)))
    assert turns.PATIENCE <= now[0] < turns.PATIENCE + 0.05
    monkeypatch.setattr(turns, "PATIENCE", 0)
    assert list(Attempts(Turns())) == [0]

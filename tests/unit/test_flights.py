"""Group commit: who waits together flies together."""

from __future__ import annotations

import threading
from itertools import chain
from unittest.mock import Mock

import pytest

from fhir_dmp.errors import Unavailable
from fhir_dmp.fibres import FLIGHTS, Fibre, pause
from fhir_dmp.stores.mongo import flights
from fhir_dmp.stores.mongo.flights import Flights
from fhir_dmp.stores.mongo.together import Together
from tests.fibres import run


@pytest.fixture
def landed():
    """The groups that have flown, in their order."""
    return []


@pytest.fixture
def group(landed):
    """Flights that note who flew with whom, and answer each with their own item."""

    def fly(members):
        landed.append([member.item for member in members])
        for member in members:
            member.result = member.item

    return Flights(fly, of="test", heaviest=100, most=100, seconds=5, beside=[])


def calls(group, many, after=0.0):
    """As many calls that join, each a moment after the one before."""

    def call(number):
        pause(after * number)
        return group.join(number)

    return [lambda number=number: call(number) for number in range(many)]


def test_calls_that_are_under_way_together_share_one_flight(group, landed, monkeypatch):
    """Once some have come, the first waits for the others, one after the other: four in five are enough."""
    run(*calls(group, 12))
    landed.clear()
    monkeypatch.setattr(flights, "HOLD_SECONDS", 2.0)

    assert run(*calls(group, 6, after=0.02)) == list(range(6))

    assert landed[0][:5] == [0, 1, 2, 3, 4]
    assert sorted(chain.from_iterable(landed)) == list(range(6))


def test_a_caller_who_is_alone_waits_for_nobody(group, landed, monkeypatch):
    """A flight that waited for others would be too late to be believed here."""
    monkeypatch.setattr(flights, "HOLD_SECONDS", 60.0)

    assert run(*calls(group, 1)) == [0]
    assert group.join("from a thread") == "from a thread"

    assert landed == [[0], ["from a thread"]]


def test_one_caller_after_the_other_is_not_held_for_slow_ones(group, landed, monkeypatch):
    """Who comes alone again and again has nobody to share with, whatever else is under way."""
    monkeypatch.setattr(flights, "HOLD_SECONDS", 60.0)

    def one_after_the_other():
        return [group.join(number) for number in range(5)]

    def slow():
        pause(0.2)

    assert run(one_after_the_other, slow, slow, slow) == [list(range(5)), None, None, None]
    assert landed == [[number] for number in range(5)]


def test_a_flight_leaves_without_those_who_do_not_come(group, landed):
    """Calls that are under way and want nothing of the log hold others back for a moment only."""
    run(*calls(group, 12))
    landed.clear()

    def other():
        pause(0.5)
        return "other"

    assert run(*calls(group, 1), other, other) == [0, "other", "other"]

    assert landed == [[0]]


def test_nobody_is_waited_for_who_has_a_seat_in_another_kind_of_flight(landed, monkeypatch):
    """A flight held for those who wait for others' evidence would make all of them wait for nothing."""
    kinds = []
    over = threading.Event()

    def noted(members):
        landed.append([member.item for member in members])
        for member in members:
            member.result = member.item

    def slowly(members):
        over.wait(10)
        noted(members)

    writes, reads = (
        Flights(fly, of="test", heaviest=100, most=100, seconds=30, beside=kinds, takes_off=FLIGHTS.submit)
        for fly in (noted, slowly)
    )
    run(*calls(writes, 12))
    landed.clear()
    monkeypatch.setattr(flights, "HOLD_SECONDS", 60.0)

    def write(number):
        pause(0.01 * number)
        done = writes.join(number)
        if number == 3:
            over.set()
        return done

    answers = run(*[lambda n=n: reads.join(f"read {n}") for n in range(8)], *[lambda n=n: write(n) for n in range(4)])

    assert answers[8:] == [0, 1, 2, 3]
    assert [0, 1, 2, 3] in landed


def test_who_could_not_be_flown_is_not_done_later(group, landed, monkeypatch):
    """No thread was to be had: the caller was told so, and the next one flies without them."""
    with monkeypatch.context() as patched:
        patched.setattr(FLIGHTS, "submit", Mock(side_effect=RuntimeError("no thread can be made")))
        with pytest.raises(RuntimeError, match="no thread"):
            group.join("refused")

    assert group.join("next") == "next"

    assert landed == [["next"]]


def test_a_query_that_nobody_could_send_is_not_waited_for(monkeypatch):
    """The next reader has it sent."""
    together = Together(lambda keys: dict.fromkeys(keys, "found"))
    with monkeypatch.context() as patched:
        patched.setattr(FLIGHTS, "submit", Mock(side_effect=RuntimeError("no thread can be made")))
        with pytest.raises(RuntimeError, match="no thread"):
            together.find("refused")

    assert together.find_many(("next",)) == {"next": "found"}


def test_fibres_are_counted_while_they_are_under_way():
    """Whatever ends them."""

    def counts():
        pause(0.01)
        return Fibre.under_way

    def fails():
        pause(0.02)
        raise ValueError

    assert run(counts, counts, fails)[:2] == [3, 2]
    assert Fibre.under_way == 0


def test_at_the_end_nobody_is_taken_any_more_and_who_is_under_way_lands(landed):
    """Whoever ends hears whether all have landed by then, and may ask again."""
    flying, free = threading.Event(), threading.Event()

    def fly(members):
        flying.set()
        free.wait(30)
        landed.append([member.item for member in members])
        members[0].result = True

    group = Flights(fly, of="test", heaviest=100, most=100, seconds=30, beside=[])
    passenger = threading.Thread(target=group.join, args=(1,))
    passenger.start()
    assert flying.wait(30)

    assert not group.close(0.05)
    with pytest.raises(Unavailable, match="ending"):
        group.join(2)
    free.set()
    assert group.close(30)
    passenger.join()
    assert landed == [[1]]

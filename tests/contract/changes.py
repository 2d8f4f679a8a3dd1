"""Changes and events to commit, and many commits at the same time."""

from __future__ import annotations

from fhir_dmp.clock import RandomIds, SystemClock
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.store.change import STAMP, Change, Event
from tests.at_once import at_once

IDS, CLOCK = RandomIds(), SystemClock()


def event():
    """Return an event with an id of its own."""
    return Event(IDS.new(), CLOCK.micros(), b'{"act":"read"}', {"t": ["a=R"], "pt": []})


def body(text="x"):
    """Return a body that waits for its moment."""
    return b'{"resourceType":"Basic","meta":{"lastUpdated":"' + STAMP + b'"},"x":"' + text.encode() + b'"}'


def create(own=None, **index):
    """Return the change that makes a new resource."""
    return Change(Ref("Basic", own or IDS.new()), 1, None, body(), {"t": ["Basic"], **index})


def next_of(before, text="y", **index):
    """Return the change that makes the next version."""
    return Change(before.ref, before.version + 1, before, body(text), {"t": ["Basic"], **index})


def together(*calls):
    """Run the calls at the same time and return their results or errors."""

    def run(call):
        try:
            return call()
        except Exception as error:
            return error

    return at_once(run, calls)

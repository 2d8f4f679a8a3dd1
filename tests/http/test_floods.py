"""What leaves no event of its own is counted, and the count is told: of floods of refusals, and of requests that there was no room for."""

from __future__ import annotations

import re
from collections import Counter
from datetime import timedelta
from itertools import count
from types import SimpleNamespace

import pytest

from fhir_dmp.app.server import create_server
from fhir_dmp.app.web import create_app
from fhir_dmp.call import Context
from fhir_dmp.clock import FixedClock
from fhir_dmp.errors import Unavailable, Unrecorded
from fhir_dmp.fhir import codec
from fhir_dmp.service import refusals
from fhir_dmp.service.clients import NewClient
from fhir_dmp.store.query import EVERYTHING
from fhir_dmp.stores.mongo.store import MongoStore
from tests.access_world import NOON
from tests.conftest import server_settings
from tests.oauth_world import jwks, key_pair

HERE, THERE = "192.0.2.7", "192.0.2.8"


@pytest.fixture
def place(mongodb_uri, database_name, tmp_path):
    """A server that tells two refusals of a minute one by one, a clock that is moved by hand, and strangers who are refused."""
    settings = server_settings(mongodb_uri, database_name, tmp_path, anonymous_per_minute=2, trusted_proxies=1)
    clock = FixedClock(NOON)
    server = create_server(settings, clock)
    http = create_app(settings, server).test_client()

    def refused(address=HERE):
        return http.get("/fhir/Patient", headers={"X-Forwarded-For": address}).status_code

    def busy(address=HERE):
        server.refusals.count_busy(Context(None, clock.now(), "request-1", server.base_url, address=address))

    def after(seconds):
        clock.set(NOON + timedelta(seconds=seconds))
        server.refusals.tell()

    yield SimpleNamespace(server=server, clock=clock, refused=refused, busy=busy, after=after)
    server.close()


def told(server):
    """Return act, address, number and status of each count in the log, and how many refusals have events of their own."""
    parts, _ = server.store.search_events(EVERYTHING, 1000, None)
    rows = [codec.loads_object(part.event.body) for part in parts]
    counts = [
        (row["act"], row.get("from"), int(re.match(r"\d+", row["why"][0])[0]), row["error"]["status"])
        for row in rows
        if row["act"] in ("flood", "busy")
    ]
    return sorted(counts, key=str), Counter(row["act"] for row in rows)["get"]


def test_a_flood_is_told_when_its_minute_is_over_though_nobody_comes_again(place):
    """Nothing of it before, and once; each address has its own count, and one that stayed below is told nothing more of."""
    statuses = [place.refused() for _ in range(5)] + [place.refused(THERE) for _ in range(2)]
    place.after(59)
    assert told(place.server) == ([], 4)

    place.after(60)
    place.after(61)

    assert statuses == [401, 401, 429, 429, 429, 401, 401]
    assert told(place.server) == ([("flood", HERE, 3, 429)], 4)


def test_the_next_minute_is_counted_anew(place):
    """Its first refusals have events of their own again."""
    for _ in range(3):
        place.refused()
    place.after(60)

    assert [place.refused() for _ in range(3)] == [401, 401, 429]
    place.after(120)
    assert told(place.server) == ([("flood", HERE, 1, 429)] * 2, 4)


def test_a_flood_that_goes_on_is_told_each_minute(place):
    """Somebody comes before anybody looks whose minute is over, minute after minute; being told gives them no more room in it."""
    for minute in range(3):
        place.clock.set(NOON + timedelta(seconds=60 * minute))
        assert [place.refused() for _ in range(3)] == [401, 401, 429]
        place.after(60 * minute + 1)
        assert place.refused() == 429

    assert told(place.server) == ([("flood", HERE, 2, 429), ("flood", HERE, 3, 429)], 6)
    place.after(240)
    assert sum(count for _, _, count, _ in told(place.server)[0]) == 6


def test_requests_that_there_was_no_room_for_are_told_by_their_number(place):
    """Each of them, beside the floods of the same address; the system was not available for them."""
    for _ in range(4):
        place.busy()
        place.refused()
    place.busy(THERE)
    place.after(60)

    assert told(place.server) == ([("busy", HERE, 4, 503), ("busy", THERE, 1, 503), ("flood", HERE, 2, 429)], 2)


def test_what_was_counted_is_told_before_the_server_ends(place, mongodb_uri, database_name, tmp_path):
    """In the midst of a minute, too."""
    for _ in range(3):
        place.refused()
    place.busy()
    place.server.close()

    later = create_server(server_settings(mongodb_uri, database_name, tmp_path))
    assert told(later) == ([("busy", HERE, 1, 503), ("flood", HERE, 1, 429)], 2)
    later.close()


def test_what_the_log_does_not_take_is_told_later(place, monkeypatch):
    """With all that was counted since, and from when on."""
    for _ in range(4):
        place.busy()

    def fail(self, event):
        raise Unrecorded("The log cannot be written.")

    with monkeypatch.context() as mute:
        mute.setattr(MongoStore, "record", fail)
        with pytest.raises(Unavailable):
            place.after(60)
        place.busy()
    assert told(place.server)[0] == []

    place.after(61)
    place.after(121)

    assert told(place.server)[0] == [("busy", HERE, 5, 503)]
    parts, _ = place.server.store.search_events(EVERYTHING, 1, None)
    assert "since 2026-11-23T12:00:00" in codec.loads_object(parts[0].event.body)["why"][0]


def test_a_crowd_of_addresses_is_counted_together(place, monkeypatch):
    """Nobody can fill the memory by coming from ever more of them: those beyond a number are one."""
    monkeypatch.setattr(refusals, "MOST_ADDRESSES", 2)
    for number in range(5):
        place.busy(f"192.0.2.{number}")
    place.after(60)

    alone = [("busy", f"192.0.2.{number}", 1, 503) for number in range(2)]
    assert told(place.server)[0] == [*alone, ("busy", None, 3, 503)]


def test_requests_whose_events_there_is_no_room_for_are_told_by_their_number(place, monkeypatch):
    """By whichever door they came: one who is known, a stranger, somebody who wants a token; each is answered 503 and told to come again."""
    server, http = place.server, create_app(place.server.settings, place.server).test_client()
    operator = server.operator_context("tester", "test")
    server.clients.add(NewClient("ehr-one", "backend", "ehr", ("system/*.rs",), jwks=jwks(key_pair())), operator)
    token = server.tokens.operator_token("ehr-one", ("system/*.rs",), "tester", operator)
    known = {"Authorization": f"Bearer {token}", "X-Forwarded-For": HERE}
    begun = told(server)
    with monkeypatch.context() as full:
        full.setattr(server.store._events._flights, "_most", 0)
        answers = [
            http.get("/fhir/Patient/p1", headers=known),
            http.get("/fhir/Patient?_pretty=true", headers=known),
            http.get("/fhir/Patient", headers={"X-Forwarded-For": HERE}),
            http.post("/oauth/token", data={"grant_type": "x"}, headers={"X-Forwarded-For": HERE}),
        ]
    assert told(server) == begun
    place.after(60)

    assert [(answer.status_code, answer.headers["Retry-After"]) for answer in answers] == [(503, "1")] * 4
    assert told(server)[0] == [("busy", HERE, 4, 503)]


def test_a_flood_of_many_addresses_is_told_together_when_there_is_no_time(
    place, monkeypatch, mongodb_uri, database_name, tmp_path
):
    """A server that stops has seconds: what it cannot tell by address it tells in one event of each kind, with how many they were."""
    for number in range(5):
        for _ in range(number + 1):
            place.busy(f"192.0.2.{number}")
    for _ in range(4):
        place.refused(THERE)
    with monkeypatch.context() as short:
        moments = count()
        short.setattr(refusals, "TELL_SECONDS", 2.5)
        short.setattr(refusals, "time", SimpleNamespace(monotonic=lambda: next(moments)))
        place.server.close()

    later = create_server(server_settings(mongodb_uri, database_name, tmp_path))
    counts, _ = told(later)
    parts, _ = later.store.search_events(EVERYTHING, 1000, None)
    later.close()
    whys = {row["why"][0] for part in parts if (row := codec.loads_object(part.event.body))["act"] in ("busy", "flood")}

    assert counts == [
        ("busy", "192.0.2.3", 4, 503),
        ("busy", "192.0.2.4", 5, 503),
        ("busy", None, 6, 503),
        ("flood", None, 2, 429),
    ]
    assert any("6 requests turned away because the server was busy from 3 other addresses since" in why for why in whys)


def test_a_look_takes_no_longer_than_its_time(place, monkeypatch):
    """Whoever stops the server waits for it: the rest is told at the next look, nothing twice and nothing lost."""
    for number in range(5):
        place.busy(f"192.0.2.{number}")
    with monkeypatch.context() as short:
        moments = count()
        short.setattr(refusals, "TELL_SECONDS", 2.5)
        short.setattr(refusals, "time", SimpleNamespace(monotonic=lambda: next(moments)))
        place.after(60)
    assert len(told(place.server)[0]) == 2
    place.busy("192.0.2.0")
    place.after(61)
    place.after(180)

    assert sum(number for _, _, number, _ in told(place.server)[0]) == 6

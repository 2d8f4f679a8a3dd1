"""Commands of fibres, on connections that their event loop listens to."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import threading
from contextlib import suppress
from functools import partial
from itertools import pairwise

import pymongo
import pytest
import uvloop
from pymongo.errors import AutoReconnect, ExecutionTimeout, NetworkTimeout, NotPrimaryError, OperationFailure
from pymongo.monitoring import ServerListener
from pymongo.uri_parser import parse_uri

from fhir_dmp.clock import RandomIds, SystemClock
from fhir_dmp.errors import Unrecorded
from fhir_dmp.fibres import offload, pause
from fhir_dmp.settings import Settings
from fhir_dmp.store.change import Event
from fhir_dmp.stores.mongo import lines
from fhir_dmp.stores.mongo.connect import KINDS
from fhir_dmp.stores.mongo.grants import MongoGrants
from fhir_dmp.stores.mongo.lines import Lines
from fhir_dmp.stores.mongo.store import MongoStore
from tests import fibres
from tests.log_rows import rows_of

LARGE = "x" * 3_000_000


class Relay:
    """A network between the driver and the database, which can be cut, or lose what is answered."""

    def __init__(self, upstream):
        self._upstream = upstream
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.mute = threading.Event()
        self.made = 0
        self._open = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def cut(self, last=None):
        """End the connections that there are, or the ``last`` of them. Who comes back meanwhile is let in, and answered."""
        self.mute.clear()
        there = [*self._open]
        for each in there[-2 * last :] if last else there:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self):
        """Take no more."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self.cut()
        self._accepting.join(5)
        for each in [self._listening, *self._open]:
            each.close()

    def _accept(self):
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self._upstream)
                self.made += 1
                self._open += [near, far]
                threading.Thread(target=self._carry, args=(near, far, None), daemon=True).start()
                threading.Thread(target=self._carry, args=(far, near, self.mute), daemon=True).start()

    def _carry(self, source, target, mute):
        with suppress(OSError):
            while piece := source.recv(65536):
                if mute is None or not mute.is_set():
                    target.sendall(piece)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request):
    """What runs calls as fibres, on a loop of either kind: a worker's is of the second."""
    return partial(fibres.run, on=request.param)


@pytest.fixture
def relay(mongodb_uri):
    """A network of the test's own."""
    made = Relay(parse_uri(mongodb_uri)["nodelist"][0][0])
    yield made
    made.close()


class Doubts(ServerListener):
    """What the driver has come to believe of its server, when that was no good."""

    def __init__(self):
        self.told = []

    def opened(self, event):
        """Nothing is known yet."""

    def description_changed(self, event):
        """Note that it is given up."""
        if event.new_description.server_type_name == "Unknown":
            self.told.append(event.new_description)

    def closed(self, event):
        """It is not looked at any more."""


@pytest.fixture
def doubts():
    """What the driver thinks."""
    return Doubts()


@pytest.fixture
def database(mongodb_uri, relay, database_name, doubts):
    """A database, reached over the relay."""
    known = parse_uri(mongodb_uri)
    with pymongo.MongoClient(
        "127.0.0.1",
        relay.port,
        directConnection=True,
        username=known["username"],
        password=known["password"],
        serverSelectionTimeoutMS=5000,
        heartbeatFrequencyMS=500,
        tz_aware=True,
        event_listeners=[doubts],
    ) as client:
        yield client[database_name]


@pytest.fixture
def asked(database):
    """Lines to the database, as a function that sends a command by them."""
    own = Lines(database.client)
    return lambda command: own.command(database, command)


def found(answer):
    """What a ``find`` brought."""
    return answer["cursor"]["firstBatch"]


def test_a_fibre_hears_what_a_thread_hears(run, database, asked):
    """The same rows, with moments that know their zone, whoever asks."""
    run(lambda: asked({"insert": "loads", "documents": [{"_id": "a", "n": 1}, {"_id": "b"}]}))
    question = {"find": "loads", "sort": {"_id": 1}}

    [answer] = run(lambda: found(asked(question)))

    assert answer == found(asked(question)) == [{"_id": "a", "n": 1}, {"_id": "b"}]


def test_one_connection_serves_fibres_that_ask_one_after_the_other(run, relay, asked):
    """It is kept: to open one costs more than hundreds of questions."""

    def often():
        asked({"ping": 1})
        pause(0.5)
        before = relay.made
        answers = [asked({"ping": 1})["ok"] for _ in range(20)]
        return answers, relay.made - before

    assert run(often) == [([1.0] * 20, 0)]


def test_fibres_ask_at_the_same_time_and_each_gets_its_own_answer(run, asked):
    """More of them than there are lines: the driver sends what is left over."""
    many = 3 * lines.MOST
    run(lambda: asked({"insert": "loads", "documents": [{"_id": str(n)} for n in range(many)]}))

    answers = run(*[lambda n=n: found(asked({"find": "loads", "filter": {"_id": str(n)}})) for n in range(many)])

    assert answers == [[{"_id": str(n)}] for n in range(many)]


def test_what_is_larger_than_the_network_takes_at_once_comes_whole(run, asked):
    """In both directions, while other fibres go on."""
    went_on = []

    def large():
        asked({"insert": "loads", "documents": [{"_id": "l", "x": LARGE}]})
        return found(asked({"find": "loads", "filter": {"_id": "l"}}))[0]["x"] == LARGE

    def other():
        pause(0.001)
        went_on.append(1)

    assert run(large, other) == [True, None]
    assert went_on


def test_a_refused_command_raises_what_the_driver_would(run, asked):
    """With the database's code; the line is good for the next question."""

    def refused(command):
        with pytest.raises(OperationFailure) as by_a_line:
            asked(command)
        return type(by_a_line.value), by_a_line.value.code

    no_such = {"nosuch": 1}
    slow = {"find": "loads", "filter": {"$where": "sleep(300) || true"}, "maxTimeMS": 30}
    asked({"insert": "loads", "documents": [{"_id": "a"}]})

    [by_line, too_slow, after] = run(
        lambda: refused(no_such), lambda: refused(slow), lambda: (pause(0.2), asked({"ping": 1})["ok"])[1]
    )

    assert by_line == refused(no_such)
    assert too_slow == refused(slow)
    assert too_slow[0] is ExecutionTimeout
    assert after == 1.0


def test_rows_that_are_there_already_are_told_in_the_answer(run, asked):
    """As who wrote the log looks for it."""
    asked({"insert": "loads", "documents": [{"_id": "a"}]})

    [answer] = run(lambda: asked({"insert": "loads", "documents": [{"_id": "a"}]}))

    assert answer["writeErrors"][0]["code"] == 11000


def test_a_line_that_was_cut_while_nobody_used_it_is_replaced(run, relay, asked):
    """The next question goes by another, and nobody hears of it."""

    def before_and_after():
        asked({"ping": 1})
        relay.cut()
        pause(0.1)
        return asked({"ping": 1})["ok"]

    assert run(before_and_after) == [1.0]


def test_a_line_that_was_cut_while_nobody_used_it_says_nothing_of_the_server(run, relay, database, asked, doubts):
    """The driver believes in its primary, and in its other connections, as if one of its own had been cut."""

    def asks():
        offload(lambda: database.client.address)
        pause(1)  # until its watchers have connections of their own: the line's is the last
        asked({"ping": 1})
        relay.cut(last=1)
        pause(0.1)
        answer = asked({"ping": 1})["ok"]
        pause(1.5)  # the driver tells what it thinks once a second
        return answer

    assert run(asks) == [1.0]
    assert doubts.told == []


def test_a_line_to_a_server_that_the_driver_gave_up_is_not_used(run, relay, database, asked):
    """At a failover the old primary may still answer: what it says would be of before."""

    def fails():
        database.command("ping")
        relay.cut(last=1)
        with pytest.raises(AutoReconnect):
            database.command("ping")

    def asks():
        asked({"ping": 1})
        offload(fails)
        before = relay.made
        return asked({"ping": 1})["ok"], relay.made > before

    assert run(asks) == [(1.0, True)]


def test_nobody_waits_for_a_server_that_the_driver_gave_up(run, relay, asked, monkeypatch):
    """It interrupts those who wait, as it does its own."""
    monkeypatch.setattr(lines, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(lines._Connection, "interrupted", True)

    def asks():
        asked({"ping": 1})
        relay.mute.set()
        with pytest.raises(NetworkTimeout):
            asked({"ping": 1})
        return "went on"

    assert run(asks) == ["went on"]


def test_who_asks_when_the_network_breaks_is_told_that_nobody_knows(run, relay, asked):
    """Not whether it was done, nor for how long: what was asked is not asked twice. The next question goes by another line."""

    def asks():
        asked({"ping": 1})
        relay.mute.set()
        threading.Timer(0.2, relay.cut).start()
        with pytest.raises(AutoReconnect, match="connection closed"):
            asked({"ping": 1})
        return asked({"ping": 1})["ok"]

    assert run(asks) == [1.0]


def test_an_answer_that_does_not_come_is_not_waited_for_without_end(run, relay, asked, monkeypatch):
    """Nor taken for that of the next question."""
    monkeypatch.setattr(lines, "SECONDS", 0.2)

    def asks():
        asked({"ping": 1})
        relay.mute.set()
        with pytest.raises(NetworkTimeout):
            asked({"ping": 1})
        relay.mute.clear()
        return asked({"ping": 1})["ok"]

    assert run(asks) == [1.0]


@pytest.mark.parametrize("code", [91, 10107, 11600])
def test_a_server_that_is_not_the_primary_any_more_is_left(run, asked, monkeypatch, code):
    """Its line is not used again: the driver finds the next primary."""
    told = {"ok": 0.0, "errmsg": "stepped down", "code": code}
    answers = iter([told])
    genuine = lines.decode
    monkeypatch.setattr(lines, "decode", lambda *given: next(answers, None) or genuine(*given))

    def asks():
        with pytest.raises(NotPrimaryError):
            asked({"ping": 1})
        return asked({"ping": 1})["ok"]

    assert run(asks) == [1.0]


def test_lines_that_the_loop_cannot_listen_to_are_the_drivers(run, asked, monkeypatch):
    """One with TLS is read by its library: the driver sends, from a thread."""
    monkeypatch.setattr(lines, "_is_plain", lambda _: False)

    assert run(lambda: asked({"ping": 1})["ok"], lambda: asked({"ping": 1})["ok"]) == [1.0, 1.0]


def test_the_pool_has_room_for_the_lines_of_all_kinds(mongodb_uri, database_name, monkeypatch):
    """They are held for ever: a kind that is not counted would leave too few connections to calls in threads."""
    made = []
    genuine = Lines.__init__
    monkeypatch.setattr(Lines, "__init__", lambda self, client: made.append(client) or genuine(self, client))

    store = MongoStore.connect(mongodb_uri, database_name, clock=SystemClock(), settings=Settings())
    MongoGrants(store.database)
    store.close()

    assert len(made) == KINDS


def test_events_have_their_places_in_the_chain_whatever_breaks(run, mongodb_uri, relay, database_name):
    """A network that is cut again and again, while groups are on their way: no row is lost that was acknowledged, twice there, or out of its place."""
    known = parse_uri(mongodb_uri)
    uri = f"mongodb://{known['username']}:{known['password']}@127.0.0.1:{relay.port}/?directConnection=true"
    store = MongoStore.connect(uri, database_name, clock=SystemClock(), settings=Settings())
    ids, clock, acknowledged = RandomIds(), SystemClock(), []

    def records():
        for _ in range(25):
            event = Event(ids.new(), clock.micros(), b'{"act":"read"}', {"t": ["a=R"], "u": [], "pt": []})
            with suppress(Unrecorded):
                store.record(event)
                acknowledged.append(event.id)

    def cuts():
        for _ in range(6):
            pause(0.03)
            relay.cut()

    run(*[records] * 8, cuts)
    rows = rows_of(store.log)
    store.close()

    assert {row.id for row in rows} >= set(acknowledged)
    assert len(acknowledged) > 100
    for epoch in {row.epoch for row in rows}:
        chain = sorted((row for row in rows if row.epoch == epoch), key=lambda row: row.number)
        assert [row.number for row in chain] == list(range(1, len(chain) + 1))
        assert all(after.previous == before.hash for before, after in pairwise(chain))
        assert all(row.hash == hashlib.sha256(row.previous + row.body).digest() for row in chain)

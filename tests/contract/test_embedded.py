"""The embedded MongoDB comes up again, whoever was killed and whatever took its port."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
from pathlib import Path

import psutil
import pymongo
import pytest

from fhir_dmp import log
from fhir_dmp.stores.mongo import embedded, mongod, processes
from fhir_dmp.stores.mongo.data_folder import DatabaseError, Folder
from fhir_dmp.stores.mongo.embedded import Embedded


@pytest.fixture
def folder(tmp_path):
    """A data folder with a blank in its name, whose mongod is ended afterwards."""
    data_dir = tmp_path / "data of one"
    yield data_dir
    if (data_dir / "mongodb" / "data").exists():
        Embedded.ensure(data_dir, own=True).stop()


def _note(database, text):
    with pymongo.MongoClient(database.uri) as client:
        client["notes"]["notes"].insert_one({"_id": text})


def _notes(database):
    with pymongo.MongoClient(database.uri) as client:
        return [row["_id"] for row in client["notes"]["notes"].find()]


@contextlib.contextmanager
def _somebody_on(port):
    """Let another program listen on the port, which hangs up on whoever calls."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ends = time.monotonic() + 10
        while True:
            try:
                other.bind(("127.0.0.1", port))
                other.listen()
                break
            except OSError:
                assert time.monotonic() < ends
                time.sleep(0.05)
        over = threading.Event()
        other.settimeout(0.1)

        def hang_up():
            while not over.is_set():
                with contextlib.suppress(OSError):
                    other.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        yield
        over.set()
        thread.join()


def test_a_mongod_that_was_killed_comes_back_on_its_port_with_its_data(folder):
    """Workers know the database by its port: it stays, and what was written stays."""
    first = Embedded.ensure(folder)
    _note(first, "before")
    os.kill(Folder(folder).place().pid, signal.SIGKILL)

    second = Embedded.ensure(folder)

    assert second.uri == first.uri
    assert _notes(second) == ["before"]


def test_a_mongod_shares_our_session_and_hears_nothing_of_our_terminal(folder):
    """Linux shares the processor among sessions first; a terminal's keys end a whole group of processes, and nobody waits for it as a child."""
    Embedded.ensure(folder)

    pid = Folder(folder).place().pid

    assert os.getsid(pid) == os.getsid(0)
    assert os.getpgid(pid) != os.getpgid(0)
    assert pid not in {child.pid for child in psutil.Process().children()}


def test_a_mongod_that_ends_as_it_starts_is_told_with_its_log(folder):
    """Nobody waits a minute for it; here its key is none."""
    Folder(folder).prepare()
    Folder(folder).key_file.write_text("no key: !?")

    with pytest.raises(DatabaseError, match=r"mongod ended as it was started\. Its log is .*mongod\.log"):
        Embedded.ensure(folder)

    assert "Unable to acquire security key" in Folder(folder).log.read_text()
    Folder(folder).key_file.write_text("akey" * 8)


FOREIGN = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\0\xf3\0\x01\0\0\0" + bytes(40)
"""The beginning of a program for a processor that is not ours."""

UNSTARTABLE = {
    "is not there": (None, r"It said: .*/mongod: not found\."),
    "may not be executed": (b"#!/bin/sh\n", r"It said: .*/mongod: Permission denied\."),
    "is for another machine": (FOREIGN, r"It said: .*/mongod: "),
    "lacks what it needs": (
        b"#!/bin/sh\necho 1\necho one two three >&2\necho no libcurl.so.4 >&2\n",
        "three no libcurl.so.4\\.",
    ),
}


@pytest.mark.parametrize("case", UNSTARTABLE)
def test_a_mongod_that_cannot_be_executed_is_told_with_what_was_said(folder, tmp_path, monkeypatch, case):
    """It wrote no log that somebody could look into: its last words, or the shell's, are told, and no log is named that is not there."""
    content, told = UNSTARTABLE[case]
    program = tmp_path / "mongod"
    if content is not None:
        program.write_bytes(content)
        program.chmod(0o600 if case == "may not be executed" else 0o700)
    monkeypatch.setattr(mongod, "find_mongod", lambda: program)

    with pytest.raises(DatabaseError, match=told) as refused:
        Embedded.ensure(folder)

    assert str(refused.value).startswith("mongod ended as it was started.")
    assert "log" not in str(refused.value)


def test_a_server_whose_mongod_cannot_be_started_again_says_so_and_goes_on_trying(
    folder, tmp_path, monkeypatch, capsys
):
    """Once, however often it tries; the database is back as soon as it can be."""
    log.configure("error")
    database = Embedded.ensure(folder, own=True)
    _note(database, "before")
    database.supervise()
    tries = []
    with monkeypatch.context() as gone:
        gone.setattr(mongod, "find_mongod", lambda: tries.append(1) or tmp_path / "mongod")
        os.kill(Folder(folder).place().pid, signal.SIGKILL)
        ends = time.monotonic() + 60
        while len(tries) < 3:
            assert time.monotonic() < ends
            time.sleep(0.05)
    while Folder(folder).place() is None:
        assert time.monotonic() < ends
        time.sleep(0.05)

    assert _notes(database) == ["before"]
    [line] = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (line["event"], "mongod: not found" in line["reason"]) == ("database-not-started", True)
    database.stop()


@pytest.mark.parametrize("shell", ["/bin/nobody", "/bin/false", "/bin/true"])
def test_a_shell_that_cannot_start_a_mongod_is_told(folder, monkeypatch, shell):
    """One that is not there, one that fails, one that says no process: the way to no database is no fault of ours."""
    monkeypatch.setattr(processes, "SHELL", shell)

    with pytest.raises(DatabaseError, match=r"mongod cannot be started: ."):
        Embedded.ensure(folder)


def test_what_a_mongod_says_goes_to_a_file_and_to_nobody_who_may_be_gone(folder):
    """Whoever started it ends before it does."""
    Embedded.ensure(folder)
    place = Folder(folder)

    assert [str(Path(f"/proc/{place.place().pid}/fd/{number}").readlink()) for number in range(3)] == [
        "/dev/null",
        "/dev/null",
        str(place.said),
    ]


def test_another_program_on_the_port_is_not_taken_for_ours(folder, monkeypatch):
    """Two copies of a folder have one port and one password: who came second would read and write the other's records."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        monkeypatch.setattr(mongod, "free_port", lambda _: taken)

        with pytest.raises(DatabaseError, match="mongod ended as it was started"):
            Embedded.ensure(folder)
    monkeypatch.undo()


def test_what_is_asked_stays_out_of_the_log_of_mongod(folder):
    """By itself it writes down whole queries that took a tenth of a second, with the names that they ask for."""
    database = Embedded.ensure(folder)
    _note(database, "here")

    with pymongo.MongoClient(database.uri) as client:
        slow = {"$expr": {"$function": {"body": "function() { sleep(300); return true }", "args": [], "lang": "js"}}}
        found = list(client["notes"]["notes"].find({"$nor": [{"name": "Martin-Dubois"}], **slow}))

    assert [row["_id"] for row in found] == ["here"]
    assert "Martin-Dubois" not in Folder(folder).log.read_text()


def test_a_mongod_that_dies_while_it_is_waited_for_is_started_again(folder, monkeypatch):
    """Whoever found it running a moment ago does not wait for it in vain."""
    found, ensure = [], mongod.ensure

    def found_dying(of):
        found.append(ensure(of))
        if len(found) == 1:
            os.kill(found[0][0].pid, signal.SIGKILL)
        return found[-1]

    monkeypatch.setattr(mongod, "ensure", found_dying)
    database = Embedded.ensure(folder)

    _note(database, "here")
    assert _notes(database) == ["here"]
    assert len({place.pid for place, _ in found}) == 2
    assert len({place.port for place, _ in found}) == 1


@pytest.mark.parametrize("length", [80, 95, 140])
def test_a_folder_may_have_a_long_name(tmp_path, length):
    """A socket's path has 107 bytes at most; a folder too deep for one is served without."""
    data_dir = tmp_path / ("d" * max(length - len(str(tmp_path)) - len("/mongodb") - 1, 1))

    database = Embedded.ensure(data_dir)

    _note(database, "here")
    assert _notes(database) == ["here"]
    database.stop()


def test_a_mongod_that_nobody_recorded_is_found_and_joined(folder):
    """Who started it may be killed before it writes down where it is: no second one is tried on the same files."""
    first = Embedded.ensure(folder)
    (folder / "mongodb" / "mongod.json").unlink()

    second = Embedded.ensure(folder)

    assert second.uri == first.uri
    assert Folder(folder).place() is not None


@pytest.mark.parametrize("told", [True, False], ids=["at once", "by the next start"])
def test_a_port_that_somebody_took_is_left_to_them(folder, monkeypatch, told):
    """The replica set is told of its new port, by the next start if this one was killed before it could. Nobody is dying here, to be waited for."""
    monkeypatch.setattr(mongod, "DYING_SECONDS", 0.2)
    first = Embedded.ensure(folder)
    _note(first, "before")
    port = Folder(folder).place().port
    first.stop()
    with _somebody_on(port):
        if not told:
            with monkeypatch.context() as killed:
                killed.setattr(embedded, "_move", lambda *_: None)
                mongod.start(Folder(folder))

        second = Embedded.ensure(folder, own=True)

        assert second.uri != first.uri
        assert _notes(second) == ["before"]


@pytest.mark.parametrize("told", ["2147483648\n", "max\n", None])
def test_a_container_has_the_memory_that_it_is_limited_to(tmp_path, monkeypatch, told):
    """A database that takes more is killed; without a limit there is what the machine has."""
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(mongod, "_LIMITS", (limit,))
    whole = mongod.memory()
    if told is not None:
        limit.write_text(told)

    assert mongod.memory() == (min(2**31, whole) if told == "2147483648\n" else whole)


@pytest.mark.parametrize(("memory", "gigabytes"), [(1, 0.25), (4, 1.5), (16, 7.5), (512, 8.0)])
def test_the_database_keeps_half_of_the_memory_at_hand(memory, gigabytes):
    """But for one gigabyte, as MongoDB itself would, and never less than it takes, nor more than eight gigabytes."""
    assert mongod.cache_gb(memory * 2**30) == gigabytes


def test_ports_are_not_those_that_outgoing_connections_are_lent():
    """A port of the ephemeral range may be gone when mongod comes back."""
    assert max(mongod.PORTS) < 32768
    assert mongod.free_port(None) in mongod.PORTS


def test_without_any_mongod_the_three_ways_to_one_are_told(tmp_path, monkeypatch):
    """Neither a package nor one on PATH: the package, PATH and the variable are named."""
    monkeypatch.setattr(mongod, "_packaged", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(DatabaseError, match=r"fhir_dmp\[embedded\].*on PATH.*DMP_MONGODB_URI"):
        Embedded.ensure(tmp_path)

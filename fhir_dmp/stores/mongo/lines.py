"""Commands that fibres wait for, on connections that their event loop listens to.

https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/#op_msg.

A thread that sends a command and waits for its answer is woken twice for it, and waits for the interpreter as long as others have work,
the machine idle meanwhile for an eighth of the time; and of the 0.15 ms of processor that the driver takes for the smallest command,
0.05 are what its connection takes (measured). So the driver
connects, authenticates and finds the primary; what a fibre asks is sent as one message over a connection of the driver's pool, which
is kept for that, and the loop goes on until the answer is there. In turns with threads that ask, 64 callers: reads 1.1 times the rate,
patient pages and $everything 1.3 and 1.5, searches by code 1.5, at 0.92, 0.76 and 0.69 of the processor.

The driver keeps its connections to itself: what is used of them is used here alone. Where they are not plain sockets (TLS), and
for threads, the driver sends. A line asks the primary and nobody else, whatever the address prefers for reads.
"""

from __future__ import annotations

import socket
import struct
from asyncio import AbstractEventLoop
from collections import deque
from typing import Any
from weakref import finalize

from bson import CodecOptions, decode, encode
from greenlet import getcurrent
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import AutoReconnect, ExecutionTimeout, NetworkTimeout, NotPrimaryError, OperationFailure

from fhir_dmp.fibres import Fibre, Latch, latch, offload

MOST = 16
"""Lines of a process; what is asked while all are in use is sent by the driver, from a thread."""

SECONDS = 20.0
"""How long an answer may take: twice what a query may."""

LOOK_SECONDS = 1.0
"""How often who waits asks whether the driver has given the server up meanwhile."""

LONGEST = 48_000_000
"""Bytes of a message; https://www.mongodb.com/docs/manual/reference/limits/."""

_OP_MSG = 2013
_HEAD = struct.Struct("<iiiiIb")
"""Length, number, number of what is answered, kind of message, flags, kind of section: the one that is a document."""

_LENGTH = struct.Struct("<i")
_CHUNK = 262_144
_RAN_OUT_OF_TIME = 50
_NOT_THE_PRIMARY = frozenset({91, 189, 10058, 10107, 11600, 11602, 13435, 13436})
"""Codes of a server that is not, or will not be for long, the one to write to."""

_Row = dict[str, Any]
_Client = MongoClient[_Row]


class Lines:
    """Sends the commands of one client's databases: those of fibres by lines, those of threads by the driver."""

    def __init__(self, client: _Client) -> None:
        self._client = client
        self._idle: deque[_Line] = deque()
        self._made = 0
        self._plain = True

    def command(self, database: Database[_Row], command: _Row) -> _Row:
        """Return the answer to a command for the database; raise the driver's errors.

        Nothing is asked twice: ``AutoReconnect`` leaves open whether the command was carried out. Writes that the database
        refuses are told in the answer.
        """
        here = getcurrent()
        if not isinstance(here, Fibre):
            return database.command(command)
        line = self._free(here.loop)
        if line is None:
            return offload(lambda: database.command(command))
        try:
            answer = _accepted(line.ask({**command, "$db": database.name}, database.codec_options))
        except OperationFailure:
            self._idle.append(line)
            raise
        except BaseException as fault:
            self._made -= 1
            line.close(fault)
            raise
        self._idle.append(line)
        return answer

    def _free(self, loop: AbstractEventLoop) -> _Line | None:
        """Return a line that nobody uses, a new one if there may be more; None for who has to go by the driver."""
        while self._idle:
            line = self._idle.pop()
            if line.loop is loop and not line.broken and not line.stale:
                return line
            self._made -= 1
            line.close(None)  # the driver drops its idle ones as silently: it says nothing of the others
        if self._made >= MOST or not self._plain:
            return None
        self._made += 1
        made = None
        try:
            made = offload(lambda: _Connection(self._client))
        finally:
            if made is None:
                self._made -= 1
        if made.socket is None:
            made.give_back(None)
            self._made -= 1
            self._plain = False
            return None
        return _Line(made, made.socket, loop)


class _Connection:
    """A connection of the driver's pool, taken out of it."""

    def __init__(self, client: _Client) -> None:
        checkout = client._conn_for_writes(None, "command")  # noqa: SLF001 - the driver has no other door to its pool
        connection = checkout.__enter__()
        own = connection.conn.sock
        self.socket: socket.socket | None = own if _is_plain(own) else None
        self._close = finalize(self, connection.close_conn, None)
        self._checkout, self._connection = checkout, connection

    @property
    def stale(self) -> bool:
        """Tell whether the driver has given up the server's connections of that time, as it does at a failover."""
        connection = self._connection
        return bool(connection.pool_gen.stale(connection.generation, connection.service_id))

    @property
    def interrupted(self) -> bool:
        """Tell whether the driver wants nobody to wait on it any longer."""
        return bool(self._connection.cancel_context.cancelled)

    def give_back(self, fault: BaseException | None) -> None:
        """Close it, and tell the pool: what a network's fault means for its other connections is the driver's to know."""
        self._close()
        self._checkout.__exit__(type(fault) if fault else None, fault, None)


def _is_plain(own: object) -> bool:
    return type(own) is socket.socket


class _Line:
    """One connection that the loop listens to; one question is under way at a time."""

    def __init__(self, connection: _Connection, own: socket.socket, loop: AbstractEventLoop) -> None:
        self.loop = loop
        self.broken = False
        self._connection = connection
        self._socket = own
        self._number = 0
        self._come = bytearray()
        self._whole: bytes | None = None
        self._heard: Latch | None = None
        own.settimeout(0)
        loop.add_reader(own, self._hear)

    @property
    def stale(self) -> bool:
        """Tell whether it leads to a server that the driver has given up."""
        return self._connection.stale

    def ask(self, command: _Row, options: CodecOptions[_Row]) -> _Row:
        """Return the answer; raise ``AutoReconnect`` if the connection breaks, or ``NetworkTimeout`` if none comes in time."""
        self._number = self._number % 0x7FFF_FFFF + 1
        body = encode(command, codec_options=options)
        heard = self._heard = latch()
        self._send(_HEAD.pack(_HEAD.size + len(body), self._number, 0, _OP_MSG, 0, 0) + body)
        ends = self.loop.time() + SECONDS
        while not heard.acquire(timeout=LOOK_SECONDS) and self.loop.time() < ends and not self._connection.interrupted:
            pass
        self._heard = None
        if self._whole is None:
            raise AutoReconnect("connection closed") if self.broken else NetworkTimeout("timed out")
        answer, self._whole = self._whole, None
        _, _, answered, kind, flags, section = _HEAD.unpack_from(answer)
        if (answered, kind, flags, section) != (self._number, _OP_MSG, 0, 0):
            raise AutoReconnect("connection out of step")
        return decode(memoryview(answer)[_HEAD.size :], options)

    def close(self, fault: BaseException | None) -> None:
        """Listen no more, and let go of the connection, with what befell who asked; on the loop's thread."""
        if not self.loop.is_closed():
            self.loop.remove_reader(self._socket)
        self._connection.give_back(fault)

    def _send(self, message: bytes) -> None:
        left = memoryview(message)
        while left := left[self._sent(left) :]:
            self._wait_for_room()

    def _sent(self, message: memoryview) -> int:
        """Return how many bytes the system took."""
        try:
            return self._socket.send(message)
        except BlockingIOError:
            return 0
        except OSError as fault:
            raise AutoReconnect(str(fault)) from fault

    def _wait_for_room(self) -> None:
        room = latch()
        self.loop.add_writer(self._socket, room.open)
        try:
            if not room.acquire(timeout=SECONDS):
                raise NetworkTimeout("timed out")
        finally:
            self.loop.remove_writer(self._socket)

    def _hear(self) -> None:
        """Take what has come; wake who asked once it is whole, or nothing more will come."""
        try:
            come = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            come = b""
        self._come += come
        length = _LENGTH.unpack_from(self._come)[0] if len(self._come) >= _LENGTH.size else LONGEST
        if not come or self._heard is None or not _HEAD.size <= length <= LONGEST or len(self._come) > length:
            self.broken = True
            self.loop.remove_reader(self._socket)
        elif len(self._come) < length:
            return
        else:
            self._whole = bytes(self._come)
            self._come.clear()
        if self._heard is not None:
            self._heard.open()


def _accepted(answer: _Row) -> _Row:
    """Return the answer to a command that was carried out; raise what the driver would for one that was not."""
    if answer.get("ok"):
        return answer
    told, code = str(answer.get("errmsg", "")), answer.get("code")
    if code in _NOT_THE_PRIMARY:
        raise NotPrimaryError(told, answer)
    raise (ExecutionTimeout if code == _RAN_OUT_OF_TIME else OperationFailure)(told, code, answer)

"""From RSGI to the application: plain calls as fibres on the event loop, all others as WSGI calls in threads.

https://github.com/emmett-framework/granian/blob/master/docs/spec/RSGI.md and https://peps.python.org/pep-3333/.
"""

from __future__ import annotations

import asyncio
import io
import sys
from asyncio import AbstractEventLoop, Future
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol, TypeVar

import structlog
from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined] # it is named in its documentation, and re-exported without saying so
from msgspec import Struct
from werkzeug.exceptions import ClientDisconnected

from fhir_dmp.errors import TooMany
from fhir_dmp.fibres import Fibre, Threads, on_loop
from fhir_dmp.http.middleware import LOST, Environ
from fhir_dmp.stopping import GRACE_SECONDS

T = TypeVar("T")
Headers = list[tuple[str, str]]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

READ_AHEAD = 131_072
"""Bytes of a body that is read before its call begins: a fibre must not wait for a sender. Longer ones are read by threads."""

PATIENCE_SECONDS = 20.0
"""How long the sender of such a body may take; what has not come by then counts as cut."""

SLOWEST = 4096
"""Bytes each second that the sender of a longer one sends after that time: who reads it is wanted by others."""

_UNREAD = frozenset({"user-agent", "referer", "from"})
_FAULT = (500, [("Content-Type", "text/plain")], b"The server met a fault.")
_BUSY = (503, [("Content-Type", "text/plain"), ("Retry-After", "1")], b"The server is busy; try again in a moment.")
_log = structlog.get_logger(__name__)


class Scope(Protocol):
    """What RSGI tells of a request."""

    http_version: str
    server: str
    client: str
    scheme: str
    method: str
    path: str
    query_string: str
    authority: str | None
    headers: Any


class Answer(Struct):
    """What a WSGI application answers."""

    status: int = _FAULT[0]
    headers: Headers | tuple[()] = ()
    body: bytes = b""

    def start(self, status: str, headers: Headers, exc_info: object = None) -> None:
        """Take the status and the headers, as ``start_response`` does."""
        del exc_info
        self.status, self.headers = int(status[:3]), headers


class Front:
    """The RSGI application of a worker.

    ``framework`` is the WSGI application; ``takes`` tells which of its calls, whose bodies have been read, may run as a fibre.
    ``threads`` bounds how many of the others run at once; ``turned_away`` hears of those that there was no room for, and waits for nothing.
    """

    def __init__(
        self,
        framework: Application,
        takes: Callable[[Environ], bool],
        threads: int,
        turned_away: Callable[[Environ], object],
    ) -> None:
        self._framework = framework
        self._takes = takes
        self._turned_away = turned_away
        self._threads = Threads(threads, "call")
        self._patience = _Patience()
        self._ends = False
        self.under_way = 0
        """Requests that have no answer yet."""

    async def __rsgi__(self, scope: Scope, proto: Any) -> None:
        """Answer one request."""
        self.under_way += 1
        try:
            await self._answer(scope, proto)
        finally:
            self.under_way -= 1

    def wait_no_longer(self) -> None:
        """Take what does not come of a body within a moment as not sent: the server stops; on the loop's thread."""
        self._patience.end()

    def take_no_more(self) -> None:
        """Answer whoever comes from now on that there is no room: what they ask could not be answered to its end."""
        self._ends = True

    async def _answer(self, scope: Scope, proto: Any) -> None:
        loop = asyncio.get_running_loop()
        environ = environ_of(scope)
        short = is_short(environ)
        environ["wsgi.input"] = (
            io.BytesIO(await _read_ahead(environ, proto, self._patience))
            if short
            else io.BufferedReader(_Sent(proto, loop, self._patience))
        )
        if self._ends:
            self._turn_away(environ, proto)
            return
        done: Future[Answer] = loop.create_future()
        if short and self._takes(environ):
            Fibre(lambda: _set(done, self._answered(environ)), loop).switch()
        else:
            try:
                self._threads.submit(lambda: self._in_thread(environ, done, loop))
            except (TooMany, RuntimeError):
                self._turn_away(environ, proto)
                return
        answer = done.result() if done.done() else await done
        with suppress(ProtocolClosed):
            proto.response_bytes(answer.status, _sendable(answer.headers), answer.body)

    def _turn_away(self, environ: Environ, proto: Any) -> None:
        self._turned_away(environ)
        with suppress(ProtocolClosed):
            proto.response_bytes(*_BUSY)

    def _in_thread(self, environ: Environ, done: Future[Answer], loop: AbstractEventLoop) -> None:
        answer = self._answered(environ)
        on_loop(loop, lambda: _set(done, answer))

    def _answered(self, environ: Environ) -> Answer:
        """Return what the application answers, whole; a fault that it did not answer itself says nothing outside.

        Nothing is sent piece by piece: RSGI takes whatever it is given, however slowly its reader takes that, and cannot tell a stream
        that broke off from one that ended.
        """
        answer = Answer()
        try:
            chunks = self._framework(environ, answer.start)
            try:
                answer.body = b"".join(chunks)
            finally:
                _close(chunks)
        except BaseException:  # noqa: BLE001 - what was not foreseen says nothing outside and everything in the log
            _log.exception("fault", method=environ["REQUEST_METHOD"])
            return Answer(*_FAULT)
        return answer


def _set(done: Future[Answer], answer: Answer) -> None:
    if not done.done():
        done.set_result(answer)


def _sendable(headers: Iterable[tuple[str, str]]) -> Headers:
    """Return the headers as they can be sent: in ASCII."""
    return [(name, value if value.isascii() else value.encode("ascii", "replace").decode()) for name, value in headers]


def _close(chunks: Iterable[bytes]) -> None:
    close = getattr(chunks, "close", None)
    if close is not None:
        close()


def _on(loop: AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result()


def lost_headers(scope: Scope) -> bool:
    """Tell whether a header that somebody here reads has a value that is no ASCII: RSGI passes it over, and it would not be heard."""
    names = {name for name, _ in scope.headers.items()}
    return any(name not in names and name not in _UNREAD for name in scope.headers.keys())  # noqa: SIM118 - it is no mapping


def environ_of(scope: Scope) -> Environ:
    """Return the WSGI environment of a request, without its body. Names with an underscore could pose as others and are left out."""
    host, _, port = scope.server.rpartition(":")
    environ: Environ = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": scope.path if scope.path.isascii() else scope.path.encode().decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "REMOTE_ADDR": scope.client.rpartition(":")[0].strip("[]"),
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in scope.headers.items():
        if "_" in name:
            continue
        key = _NAMES.get(name) or f"HTTP_{name.replace('-', '_').upper()}"
        environ[key] = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{value}" if key in environ else value
    if scope.authority and "HTTP_HOST" not in environ:
        environ["HTTP_HOST"] = scope.authority
    if "HTTP_TRANSFER_ENCODING" in environ:
        environ["wsgi.input_terminated"] = True
    environ[LOST] = lost_headers(scope)
    return environ


_NAMES = {
    "content-type": "CONTENT_TYPE",
    "content-length": "CONTENT_LENGTH",
    "authorization": "HTTP_AUTHORIZATION",
    "host": "HTTP_HOST",
    "accept": "HTTP_ACCEPT",
    "user-agent": "HTTP_USER_AGENT",
}


def is_short(environ: Environ) -> bool:
    """Tell whether a request has no body, or a short one: one that says how long it is."""
    if "HTTP_TRANSFER_ENCODING" in environ:  # whatever length is told beside it
        return False
    length: str = environ.get("CONTENT_LENGTH", "0")
    return length.isdecimal() and int(length) <= READ_AHEAD


class _Patience:
    """How long senders are waited for: until a moment for each of them, and a short while for all of them once the server stops."""

    def __init__(self) -> None:
        self._waits: set[asyncio.Timeout] = set()
        self._over = False

    @asynccontextmanager
    async def until(self, moment: float) -> AsyncIterator[None]:
        """Raise ``TimeoutError`` if what is done here is not done by that moment of the loop's clock."""
        async with asyncio.timeout_at(min(moment, _soon()) if self._over else moment) as wait:
            self._waits.add(wait)
            try:
                yield
            finally:
                self._waits.discard(wait)

    def end(self) -> None:
        """Wait for what is on the way, and no longer; on the loop's thread."""
        self._over = True
        soon = _soon()
        for wait in self._waits:
            when = wait.when()
            if not wait.expired() and when is not None and when > soon:  # who is too late cannot be told so twice
                wait.reschedule(soon)


def _soon() -> float:
    return asyncio.get_running_loop().time() + GRACE_SECONDS


async def _read_ahead(environ: Environ, proto: Any, patience: _Patience) -> bytes:
    """Return a short body, or nothing if it does not come in time, or not to its end."""
    if environ.get("CONTENT_LENGTH", "0") == "0":
        return b""
    try:
        async with patience.until(asyncio.get_running_loop().time() + PATIENCE_SECONDS):
            return bytes(await proto())
    except (TimeoutError, ProtocolClosed):
        return b""


class _Sent(io.RawIOBase):
    """The body of a request as a thread reads it, piece by piece as its sender sends them."""

    def __init__(self, proto: Any, loop: AbstractEventLoop, patience: _Patience) -> None:
        super().__init__()
        self._patience = patience
        self._pieces = aiter(proto)
        self._loop = loop
        self._left = b""
        self._ends = loop.time() + PATIENCE_SECONDS
        self._cut = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer with what has come; raise ``ClientDisconnected`` if the body is cut, or comes too slowly."""
        if not self._left:
            self._left = _on(self._loop, self._next())
            self._ends += len(self._left) / SLOWEST
        piece, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(piece)] = piece
        return len(piece)

    async def _next(self) -> bytes:
        """Return the next piece, or nothing at the end.

        The server tells the end by an empty piece, and what it could not read by one as well: after the end, nothing follows.
        """
        if self._cut:
            raise ClientDisconnected
        self._cut = True
        with suppress(TimeoutError):
            async with self._patience.until(self._ends):
                piece = await self._piece()
                if piece or await self._piece() is None:
                    self._cut = False
                    return piece or b""
        raise ClientDisconnected

    async def _piece(self) -> bytes | None:
        try:
            return bytes(await anext(self._pieces))
        except StopAsyncIteration:
            return None

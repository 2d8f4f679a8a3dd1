"""From RSGI to the application: plain calls as fibres on the event loop, all others as WSGI calls in threads.

https://github.com/emmett-framework/granian/blob/master/docs/spec/RSGI.md and https://peps.python.org/pep-3333/.
"""

from __future__ import annotations

import asyncio
import io
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, TypeVar

import structlog
from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined] # it is named in its documentation, and re-exported without saying so
from msgspec import Struct

from fhir_dmp.errors import TooMany
from fhir_dmp.fibres import Fibre, Threads, on_loop
from fhir_dmp.http.arriving import Patience, Sent, is_short, read_ahead
from fhir_dmp.http.environ import Scope, environ_of
from fhir_dmp.http.middleware import REQUEST_ID, Environ

T = TypeVar("T")
Headers = list[tuple[str, str]]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

_FAULT = (500, [("Content-Type", "text/plain")], b"The server met a fault.")
_BUSY = (503, [("Content-Type", "text/plain"), ("Retry-After", "1")], b"The server is busy; try again in a moment.")
_log = structlog.get_logger(__name__)


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
        self._patience = Patience()
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
            io.BytesIO(await read_ahead(environ, proto, self._patience))
            if short
            else io.BufferedReader(Sent(proto, loop, self._patience))
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
            _log.exception("fault", request_id=environ.get(REQUEST_ID), method=environ["REQUEST_METHOD"])
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

"""Bodies of requests as they arrive: short ones before their calls begin, long ones piece by piece, and none for ever."""

from __future__ import annotations

import asyncio
import io
from asyncio import AbstractEventLoop
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined] # it is named in its documentation, and re-exported without saying so
from werkzeug.exceptions import ClientDisconnected

from fhir_dmp.http.middleware import Environ
from fhir_dmp.stopping import GRACE_SECONDS

READ_AHEAD = 131_072
"""Bytes of a body that is read before its call begins: a fibre must not wait for a sender. Longer ones are read by threads."""

PATIENCE_SECONDS = 20.0
"""How long the sender of such a body may take; what has not come by then counts as cut."""

SLOWEST = 4096
"""Bytes each second that the sender of a longer one sends after that time: who reads it is wanted by others."""


def is_short(environ: Environ) -> bool:
    """Tell whether a request has no body, or a short one: one that says how long it is."""
    if "HTTP_TRANSFER_ENCODING" in environ:  # whatever length is told beside it
        return False
    length: str = environ.get("CONTENT_LENGTH", "0")
    return length.isdecimal() and int(length) <= READ_AHEAD


class Patience:
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


async def read_ahead(environ: Environ, proto: Any, patience: Patience) -> bytes:
    """Return a short body, or nothing if it does not come in time, or not to its end."""
    if environ.get("CONTENT_LENGTH", "0") == "0":
        return b""
    try:
        async with patience.until(asyncio.get_running_loop().time() + PATIENCE_SECONDS):
            return bytes(await proto())
    except (TimeoutError, ProtocolClosed):
        return b""


class Sent(io.RawIOBase):
    """The body of a request as a thread reads it, piece by piece as its sender sends them."""

    def __init__(self, proto: Any, loop: AbstractEventLoop, patience: Patience) -> None:
        super().__init__()
        self._patience = patience
        self._pieces = aiter(proto)
        self._loop = loop
        self._left = b""
        self._ends = loop.time() + PATIENCE_SECONDS
        self._cut = False

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer with what has come; raise ``ClientDisconnected`` if the body is cut, or comes too slowly."""
        if not self._left:
            self._left = asyncio.run_coroutine_threadsafe(self._next(), self._loop).result()
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

"""Fibres: calls that take turns on one thread, and give it up while they wait for the database.

A thread for each call costs more than what the call does: to wake one takes the kernel, and then the interpreter's lock. A fibre
(a greenlet) is woken by a function call of the event loop that it runs on, so whoever waits in one must wait by what is here:
a ``latch`` for what somebody else finishes, ``offload`` for what blocks. Both work in a thread as well, where they just wait. What
many wait for together is done by one more fibre (``set_off``).

Nobody waits here while holding a lock that another fibre of the thread could want.
"""

from __future__ import annotations

import threading
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable, Iterable, Sequence
from functools import partial, wraps
from queue import SimpleQueue
from typing import ClassVar, Concatenate, Final, ParamSpec, Protocol, TypeVar

from greenlet import getcurrent, greenlet

from fhir_dmp.errors import TooMany

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)
S = TypeVar("S")
P = ParamSpec("P")

BLOCKING_AT_ONCE = 16
"""Calls of the database that fibres have under way at once, beside those that many share."""


class Fibre(greenlet):
    """One call that runs on the thread of ``loop``; ``do`` must not raise."""

    under_way: ClassVar[int] = 0
    """Fibres of the process that have begun and not ended."""

    def __init__(self, do: Callable[[], None], loop: AbstractEventLoop) -> None:
        super().__init__()
        self._do = do
        self.loop = loop

    def run(self) -> None:
        """Do it, and be counted meanwhile."""
        Fibre.under_way += 1
        try:
            self._do()
        finally:
            Fibre.under_way -= 1

    def gives_way(self) -> None:
        """Go back to the loop, until somebody switches to this fibre again."""
        if self.parent is not None:
            self.parent.switch()


class _Beside(Fibre):
    """A fibre that does for many what they wait for: no call, and not counted as one."""

    def run(self) -> None:
        """Do it."""
        self._do()


def set_off(do: Callable[[], None]) -> None:
    """Have it done beside the caller, for all who wait: by a fibre of the same loop, or by a thread if the caller is in one.

    It must not raise, and must wait for nothing but by what is here.
    """
    here = getcurrent()
    if isinstance(here, Fibre):
        loop = here.loop
        loop.call_soon(lambda: _Beside(do, loop).switch())
    else:
        FLIGHTS.submit(do)


class Latch(Protocol):
    """What one waiter waits for, and one other opens."""

    def acquire(self, *, timeout: float = -1) -> bool:
        """Return True once it is open, False if it is not in time; a ``timeout`` below zero waits as long as it takes."""
        ...

    def open(self) -> None:
        """Let the waiter go on; that of a fibre is opened by a callback of its loop (``open_all`` is for everybody else)."""
        ...


class _FibreLatch:
    __slots__ = ("_fibre", "_open", "_timer", "_waits")

    def __init__(self, fibre: Fibre) -> None:
        self._fibre = fibre
        self._open = False
        self._waits = False
        self._timer: TimerHandle | None = None

    @property
    def loop(self) -> AbstractEventLoop:
        return self._fibre.loop

    def acquire(self, *, timeout: float = -1) -> bool:
        if self._open:
            return True
        if timeout == 0:
            return False
        self._waits = True
        if timeout > 0:
            self._timer = self._fibre.loop.call_later(timeout, self._resume)
        self._fibre.gives_way()
        return self._open

    def open(self) -> None:
        self._open = True
        if self._timer is not None:
            self._timer.cancel()
        self._resume()

    def _resume(self) -> None:
        if self._waits:
            self._waits = False
            self._fibre.switch()


class _ThreadLatch:
    """A lock that is held until it is opened: an Event for one waiter, at a fifth of its cost."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def acquire(self, *, timeout: float = -1) -> bool:
        return self._lock.acquire(timeout=timeout)

    def open(self) -> None:
        self._lock.release()


def latch() -> Latch:
    """Return a closed latch for whoever calls."""
    here = getcurrent()
    return _FibreLatch(here) if isinstance(here, Fibre) else _ThreadLatch()


def pause(seconds: float) -> None:
    """Wait, while others go on."""
    latch().acquire(timeout=max(seconds, 0))


def open_all(latches: Iterable[Latch]) -> None:
    """Open them, from any thread; those of one loop by one call of it."""
    on_loops: dict[AbstractEventLoop, list[_FibreLatch]] = {}
    for each in latches:
        if isinstance(each, _FibreLatch):
            on_loops.setdefault(each.loop, []).append(each)
        elif isinstance(each, _ThreadLatch):
            each.open()
    here = getcurrent()
    for loop, waiting in on_loops.items():
        if isinstance(here, Fibre) and here.loop is loop:
            loop.call_soon(partial(_open_each, waiting))
        else:
            on_loop(loop, partial(_open_each, waiting))


def on_loop(loop: AbstractEventLoop, do: Callable[[], object]) -> None:
    """Call the function on the loop's thread, from another; nobody waits any more on a loop that is closed."""
    try:
        loop.call_soon_threadsafe(do)
    except RuntimeError:
        if not loop.is_closed():
            raise


def _open_each(latches: Sequence[_FibreLatch]) -> None:
    for each in latches:
        try:
            each.open()
        except Exception as fault:  # noqa: BLE001 - it is that fibre's; the others wait to be woken
            each.loop.call_exception_handler({"message": "a fibre raised", "exception": fault})


def own(error: E) -> E:
    """Return a copy of an error that several waited for: each may add to its own, and carries no other's traceback."""
    copied = error.__class__.__new__(error.__class__)
    copied.__dict__.update(error.__dict__)
    copied.args = error.args
    return copied


class Threads:
    """Threads that do what is handed to them, ``most`` at once; a thread is made when none is idle, and stays.

    ``waiting`` is how many jobs may wait for one.
    """

    def __init__(self, most: int, name: str, waiting: int = 4000) -> None:
        self._most = most
        self._waiting = waiting
        self._name = name
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._counting = threading.Lock()
        self._made = 0
        self._idle = 0
        """Idle threads, less the jobs that wait: below zero where more wait."""

    def submit(self, job: Callable[[], None]) -> None:
        """Have the job done, in its turn; it must not raise.

        Raises ``TooMany`` if too many jobs wait, and ``RuntimeError`` if there is no thread and none can be made.
        """
        with self._counting:
            if self._jobs.qsize() >= self._waiting:
                raise TooMany("The server is busy; try again in a moment.", headers=(("Retry-After", "1"),))
            self._idle -= 1
            if self._idle < 0 and self._made < self._most and not self._another() and not self._made:
                self._idle += 1
                raise RuntimeError("no thread can be made")
            self._jobs.put(job)

    def _another(self) -> bool:
        """Make one more thread; tell whether the system gave one."""
        try:
            threading.Thread(target=self._run, name=self._name, daemon=True).start()
        except RuntimeError:
            return False
        self._made += 1
        self._idle += 1
        return True

    def _run(self) -> None:
        while True:
            self._jobs.get()()
            with self._counting:
                self._idle += 1


FLIGHTS: Final = Threads(1000, "flight")
"""Run what many wait for together where no fibre can: one thread for each kind that is under way, so no bound of its own."""

_BLOCKING: Final = Threads(BLOCKING_AT_ONCE, "blocking")


def offload(do: Callable[[], T]) -> T:
    """Return what ``do`` returns, or raise what it raises; in a fibre another thread does it, so that others go on meanwhile.

    What many wait for is done by threads of its own: evidence and tokens never queue behind slow searches.
    """
    here = getcurrent()
    if not isinstance(here, Fibre):
        return do()
    return hand_over(do, FLIGHTS if isinstance(here, _Beside) else _BLOCKING)


def hand_over(do: Callable[[], T], threads: Threads) -> T:
    """Return what ``do`` returns, or raise what it raises, once one of these threads has done it."""
    done = latch()
    results: list[T] = []
    faults: list[BaseException] = []

    def job() -> None:
        try:
            results.append(do())
        except BaseException as fault:  # noqa: BLE001 - it is raised where the result is waited for
            faults.append(fault)
        open_all((done,))

    threads.submit(job)
    done.acquire()
    if faults:
        raise faults.pop()
    return results[0]


def offloaded(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Mark a method that blocks: a fibre that calls it gives way meanwhile."""

    @wraps(method)
    def call(self: S, /, *args: P.args, **named: P.kwargs) -> T:
        if not isinstance(getcurrent(), Fibre):
            return method(self, *args, **named)
        return offload(partial(method, self, *args, **named))

    return call

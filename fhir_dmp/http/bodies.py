"""How many bodies a worker reads at once: who sends one slowly, or never to its end, must not hold every thread.

A thread that reads waits for the sender, twenty seconds at least. So callers whose token was checked share half of the
threads for reading, strangers (who ask for a token) a quarter; all else is answered meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from threading import BoundedSemaphore
from typing import Any

from flask import Request, current_app
from werkzeug.exceptions import TooManyRequests

PATIENCE_SECONDS = 2.0
"""How long a request waits for its turn to be read."""

_EXTENSION = "fhir_dmp.readers"


class Readers:
    """The turns of one worker with so many ``threads``; ``known`` is the path below which a token is checked first."""

    def __init__(self, threads: int, known: str) -> None:
        self._known_path = known
        self._known = BoundedSemaphore(max(threads // 2, 1))
        self._strangers = BoundedSemaphore(max(threads // 4, 1))

    @contextmanager
    def turn(self, path: str) -> Iterator[None]:
        """Hold a turn; raise ``TooManyRequests`` if none comes free in time."""
        turns = self._known if path.startswith(self._known_path) else self._strangers
        if not turns.acquire(timeout=PATIENCE_SECONDS):
            raise TooManyRequests("Too many bodies are being read.", retry_after=1)
        try:
            yield
        finally:
            turns.release()


class PatientRequest(Request):
    """A request whose body is read in its turn."""

    def get_data(self, *args: Any, **options: Any) -> Any:
        """Return the body, as Werkzeug does."""
        if isinstance(self.environ["wsgi.input"], BytesIO):  # it has been read ahead
            return super().get_data(*args, **options)
        with current_app.extensions[_EXTENSION].turn(self.path):
            return super().get_data(*args, **options)

    def _load_form_data(self) -> None:
        if isinstance(self.environ["wsgi.input"], BytesIO):
            return super()._load_form_data()
        with current_app.extensions[_EXTENSION].turn(self.path):
            return super()._load_form_data()


def share_threads(app: Any, threads: int, known: str) -> Readers:
    """Let the application read bodies in turns, and return who gives them."""
    app.request_class = PatientRequest
    readers = app.extensions[_EXTENSION] = Readers(threads, known)
    return readers

"""The origins of registered apps and those that a setting names, which their pages ask from. https://datatracker.ietf.org/doc/html/rfc6454."""

from __future__ import annotations

import threading
from urllib.parse import urlsplit

from fhir_dmp.clock import SECOND, Clock
from fhir_dmp.store.grants import Grants

FRESH_MICROS = 5 * SECOND


class Origins:
    """Knows them for five seconds: to know an origin opens nothing, it lets a browser hand on what a token opened."""

    def __init__(self, grants: Grants, clock: Clock, named: str = "") -> None:
        self._named = frozenset(origin.strip().rstrip("/") for origin in named.split(",") if origin.strip())
        self._grants = grants
        self._clock = clock
        self._lock = threading.Lock()
        self._known: frozenset[str] = frozenset()
        self._at: int | None = None

    def is_registered(self, origin: str) -> bool:
        """Tell whether the setting names the origin (``*``: any), or an app has a redirect URI of it."""
        if origin in self._named or "*" in self._named:
            return True
        with self._lock:
            now = self._clock.micros()
            if self._at is None or now - self._at >= FRESH_MICROS:
                uris = [urlsplit(uri) for client in self._grants.list_clients() for uri in client.redirect_uris]
                self._known = frozenset(f"{uri.scheme}://{uri.netloc}" for uri in uris)
                self._at = now
            return origin in self._known

"""Public key sets of clients.

The rules they keep, and fetching them. https://www.rfc-editor.org/rfc/rfc7517.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, RSAKey
from joserfc.util import base64_to_int
from msgspec import Struct, field

from fhir_dmp.clock import SECOND, Clock
from fhir_dmp.outside import OutsideError, ask, is_loopback

ALGORITHMS = {"RS384": "RSA", "ES384": "EC"}
"""What SMART names for clients, and the key type of each:
https://hl7.org/fhir/smart-app-launch/STU2.2/client-confidential-asymmetric.html.
"""

MOST_KEYS = 20
MOST_BYTES = 64 * 1024
LEAST_RSA_BITS, MOST_RSA_BITS = 2048, 8192
URL_LENGTH = 500
FRESH_MICROS = 300 * SECOND
AGAIN_MICROS = 10 * SECOND
TIMEOUT_SECONDS = 3.0
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


class JwksError(ValueError):
    """A key set that cannot be used, and why."""


def parse_jwks(text: str | bytes) -> Mapping[str, Key]:
    """Return the keys of a public key set by ``kid``; raise ``JwksError`` naming what is wrong.

    Keys of other types are left out (a set may serve more than us); one that holds a private part spoils the
    set.
    """
    if len(text) > MOST_BYTES:
        raise JwksError(f"The key set is larger than {MOST_BYTES} bytes.")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise JwksError("The key set is not JSON.") from None
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise JwksError("A key set is a JSON object with a list of keys.")
    if len(keys) > MOST_KEYS:
        raise JwksError(f"The key set holds more than {MOST_KEYS} keys.")
    return _usable(keys)


def _usable(keys: list[dict[str, Any]]) -> Mapping[str, Key]:
    usable: dict[str, Key] = {}
    for each in keys:
        if _PRIVATE & each.keys():
            raise JwksError("The key set holds a private key: keep it, and register the public part alone.")
        if not _for_us(each):
            continue
        kid = each.get("kid")
        if not isinstance(kid, str) or not kid:
            raise JwksError("Each key needs a kid.")
        if kid in usable:
            raise JwksError(f"The kid {kid[:64]!r} names two keys.")
        usable[kid] = _imported(each)
    if not usable:
        raise JwksError("The key set holds no RSA key (RS384) and no EC key on P-384 (ES384) for signing.")
    return usable


def _for_us(key: Mapping[str, Any]) -> bool:
    operations = key.get("key_ops")
    signs = key.get("use", "sig") == "sig" and (not isinstance(operations, list) or "verify" in operations)
    kind = (key.get("kty"), key.get("alg", "ES384" if key.get("kty") == "EC" else "RS384"))
    return signs and (kind == ("RSA", "RS384") or (kind == ("EC", "ES384") and key.get("crv") == "P-384"))


def _imported(key: Mapping[str, Any]) -> Key:
    try:
        if key["kty"] == "EC":
            return ECKey.import_key({name: key[name] for name in ("kty", "crv", "x", "y")})
        if LEAST_RSA_BITS <= base64_to_int(key["n"]).bit_length() <= MOST_RSA_BITS:
            return RSAKey.import_key({name: key[name] for name in ("kty", "n", "e")})
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        raise JwksError(f"The key {str(key.get('kid'))[:64]!r} is malformed.") from None
    raise JwksError(f"An RSA key has {LEAST_RSA_BITS} to {MOST_RSA_BITS} bits.")


def require_secure_url(url: str) -> None:
    """Raise ``JwksError`` unless the URL is https, or http on the loopback of this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        raise JwksError(f"{url[:100]!r} is no URL.") from None
    plain = len(url) <= URL_LENGTH and all(" " < char <= "~" for char in url)
    if not plain or not host or parts.username is not None or parts.fragment:
        raise JwksError(f"{url[:100]!r} is no URL of a key set.")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise JwksError("A key set is fetched by https (by http from the loopback of this machine alone).")


class Served(Struct, frozen=True):
    """What a URL serves, and how long that may be kept (microseconds)."""

    body: bytes
    fresh: int = FRESH_MICROS


def fetch_jwks(url: str) -> Served:
    """Return what the URL serves.

    No redirects, bounded in bytes and in seconds. Raise ``JwksError`` if that fails.
    """
    require_secure_url(url)
    headers = {"Accept": "application/jwk-set+json, application/json"}
    try:
        answer = ask("GET", url, most=MOST_BYTES, seconds=TIMEOUT_SECONDS, headers=headers)
    except OutsideError:
        raise JwksError("The client's jwks_url cannot be fetched, or serves too much, or too slowly.") from None
    if answer.status != 200:
        raise JwksError(f"The client's jwks_url answers {answer.status}.")
    return Served(answer.body, _fresh(answer.headers.get("cache-control", "")))


def _fresh(cache_control: str) -> int:
    """Return how long an answer may be kept: as long as it says, and never longer than we would keep one that says nothing."""
    directives = dict(each.strip().lower().partition("=")[::2] for each in cache_control.split(","))
    if "no-store" in directives or "no-cache" in directives:
        return 0
    age = directives.get("max-age", "")
    return min(int(age[:9]) * SECOND, FRESH_MICROS) if age.isascii() and age.isdigit() else FRESH_MICROS


class _Fetched(Struct):
    """The last answer of one URL.

    ``lock`` lets one request fetch while the others wait for the same answer.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    keys: Mapping[str, Key] = field(default_factory=dict)
    at: int | None = None
    fresh: int = FRESH_MICROS
    failed: JwksError | None = None


class FetchedKeys:
    """Key sets behind URLs, kept for as long as they say and for five minutes at most; an unknown ``kid`` asks again, at most every ten seconds.

    A URL that fails is not asked more often either: its error is remembered as an answer.
    """

    def __init__(self, clock: Clock, fetch: Callable[[str], Served] = fetch_jwks, most: int = 1000) -> None:
        self._clock = clock
        self._fetch = fetch
        self._most = most
        self._sets: dict[str, _Fetched] = {}
        self._lock = threading.Lock()

    def find(self, url: str, kid: str) -> Key | None:
        """Return the key that the URL serves under ``kid``.

        Raise ``JwksError`` if nothing can be had from it.
        """
        fetched = self._entry(url)
        with fetched.lock:
            if self._due(fetched, kid):
                self._refresh(url, fetched)
            if fetched.failed is not None:
                raise fetched.failed
            return fetched.keys.get(kid)

    def _entry(self, url: str) -> _Fetched:
        with self._lock:
            if url not in self._sets and len(self._sets) >= self._most:
                del self._sets[next(iter(self._sets))]
            return self._sets.setdefault(url, _Fetched())

    def _due(self, fetched: _Fetched, kid: str) -> bool:
        if fetched.at is None:
            return True
        wanting = fetched.failed is not None or kid not in fetched.keys
        return self._clock.micros() - fetched.at >= (AGAIN_MICROS if wanting else fetched.fresh)

    def _refresh(self, url: str, fetched: _Fetched) -> None:
        fetched.keys, fetched.failed = {}, None
        try:
            served = self._fetch(url)
            fetched.keys, fetched.fresh = parse_jwks(served.body), served.fresh
        except JwksError as error:
            fetched.failed = error
        fetched.at = self._clock.micros()

"""Asking the servers of others: no redirect is followed, and answers are bounded in bytes and in seconds."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec import Struct

if TYPE_CHECKING:
    from requests import Response


class OutsideError(Exception):
    """There is no whole answer; the message is the kind of fault, or says that it is too much or too slow."""


class Answer(Struct, frozen=True):
    """What was answered, whatever its status; the names of ``headers`` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def ask(
    method: str,
    url: str,
    *,
    most: int,
    seconds: float,
    headers: Mapping[str, str] | None = None,
    data: bytes | Mapping[str, str] | None = None,
) -> Answer:
    """Return what the URL answers: of ``most`` bytes, within so many seconds; raise ``OutsideError`` if that fails.

    What is on this machine is asked without the proxy that the environment may name.
    """
    import requests  # noqa: PLC0415 - with what it needs it is a sixth of all that a worker loads, and most workers ask nobody
    from urllib3.exceptions import HTTPError  # noqa: PLC0415 - it comes with the one above

    ends = time.monotonic() + seconds
    try:
        with requests.Session() as session:
            session.trust_env = not is_loopback(urlsplit(url).hostname or "")
            with session.request(
                method, url, headers=headers, data=data, timeout=seconds, allow_redirects=False, stream=True
            ) as response:
                told = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status_code, told, _bounded(response, most, ends))
    except (requests.RequestException, HTTPError, OSError) as fault:
        raise OutsideError(type(fault).__name__) from None


def _bounded(response: Response, most: int, ends: float) -> bytes:
    body = b""
    while chunk := response.raw.read1(most, decode_content=True):
        body += chunk
        if len(body) > most or time.monotonic() > ends:
            raise OutsideError("it says too much, or too slowly")
    return body


def is_loopback(host: str) -> bool:
    """Tell whether the host of a URL can be nothing but this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

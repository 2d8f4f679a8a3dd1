"""What RSGI tells of a request, as WSGI asks for it.

https://github.com/emmett-framework/granian/blob/master/docs/spec/RSGI.md and https://peps.python.org/pep-3333/#environ-variables.
"""

from __future__ import annotations

import sys
from typing import Any, Protocol

from fhir_dmp.http.middleware import LOST, Environ

_UNREAD = frozenset({"user-agent", "referer", "from"})


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

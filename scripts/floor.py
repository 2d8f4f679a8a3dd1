"""The floor that the benchmark measures against: the same bytes by a bare WSGI function, without token, rules or audit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from pymongo import MongoClient
from pymongo.collection import Collection


@cache
def _current() -> Collection[dict[str, Any]]:
    client: MongoClient[dict[str, Any]] = MongoClient(os.environ["FLOOR_URI"], maxPoolSize=100)
    return client["fhir_dmp"]["current"]


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer ``/fhir/Type/id`` with the stored body."""
    name = environ["PATH_INFO"].removeprefix("/fhir/")
    row = _current().find_one({"_id": name}, {"b": 1})
    if row is None:
        start_response("404 Not Found", [])
        return [b""]
    start_response("200 OK", [("Content-Type", "application/fhir+json")])
    return [row["b"]]

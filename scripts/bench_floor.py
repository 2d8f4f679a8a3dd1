"""The floor of the benchmark: the same bytes by a bare WSGI function, without token, rules or search.

With ``FLOOR_AUDITED`` set, it writes a row of the log for each answer, grouped and acknowledged (majority, journaled) before
the answer leaves: what evidence alone costs.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import Any

from bson import ObjectId
from pymongo import MongoClient, WriteConcern
from pymongo.collection import Collection

Row = dict[str, Any]


class Committer:
    """Writes what waits as one group; each waiter goes on when its group is acknowledged."""

    def __init__(self, log: Collection[Row], example: Row) -> None:
        self._log = log
        self._example = example
        self._waiting: SimpleQueue[threading.Event] = SimpleQueue()
        threading.Thread(target=self._write, daemon=True).start()

    def append(self) -> None:
        """Return when a row is durable."""
        written = threading.Event()
        self._waiting.put(written)
        written.wait()

    def _write(self) -> None:
        while True:
            group = [self._waiting.get()]
            while not self._waiting.empty():
                group.append(self._waiting.get())
            self._log.insert_many([{**self._example, "_id": ObjectId()} for _ in group], ordered=False)
            for written in group:
                written.set()


def create() -> Callable[..., Iterable[bytes]]:
    """Return the WSGI function of this worker."""
    client: MongoClient[Row] = MongoClient(os.environ["FLOOR_URI"], maxPoolSize=100)
    database = client[os.environ["FLOOR_DATABASE"]]
    current = database["current"]
    committer = _committer(client) if os.environ.get("FLOOR_AUDITED") else None

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        row = current.find_one({"_id": environ["PATH_INFO"].removeprefix("/fhir/")}, {"b": 1})
        if row is None:
            start_response("404 Not Found", [])
            return [b""]
        if committer:
            committer.append()
        start_response("200 OK", [("Content-Type", "application/fhir+json")])
        return [row["b"]]

    return app


def _committer(client: MongoClient[Row]) -> Committer:
    """Return a committer of rows as large as those that the server wrote."""
    database = client[f"{os.environ['FLOOR_DATABASE']}_log"]
    month = max(name for name in database.list_collection_names() if name.startswith("audit_"))
    example = database[month].find_one(sort=[("$natural", -1)]) or {}
    durable = WriteConcern("majority", j=True)
    return Committer(client["fhir_dmp_floor"].get_collection("log", write_concern=durable), example)

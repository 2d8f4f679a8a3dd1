"""What the log takes on disk, month by month, asked of the database. https://www.mongodb.com/docs/manual/reference/operator/aggregation/collStats/."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pymongo import MongoClient

from fhir_dmp.metrics import LogSize
from fhir_dmp.store.period import PERIOD_PREFIX
from fhir_dmp.stores.mongo.blocks import SIZE
from fhir_dmp.stores.mongo.documents import LOG_SUFFIX, months

MILLIS = 2000
SAMPLE = 500
"""Documents of a month that are looked into."""


class LogSizes:
    """The sizes of the log at a URI, on a connection of its own that is made when somebody looks."""

    def __init__(self, uri: str, name: str) -> None:
        self._client: MongoClient[dict[str, Any]] = MongoClient(
            uri, serverSelectionTimeoutMS=MILLIS, socketTimeoutMS=MILLIS * 2, connect=False
        )
        self._log = self._client.get_database(f"{name}{LOG_SUFFIX}")

    def __call__(self) -> Iterator[LogSize]:
        """Yield the size of each month."""
        for name in months(self._log):
            for row in self._log[name].aggregate([{"$collStats": {"storageStats": {}}}]):
                stats = row["storageStats"]
                disk = stats["storageSize"] + stats["totalIndexSize"]
                rows = round(stats["count"] * self._rows_of_one(name))
                yield LogSize(name.removeprefix(PERIOD_PREFIX), rows, stats["size"], disk)

    def _rows_of_one(self, name: str) -> float:
        """Return how many rows a document of the month has on average: of all, if they are few."""
        stages: list[dict[str, Any]] = [
            {"$sample": {"size": SAMPLE}},
            {"$group": {"_id": None, "rows": {"$avg": SIZE}}},
        ]
        return next((row["rows"] for row in self._log[name].aggregate(stages)), 1.0)

    def close(self) -> None:
        """Let go of the database."""
        self._client.close()

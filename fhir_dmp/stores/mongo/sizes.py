"""What the log takes on disk, month by month, asked of the database. https://www.mongodb.com/docs/manual/reference/operator/aggregation/collStats/."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pymongo import MongoClient

from fhir_dmp.metrics import LogSize
from fhir_dmp.store.ledger import PERIOD_PREFIX
from fhir_dmp.stores.mongo.documents import LOG_SUFFIX, months

MILLIS = 2000


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
                yield LogSize(name.removeprefix(PERIOD_PREFIX), stats["count"], stats["size"], disk)

    def close(self) -> None:
        """Let go of the database."""
        self._client.close()

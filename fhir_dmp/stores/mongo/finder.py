"""One ``find`` as one command. https://www.mongodb.com/docs/manual/reference/command/find/.

A cursor of the driver costs a third more; what one answer cannot hold, one brings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from pymongo.collection import Collection
from pymongo.database import Database

from fhir_dmp.fibres import offload
from fhir_dmp.stores.mongo.connect import QUERY_MILLIS
from fhir_dmp.stores.mongo.faults import again_once, answering
from fhir_dmp.stores.mongo.lines import Lines

Fields = Mapping[str, int]
_Row = dict[str, Any]


class Finder:
    """Finds rows of which a majority has what is found, by lines of its own: nobody waits for those who ask by another.

    A find may take ``millis``; within ``faults`` what fails is told.
    """

    def __init__(
        self,
        database: Database[_Row],
        millis: int = QUERY_MILLIS,
        faults: Callable[[], AbstractContextManager[None]] = answering,
    ) -> None:
        self._database = database
        self._lines = Lines(database.client)
        self._millis = millis
        self._faults = faults

    def rows(self, of: Collection[_Row], wanted: _Row, fields: Fields, **options: Any) -> Sequence[_Row]:
        """Return the rows that meet the filter; ``options`` are the command's.

        Raises what ``faults`` make of it: ``Unavailable`` if the database does not answer, ``TooCostly`` if it takes too long,
        where nothing else was said.
        """
        command = {
            "find": of.name,
            "filter": wanted,
            "projection": fields,
            **options,
            "readConcern": {"level": "majority"},
            "maxTimeMS": self._millis,
        }
        with self._faults():
            answer = again_once(lambda: self._lines.command(self._database, command))["cursor"]
            if not answer["id"]:
                first: list[_Row] = answer["firstBatch"]
                return first
            self._lines.command(self._database, {"killCursors": of.name, "cursors": [answer["id"]]})
            return offload(partial(_by_cursor, of, wanted, fields, options, self._millis))

    def named(self, of: Collection[_Row], ids: Sequence[str], fields: Fields) -> Sequence[_Row]:
        """Return the rows that have these ids."""
        return self.rows(of, {"_id": {"$in": list(ids)}}, fields, batchSize=len(ids) + 1)


def _by_cursor(of: Collection[_Row], wanted: _Row, fields: Fields, options: _Row, millis: int) -> Sequence[_Row]:
    found = of.find(wanted, fields, limit=options.get("limit", 0))
    sort = options.get("sort")
    return list((found.sort(list(sort.items())) if sort else found).max_time_ms(millis))

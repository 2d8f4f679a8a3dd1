"""``store.indexes.Indexes`` on MongoDB: ``search_params`` holds the added parameters and how far a run is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pymongo
from mongoengine.fields import BinaryField, BooleanField, IntField, LongField, StringField
from pymongo import DeleteOne, ReplaceOne, UpdateOne
from pymongo.database import Database
from pymongo.read_concern import ReadConcern

from fhir_dmp.store.change import Index, Stored
from fhir_dmp.store.indexes import AddedParam
from fhir_dmp.stores.mongo.compile import to_row
from fhir_dmp.stores.mongo.documents import Row
from fhir_dmp.stores.mongo.faults import answering, promptly
from fhir_dmp.stores.mongo.prepare import prepare_collection
from fhir_dmp.stores.mongo.stored import stored_of

_RUN = "run"
_FORM = "form"
_PARAM = "param|"
_DERIVED = ("r", "w", "ds")
"""Index fields that a row lacks where it has no value for them."""

SECONDS = 2.0
"""How long the added parameters are waited for: they are few, and found by their ids."""

_Row = dict[str, Any]


class AddedParamRow(Row):
    """An added search parameter (``_id`` is ``param|`` and its URL), the last run (``run``), or the form of rows (``form``)."""

    meta = {"collection": "search_params"}
    id = StringField(primary_key=True)
    fp = StringField()
    since = LongField()
    complete = BooleanField()
    b = BinaryField()
    form = IntField()
    run = StringField()
    last = StringField()
    done = LongField()


class MongoIndexes:
    """The added parameters and the rows of ``current``, on one database."""

    def __init__(self, database: Database[_Row]) -> None:
        majority = ReadConcern("majority")
        name = AddedParamRow._get_collection_name()  # noqa: SLF001 - mongoengine has no public name for it
        with answering():
            prepare_collection(database, AddedParamRow, name)
        self._params = database.get_collection(name, read_concern=majority)
        self._current = database.get_collection("current", read_concern=majority)

    def added(self) -> tuple[AddedParam, ...]:
        """Return all added parameters, by URL; every call waits for them, so that they are not waited for as long as the driver would."""
        with promptly(), pymongo.timeout(SECONDS):
            rows = list(self._params.find({"_id": {"$gte": _PARAM, "$lt": "param}"}}).sort("_id"))
        return tuple(_param(row) for row in rows)

    def save(self, params: Sequence[AddedParam]) -> None:
        """Keep the parameters as they are now."""
        if params:
            with answering():
                self._params.bulk_write([_replacement(each) for each in params])

    def forget(self, urls: Sequence[str]) -> None:
        """Drop parameters."""
        if urls:
            with answering():
                self._params.bulk_write([DeleteOne({"_id": _PARAM + url}) for url in urls])

    def form(self) -> int:
        """Return the form in which all rows are indexed (0: nobody said)."""
        with answering():
            row = self._params.find_one({"_id": _FORM})
        return int(row["form"]) if row else 0

    def keep_form(self, form: int) -> None:
        """Remember that all rows are indexed in the form."""
        with answering():
            self._params.replace_one({"_id": _FORM}, {"form": form}, upsert=True)

    def place(self, run: str) -> tuple[str, int]:
        """Return the id of the last row that a run has done, and how many it has."""
        with answering():
            row = self._params.find_one({"_id": _RUN, "run": run})
        return (row["last"], int(row["done"])) if row else ("", 0)

    def advance(self, run: str, last: str, done: int) -> None:
        """Remember how far a run is."""
        with answering():
            self._params.replace_one({"_id": _RUN}, {"run": run, "last": last, "done": done}, upsert=True)

    def count(self, resource_types: Sequence[str]) -> int:
        """Return how many rows the types have, tombstones among them."""
        with answering():
            return self._current.count_documents({"ty": {"$in": list(resource_types)}})

    def rows(self, resource_type: str, after: str, limit: int) -> Sequence[Stored]:
        """Return rows of a type that exist, with their index, in the order of their ids."""
        ids = {"$gt": max(after, f"{resource_type}/"), "$lt": f"{resource_type}0"}
        with answering():
            return [
                stored_of(row)
                for row in self._current.find({"_id": ids, "del": {"$exists": False}}).sort("_id").limit(limit)
            ]

    def rewrite(self, rows: Sequence[tuple[Stored, Index]]) -> int:
        """Give each row that is still of that version its new index fields; return how many were."""
        if not rows:
            return 0
        with answering():
            result = self._current.bulk_write([_update(row, index) for row, index in rows], ordered=False)
        return int(result.matched_count)


def _param(row: _Row) -> AddedParam:
    return AddedParam(row["_id"].removeprefix(_PARAM), row["fp"], int(row["since"]), row["complete"], row.get("b"))


def _replacement(param: AddedParam) -> ReplaceOne[_Row]:
    row = {"fp": param.fingerprint, "since": param.since, "complete": param.complete}
    if param.definition is not None:
        row["b"] = param.definition
    return ReplaceOne({"_id": _PARAM + param.url}, row, upsert=True)


def _update(row: Stored, index: Index) -> UpdateOne:
    change: dict[str, _Row] = {"$set": to_row(index)}
    gone = {name: "" for name in _DERIVED if name not in index}
    if gone:
        change["$unset"] = gone
    return UpdateOne({"_id": str(row.ref), "lu": row.lu, "v": row.version}, change)

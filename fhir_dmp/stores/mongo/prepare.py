"""Making collections with the indexes that are declared of them (``documents``). https://www.mongodb.com/docs/manual/reference/command/createIndexes/."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pymongo import IndexModel
from pymongo.database import Database
from pymongo.errors import OperationFailure

from fhir_dmp.errors import Unavailable
from fhir_dmp.stores.mongo.documents import RECORDS, Row

_EXISTS = 48
NOT_MADE = frozenset({67, 85, 86, 171, 11000})
"""Codes of an index that cannot be made of what stands there: there are too many, or one of its name or key; a document has two lists that
it would pair, or two documents have one key."""


def ensure_indexes(database: Database[dict[str, Any]], documents: Sequence[type[Row]] = RECORDS) -> None:
    """Make the collections and indexes that are not there yet; harmless if they are."""
    for document in documents:
        prepare_collection(database, document, document._meta["collection"])  # noqa: SLF001 - the declared schema


def prepare_collection(database: Database[dict[str, Any]], document: type[Row], name: str) -> None:
    """Make one collection with the indexes of its document: in one command, which makes the collection where it makes an index.

    Raises ``Unavailable`` where one cannot be made of what stands there, naming it and the way out.
    """
    try:
        if indexes := indexes_of(document):
            database[name].create_indexes(indexes)
        else:
            database.create_collection(name, check_exists=False)
    except OperationFailure as refusal:
        if refusal.code in NOT_MADE:
            told = (refusal.details or {}).get("errmsg", "")
            text = f"An index of {database.name}.{name} cannot be made: drop what stands in its place, and start again. MongoDB says: {told}"
            raise Unavailable(text, reasons=(f"code {refusal.code}",)) from refusal
        if refusal.code != _EXISTS:
            raise


def indexes_of(document: type[Row]) -> list[IndexModel]:
    """Return the indexes that are declared of a collection."""
    return [_index(spec) for spec in document._meta["index_specs"]]  # noqa: SLF001 - the declared schema


def _index(spec: Mapping[str, Any]) -> IndexModel:
    """Return an index as the database takes it, of mongoengine's description."""
    options = {option: value for option, value in spec.items() if option not in ("fields", "cls")}
    return IndexModel(spec["fields"], **options)

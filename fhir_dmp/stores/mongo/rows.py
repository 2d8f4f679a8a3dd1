"""The collection of clients, keys, tokens, authorizations, accounts and sessions: rows of many kinds, each found by its id alone.

Policies are found by whom they name as well (``n``), since a system asks for all records that could be open to it.

Rows with ``expires`` are removed by a TTL index once that is past.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mongoengine.fields import (
    BinaryField,
    BooleanField,
    DateTimeField,
    DictField,
    IntField,
    ListField,
    LongField,
    StringField,
)
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from fhir_dmp.store.query import end_of
from fhir_dmp.stores.mongo.documents import Row
from fhir_dmp.stores.mongo.faults import promptly
from fhir_dmp.stores.mongo.prepare import prepare_collection


class Grant(Row):
    """The schema of the collection: the fields of every kind of row, and the index that forgets."""

    meta = {
        "collection": "grants",
        "indexes": [{"fields": ["expires"], "expireAfterSeconds": 0}, {"fields": ["n"], "sparse": True}],
    }
    id = StringField(primary_key=True)
    registration = StringField()
    kind = StringField()
    role = StringField()
    scopes = ListField(StringField())
    registered = IntField()
    organization = StringField()
    jwks = StringField()
    jwks_url = StringField()
    redirect_uris = ListField(StringField())
    generation = IntField()
    kid = StringField()
    sealed = StringField()
    signs_from = IntField()
    signs_until = IntField()
    expires = DateTimeField()
    v = IntField()
    b = BinaryField()
    n = ListField(StringField())
    name = StringField()
    resource = StringField()
    identifier = StringField()
    added = LongField()
    holds_from = LongField()
    login = StringField()
    password = StringField()
    totp = StringField()
    totp_step = LongField()
    recovery = ListField(StringField())
    disabled = BooleanField()
    situations = ListField(DictField())
    represents = ListField(DictField())
    birth_date = StringField()
    traits = StringField()
    provider = StringField()
    subject = StringField()
    account = StringField()
    stage = StringField()
    method = StringField()
    started = LongField()
    seen = LongField()
    ends = LongField()
    situation = DictField()
    choices = ListField(DictField())
    secret = BooleanField()
    strong = BooleanField()
    secret_hash = StringField()
    client = StringField()
    session = StringField()
    person = DictField()
    redirect_uri = StringField()
    challenge = StringField()
    nonce = StringField()
    code = StringField()
    refresh = StringField()
    launch = DictField()
    began = LongField()
    redeemed = BooleanField()
    revoked = BooleanField()
    turns = IntField()
    until = LongField()


class Rows:
    """The rows by their ids, on one MongoDB database; ``timeout`` bounds each call in seconds."""

    def __init__(self, database: Database[dict[str, Any]], timeout: float) -> None:
        self.database = database
        self.collection = database.get_collection(
            Grant._get_collection_name(),  # noqa: SLF001 - mongoengine has no public name for it
            read_concern=ReadConcern("majority"),
            write_concern=WriteConcern("majority", j=True, wtimeout=int(timeout * 1000)),
            read_preference=ReadPreference.PRIMARY,
        )
        self.millis = int(timeout * 1000)
        with promptly():
            prepare_collection(database, Grant, self.collection.name)

    def find(self, row_id: str) -> Mapping[str, Any] | None:
        """Return the row."""
        with promptly():
            return self.collection.find_one({"_id": row_id}, max_time_ms=self.millis)

    def prefixed(self, prefix: str) -> Sequence[Mapping[str, Any]]:
        """Return all rows whose id begins so, by id."""
        bounds = {"$gte": prefix, "$lt": end_of(prefix)}
        with promptly():
            return list(self.collection.find({"_id": bounds}, max_time_ms=self.millis).sort("_id"))

    def insert(self, row_id: str, row: Mapping[str, Any]) -> bool:
        """Add the row; return False if its id is taken."""
        try:
            with promptly():
                self.collection.insert_one({"_id": row_id, **row})
        except DuplicateKeyError:
            return False
        return True

    def delete(self, row_id: str) -> bool:
        """Take the row away; return False if it is not there."""
        with promptly():
            return self.collection.delete_one({"_id": row_id}).deleted_count == 1

    def update(self, asked: Mapping[str, Any], change: Mapping[str, Any]) -> bool:
        """Change the one row that is as asked; return False if none is."""
        with promptly():
            return self.collection.update_one(asked, change).matched_count == 1


def given(**values: Any) -> dict[str, Any]:
    """Return those fields that have a value; absent ones take no room."""
    return {name: value for name, value in values.items() if value is not None}

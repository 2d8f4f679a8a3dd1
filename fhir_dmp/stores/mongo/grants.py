"""Clients, keys and tokens on MongoDB, in one collection, so that what holds of a token is one query by ids.

==================  ========================================================================================
``client/<id>``     a registered client
``key/<n>``         the n-th signing key, sealed
``used/<digest>``   an assertion that was used: inserting it again fails, on any worker
``revoked/<jti>``   a token that was revoked
``policy/<ref>``    what opens the record of ``Patient/p``: version ``v``, body ``b``; written by commits
==================  ========================================================================================

Rows with ``expires`` are removed by a TTL index once that is past.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from mongoengine import Document
from mongoengine.fields import BinaryField, DateTimeField, IntField, ListField, StringField
from pymongo.database import Database
from pymongo.errors import AutoReconnect, DuplicateKeyError, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from fhir_dmp.errors import Unavailable
from fhir_dmp.store.grants import Client, Key, Look, PolicyRow, Standing
from fhir_dmp.stores.mongo.documents import prepare_collection
from fhir_dmp.stores.mongo.together import Together

KEPT_LONGER = timedelta(hours=1)
"""Used assertions outlive their end by more than any difference between our clocks and the database's."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Grant(Document):  # type: ignore[misc] # mongoengine carries no types
    """The schema of the collection: the fields of every kind of row, and the index that forgets."""

    meta = {  # noqa: RUF012 - mongoengine reads it so
        "collection": "grants",
        "auto_create_index": False,
        "indexes": [{"fields": ["expires"], "expireAfterSeconds": 0}],
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


class MongoGrants:
    """``store.grants.Grants`` on one MongoDB database; ``timeout`` bounds each call in seconds."""

    def __init__(self, database: Database[dict[str, Any]], timeout: float = 5.0) -> None:
        self._database = database
        self._collection = database.get_collection(
            Grant._get_collection_name(),  # noqa: SLF001 - mongoengine has no public name for it
            read_concern=ReadConcern("majority"),
            write_concern=WriteConcern("majority", j=True, wtimeout=int(timeout * 1000)),
            read_preference=ReadPreference.PRIMARY,
        )
        self._timeout = timeout
        self._standings = Together(self._fetch_standings)
        with _answering():
            prepare_collection(database, Grant, self._collection.name)

    def add_client(self, client: Client) -> bool:
        """Register the client; return False if its id is taken."""
        return self._insert(f"client/{client.id}", _client_row(client))

    def find_client(self, client_id: str) -> Client | None:
        """Return the client as it is registered now."""
        with _answering():
            row = self._collection.find_one({"_id": f"client/{client_id}"}, max_time_ms=self._millis)
        return _client(row) if row else None

    def list_clients(self) -> tuple[Client, ...]:
        """Return all clients by id."""
        return tuple(_client(row) for row in self._prefixed("client/"))

    def remove_client(self, client_id: str) -> bool:
        """Forget the client; return False if nobody has that id."""
        with _answering():
            return self._collection.delete_one({"_id": f"client/{client_id}"}).deleted_count == 1

    def find_standing(self, look: Look) -> Standing | None:
        """Return what holds now of those the look names, by a query shared with those who wait."""
        return self._standings.find(look)

    def use_assertion(self, client_id: str, jti: str, expires: int) -> bool:
        """Remember that the client used ``jti``; return False if it had before, on any worker."""
        digest = hashlib.sha256(f"{client_id}\n{jti}".encode()).hexdigest()
        return self._insert(f"used/{digest}", {"expires": _moment(expires) + KEPT_LONGER})

    def revoke_token(self, token_id: str, expires: int) -> None:
        """Remember until well after ``expires`` that the token does not hold any more."""
        self._insert(f"revoked/{token_id}", {"expires": _moment(expires) + KEPT_LONGER})

    def list_keys(self) -> tuple[Key, ...]:
        """Return the signing keys that are kept, by generation."""
        return tuple(sorted((_key(row) for row in self._prefixed("key/")), key=lambda key: key.generation))

    def add_key(self, key: Key) -> bool:
        """Keep a signing key; return False if its generation exists."""
        row = {name: getattr(key, name) for name in ("generation", "kid", "sealed", "signs_from", "signs_until")}
        return self._insert(f"key/{key.generation}", {**row, "expires": _moment(key.expires)})

    @property
    def _millis(self) -> int:
        return int(self._timeout * 1000)

    def _insert(self, row_id: str, row: Mapping[str, Any]) -> bool:
        try:
            with _answering():
                self._collection.insert_one({"_id": row_id, **row})
        except DuplicateKeyError:
            return False
        return True

    def _prefixed(self, prefix: str) -> Sequence[Mapping[str, Any]]:
        bounds = {"$gte": prefix, "$lt": prefix[:-1] + chr(ord(prefix[-1]) + 1)}
        with _answering():
            return list(self._collection.find({"_id": bounds}, max_time_ms=self._millis).sort("_id"))

    def _fetch_standings(self, looks: Sequence[Look]) -> Mapping[Look, Standing]:
        """Return the standings, by one query.

        The command is sent as it is: a third cheaper than a cursor for so little.
        """
        ids = {row_id for look in looks for row_id in _row_ids(look)}
        command = {
            "find": self._collection.name,
            "filter": {"_id": {"$in": list(ids)}},
            "projection": {"registration": 1, "role": 1, "organization": 1, "v": 1, "b": 1},
            "batchSize": len(ids),
            "singleBatch": True,
            "readConcern": {"level": "majority"},
            "maxTimeMS": self._millis,
        }
        with _answering():
            try:
                answer = self._database.command(command)
            except AutoReconnect:
                answer = self._database.command(command)
        rows = {row["_id"]: row for row in answer["cursor"]["firstBatch"]}
        return {look: standing for look in looks if (standing := _standing(look, rows))}


def _row_ids(look: Look) -> Iterator[str]:
    yield f"client/{look.client}"
    yield f"revoked/{look.token}"
    if look.patient is not None:
        yield f"policy/{look.patient}"


def _standing(look: Look, rows: Mapping[str, Mapping[str, Any]]) -> Standing | None:
    client = rows.get(f"client/{look.client}")
    if client is None:
        return None
    policy = rows.get(f"policy/{look.patient}") if look.patient else None
    return Standing(
        client["registration"],
        client["role"],
        client.get("organization"),
        revoked=f"revoked/{look.token}" in rows,
        policy=PolicyRow(look.patient or "", policy["v"], policy["b"]) if policy else None,
    )


@contextmanager
def _answering() -> Iterator[None]:
    """Raise ``Unavailable`` for whatever fails: no look-up here is long by its caller's fault."""
    try:
        yield
    except DuplicateKeyError:
        raise
    except PyMongoError as error:
        raise Unavailable("The database does not answer.", reasons=(type(error).__name__,)) from error


def _moment(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def _micros(moment: datetime) -> int:
    return (moment.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


def _client_row(client: Client) -> dict[str, Any]:
    row = {
        "registration": client.registration,
        "kind": client.kind,
        "role": client.role,
        "scopes": list(client.scopes),
        "registered": client.registered,
        "organization": client.organization,
        "jwks": client.jwks,
        "jwks_url": client.jwks_url,
        "redirect_uris": list(client.redirect_uris),
    }
    return {name: value for name, value in row.items() if value is not None}


def _client(row: Mapping[str, Any]) -> Client:
    return Client(
        id=row["_id"].removeprefix("client/"),
        registration=row["registration"],
        kind=row["kind"],
        role=row["role"],
        scopes=tuple(row["scopes"]),
        registered=row["registered"],
        organization=row.get("organization"),
        jwks=row.get("jwks"),
        jwks_url=row.get("jwks_url"),
        redirect_uris=tuple(row.get("redirect_uris", ())),
    )


def _key(row: Mapping[str, Any]) -> Key:
    return Key(
        generation=row["generation"],
        kid=row["kid"],
        sealed=row["sealed"],
        signs_from=row["signs_from"],
        signs_until=row["signs_until"],
        expires=_micros(row["expires"]),
    )

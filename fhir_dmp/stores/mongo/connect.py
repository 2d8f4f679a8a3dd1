"""The way to the database: what its address must be, and what must answer there."""

from __future__ import annotations

from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from fhir_dmp.errors import Unavailable
from fhir_dmp.fibres import BLOCKING_AT_ONCE
from fhir_dmp.settings import Settings
from fhir_dmp.stores.mongo.lines import MOST

KINDS = 4
"""Kinds of questions that have lines of their own: of one call, of many, of tokens, and the rows of the log."""

BESIDE = 16
"""Threads that neither calls nor fibres wait in: those of commits, of the seal, of what a worker does again and again."""

QUERY_MILLIS = 10_000
"""How long one query may take."""

ROOM_MILLIS = 2000
"""How long one may wait for a connection while all are in use: to open as many as there may be takes 0.3 s (measured)."""

_Row = dict[str, Any]


def connected(uri: str, settings: Settings) -> MongoClient[_Row]:
    """Return a client of the database at the URI; raise ``Unavailable`` saying what is wrong with it."""
    client = _client(uri, settings)
    try:
        _require_replica_set(client)
    except BaseException:
        client.close()
        raise
    return client


def _client(uri: str, settings: Settings) -> MongoClient[_Row]:
    """Return a client of the database at the URI, of which no word is repeated: it may hold a password."""
    try:
        return MongoClient(
            uri,
            maxPoolSize=settings.threads + BLOCKING_AT_ONCE + KINDS * MOST + BESIDE,
            waitQueueTimeoutMS=ROOM_MILLIS,
            serverSelectionTimeoutMS=2000,
            connectTimeoutMS=2000,
            socketTimeoutMS=QUERY_MILLIS * 2,
            w="majority",
            journal=True,
            tz_aware=True,
        )
    except (PyMongoError, ValueError, TypeError) as fault:
        raise Unavailable(
            f"DMP_MONGODB_URI is no address of a MongoDB ({type(fault).__name__}): write mongodb://HOST:27017/?replicaSet=rs0, "
            "with user and password percent-encoded if there are any."
        ) from None


def _require_replica_set(client: MongoClient[_Row]) -> None:
    try:
        hello = client.admin.command("hello")
    except OperationFailure as refusal:
        raise Unavailable(
            f"The MongoDB at DMP_MONGODB_URI does not let us in ({refusal.code}): see user, password and authSource."
        ) from refusal
    except PyMongoError as fault:
        raise Unavailable(
            "No MongoDB answers at DMP_MONGODB_URI: start it, or correct the address and the name of its replica set, "
            "or leave DMP_MONGODB_URI empty for the embedded database.",
            reasons=(type(fault).__name__,),
        ) from fault
    if "setName" not in hello:
        raise Unavailable(
            "The MongoDB at DMP_MONGODB_URI is a standalone. Records, versions and their evidence are written in one "
            "transaction, and only a replica set has those: start mongod with --replSet rs0 and run rs.initiate() once "
            "(one node is enough), or leave DMP_MONGODB_URI empty for the embedded database."
        )

"""The sealed log on MongoDB: rows are read from the log's database, what seals them is written to one of its own.

Each sealing is one transaction that begins with the lease's row: whoever lost the lease meanwhile writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import pymongo
from pymongo import MongoClient, ReplaceOne, UpdateOne
from pymongo.database import Database
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure
from pymongo.read_concern import ReadConcern

from fhir_dmp.fibres import offloaded
from fhir_dmp.store.chain import Link, Row, Run
from fhir_dmp.store.ledger import Batch, Fenced, Lease, Occupied, TilePlace
from fhir_dmp.stores.mongo.block_rows import BY_ID, row_of
from fhir_dmp.stores.mongo.blocks import BLOCK, WHOLE
from fhir_dmp.stores.mongo.chain import DURABLE, HEADS
from fhir_dmp.stores.mongo.documents import LOG_SUFFIX, SEAL_SUFFIX, SEALS, months, months_of
from fhir_dmp.stores.mongo.exact import is_bytes, is_text, is_whole
from fhir_dmp.stores.mongo.faults import answering
from fhir_dmp.stores.mongo.handed import Handed
from fhir_dmp.stores.mongo.month_indexes import odd_indexes, odd_options
from fhir_dmp.stores.mongo.placed import PlacedRows
from fhir_dmp.stores.mongo.prepare import ensure_indexes
from fhir_dmp.stores.mongo.reading import read_all, read_first, readable
from fhir_dmp.stores.mongo.register import Register
from fhir_dmp.stores.mongo.runs import RUNS, Runs, run_of, run_row

SOCKET_MILLIS = 300_000
"""How long one answer may take: to count a year's rows is the longest."""

_LONGEST = 3600_000
"""Milliseconds that nobody takes the lease for, or asks for it: one that somebody put so far away holds it up no longer."""

_NO_NUMBER = {"onError": 0, "onNull": 0}
_DUPLICATE = 11000
_TEXT = {"w": {"$type": "string"}}
_Document = dict[str, Any]


class MongoLedger(PlacedRows, Runs, Register, Handed):
    """``store.ledger.Ledger`` on the databases beside ``name``; made once for each process, after any fork."""

    def __init__(self, client: MongoClient[_Document], name: str, uri: str = "") -> None:
        self._client = client
        self._place = (uri, name)
        majority = ReadConcern("majority")
        self.log: Database[_Document] = readable(client.get_database(f"{name}{LOG_SUFFIX}", read_concern=majority))
        self.seals: Database[_Document] = readable(
            client.get_database(f"{name}{SEAL_SUFFIX}", read_concern=majority, write_concern=DURABLE)
        )

    @classmethod
    def connect(cls, uri: str, name: str) -> MongoLedger:
        """Return the ledger at the URI, with its collections; raise ``Unavailable`` if the database does not answer."""
        ledger = cls(_client(uri), name, uri)
        try:
            with answering():
                ensure_indexes(ledger.seals, SEALS)
                ledger._be_there()
        except BaseException:
            ledger.close()
            raise
        return ledger

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process as the way to the same database: one connection of its own there, for good."""
        return _there, self._place

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def lead(self, holder: str, seconds: float) -> Lease | None:
        """Take or keep the lease for so long by the database's clock; return None while another holds it."""
        own, token = {"$eq": ["$holder", holder]}, {"$convert": {"input": "$token", "to": "long", **_NO_NUMBER}}
        unwanted = {"$or": [{"$eq": ["$wanted", holder]}, _is_over("$wanted_until")]}
        taken = {
            "holder": holder,
            "token": {"$cond": [own, token, {"$add": [token, 1]}]},
            "until": {"$add": ["$$NOW", int(seconds * 1000)]},
        }
        with answering():
            row = self.seals["lease"].find_one_and_update(
                {"_id": "lease", "$expr": {"$and": [{"$or": [own, _is_over("$until")]}, unwanted]}},
                [{"$set": taken}],
                return_document=pymongo.ReturnDocument.AFTER,
            )
            if row is None:
                self._be_there()
        return Lease(holder, int(row["token"])) if row else None

    def _be_there(self) -> None:
        """See that the lease's row is there, for whoever takes it next."""
        past = datetime.fromtimestamp(0, UTC)
        nobody = {"holder": "", "token": 0, "until": past, "wanted": "", "wanted_until": past}
        if not read_first(self.seals["lease"], {"_id": "lease"}):
            with suppress(DuplicateKeyError):
                self.seals["lease"].insert_one({"_id": "lease", **nobody})

    def claim(self, holder: str, seconds: float) -> None:
        """Ask that nobody else takes or keeps the lease for so long."""
        wanted = {"wanted": holder, "wanted_until": {"$add": ["$$NOW", int(seconds * 1000)]}}
        with answering():
            self.seals["lease"].update_one({"_id": "lease"}, [{"$set": wanted}])

    def release(self, lease: Lease) -> None:
        """Let another have the lease at once."""
        past = {"$subtract": ["$$NOW", 1]}
        claimed = {"$cond": [{"$eq": ["$wanted", lease.holder]}, past, "$wanted_until"]}
        with answering():
            self.seals["lease"].update_one(
                {"_id": "lease", "holder": lease.holder, "token": lease.token},
                [{"$set": {"until": past, "holder": "", "wanted_until": claimed}}],
            )

    def seal(self, lease: Lease, batch: Batch) -> None:
        """Write all of the batch or nothing; raise ``Fenced`` if the lease is another's by now, ``Occupied`` if some of it is there."""
        with answering(), self._client.start_session() as session:
            try:
                with session.start_transaction(read_concern=ReadConcern("snapshot"), write_concern=DURABLE):
                    self._write(lease, batch, session)
            except (DuplicateKeyError, BulkWriteError) as fault:
                if not _is_of_a_key(fault):
                    raise
                raise Occupied(
                    f"Head {batch.number}, or a run of its leaves, stands in the database and was not put there by who seals"
                ) from None

    def forget_runs(self, lease: Lease, leaf: int, limit: int) -> Sequence[Run]:
        """Take away and return up to ``limit`` of the runs from this leaf on, which no head holds.

        Raises ``Fenced`` if the lease is another's by now.
        """
        beyond = {"_id": {"$gte": leaf}}
        with answering(), self._client.start_session() as session:
            if not read_first(self.seals[RUNS], beyond):
                return ()
            with session.start_transaction(read_concern=ReadConcern("snapshot"), write_concern=DURABLE):
                self._hold(lease, {"$inc": {"cleared": 1}}, session)
                found = list(read_all(self.seals[RUNS], beyond, sort=[("_id", 1)], limit=limit, session=session))
                self.seals[RUNS].delete_many({"_id": {**beyond["_id"], "$lte": found[-1]["_id"]}}, session=session)
        return [run_of(row) for row in found]

    def _hold(self, lease: Lease, change: _Document, session: Any) -> None:
        """Change the lease's row within the transaction, so that nobody else takes it meanwhile."""
        held = {"_id": "lease", "holder": lease.holder, "token": lease.token}
        if not self.seals["lease"].update_one(held, change, session=session).matched_count:
            raise Fenced(f"the lease {lease.token} is another's by now")

    def _write(self, lease: Lease, batch: Batch, session: Any) -> None:
        self._hold(lease, {"$set": {"head": batch.number}}, session)
        self.seals[HEADS].insert_one({"_id": batch.number, "line": batch.line}, session=session)
        if batch.runs:
            self.seals[RUNS].insert_many([run_row(run) for run in batch.runs], session=session)
        if batch.tiles:
            tiles = [
                ReplaceOne({"_id": _tile_id(place)}, {"b": content}, upsert=True)
                for place, content in batch.tiles.items()
            ]
            self.seals["tiles"].bulk_write(tiles, ordered=False, session=session)
        if batch.links:
            links = [
                UpdateOne(
                    {"_id": f"{link.writer}/{link.epoch}"},
                    {"$set": {"n": link.number, "h": link.hash, "rec": link.recorded}},
                    upsert=True,
                )
                for link in batch.links
            ]
            self.seals["links"].bulk_write(links, ordered=False, session=session)

    def heads(self, after: int = 0) -> Iterator[bytes]:
        """Yield the lines of the signed heads after that number, in order; an empty one for what stands between them or is none."""
        with answering():
            heads = read_all(self.seals[HEADS], {"_id": {"$gt": after}}, sort=[("_id", 1)])
            for number, row in enumerate(heads, after + 1):
                yield _line(row) if is_whole(row["_id"]) and row["_id"] == number else b""

    def odd_heads(self) -> Iterator[str]:
        """Yield the ids of what lies among the heads and has no number."""
        with answering():
            for row in read_all(self.seals[HEADS], {"_id": {"$not": {"$type": WHOLE}}}, projection=["_id"]):
                yield str(row["_id"])

    @offloaded
    def head(self, number: int | None = None) -> bytes | None:
        """Return the line of one head, or of the last."""
        with answering():
            wanted = {"$type": WHOLE} if number is None else number
            row = read_first(self.seals[HEADS], {"_id": wanted}, sort=[("_id", -1)])
        return _line(row) if row else None

    def acknowledged(self, number: int, witness: str) -> None:
        """Remember that a witness has acknowledged a head."""
        with answering():
            self.seals["witnesses"].update_one({"_id": witness}, {"$max": {"n": number}}, upsert=True)

    @offloaded
    def witnessed(self, witness: str | None = None) -> int:
        """Return the number of the last head that this witness, or any, has acknowledged; 0 if none has."""
        with answering():
            row = read_first(self.seals["witnesses"], {} if witness is None else {"_id": witness}, sort=[("n", -1)])
        return int(row["n"]) if row else 0

    @offloaded
    def tiles(self, places: Sequence[TilePlace]) -> Mapping[TilePlace, bytes]:
        """Return what these tiles hold, those that exist; what holds no bytes is none."""
        wanted = {_tile_id(place): place for place in places}
        with answering():
            rows = read_all(self.seals["tiles"], {"_id": {"$in": list(wanted)}})
            return {wanted[row["_id"]]: row["b"] for row in rows if is_bytes(row.get("b"))}

    def links(self, keys: Sequence[tuple[str, str]] | None = None) -> Iterator[Link]:
        """Yield how far each epoch is sealed that is sealed at all: all of them, or these by writer and epoch. What is no link is left out."""
        wanted = {} if keys is None else {"_id": {"$in": [f"{writer}/{epoch}" for writer, epoch in keys]}}
        with answering():
            for row in read_all(self.seals["links"], wanted):
                link = _linked(row)
                if link is not None:
                    yield link

    def writers(self, periods: Iterable[str]) -> frozenset[str]:
        """Return who wrote rows that these periods keep: the index of places is passed through from each to the next."""
        with answering():
            return frozenset(writer for period in periods for writer in self.log[period].distinct("w", _TEXT))

    @offloaded
    def place_of(self, event_id: str) -> tuple[Row, int | None] | None:
        """Return the row with this id, and the number of its leaf if it has one yet."""
        with answering():
            for period in months_of(self.log, event_id):
                row = row_of(self.log[period], event_id)
                if row is not None:
                    return row, self.leaf_of(row)
        return None

    def periods(self) -> list[str]:
        """Return the periods that are kept, oldest first."""
        with answering():
            return months(self.log)

    def odd_indexes(self, period: str) -> Iterator[str]:
        """Yield in words what of the period is not as the log makes it: how it is made, and others' indexes under the log's own names.

        Events that are there may not be found by them. An index that lacks makes what it is for slower, but for that of blocks: nobody is
        answered without it.
        """
        with answering():
            if told := odd_options(self.log[period]):
                yield f"{period} is not as the log made it: it has {', '.join(told)}"
            if "viewOn" in told:
                return
            for odd in odd_indexes(self.log[period]):
                if odd.differs or (odd.name == BY_ID and read_first(self.log[period], BLOCK, projection=["_id"])):
                    yield str(odd)


@lru_cache(maxsize=1)
def _there(uri: str, name: str) -> MongoLedger:
    return MongoLedger(_client(uri), name, uri)


def _client(uri: str) -> MongoClient[_Document]:
    return MongoClient(uri, serverSelectionTimeoutMS=2000, connectTimeoutMS=2000, socketTimeoutMS=SOCKET_MILLIS)


def remove_month(uri: str, name: str, period: str) -> None:
    """Drop the rows of a period, as somebody who may; raise ``Unavailable`` if that fails."""
    with answering(), MongoClient[_Document](uri, serverSelectionTimeoutMS=5000) as owner:
        owner[f"{name}{LOG_SUFFIX}"].drop_collection(period)


def _line(row: _Document) -> bytes:
    """Return the line of a head as it is stored; an empty one, which is no head, if that is none."""
    line = row.get("line")
    return line if isinstance(line, bytes) else b""


def _linked(row: _Document) -> Link | None:
    """Return the link that is stored so, None if it is none."""
    if not (is_text(row["_id"]) and is_bytes(row.get("h")) and is_whole(row.get("n")) and is_whole(row.get("rec"))):
        return None
    writer, _, epoch = row["_id"].partition("/")
    return Link(writer, epoch, int(row["n"]), row["h"], int(row["rec"]))


def _is_over(until: str) -> _Document:
    """Return the expression for whether this time is over; what is no time, or one that nobody of ours wrote, is."""
    far = {"$gt": [until, {"$add": ["$$NOW", _LONGEST]}]}
    return {"$or": [{"$ne": [{"$type": until}, "date"]}, {"$lt": [until, "$$NOW"]}, far]}


def _is_of_a_key(fault: OperationFailure) -> bool:
    """Tell whether a write was refused for a key that is there."""
    errors = (fault.details or {}).get("writeErrors") or [{"code": fault.code}]
    return all(each.get("code") == _DUPLICATE for each in errors)


def _tile_id(place: TilePlace) -> str:
    return f"{place[0]}/{place[1]}"

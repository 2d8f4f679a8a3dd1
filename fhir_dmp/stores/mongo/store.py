"""The store port on MongoDB. https://www.mongodb.com/docs/manual/core/transactions/.

Reads are of what a majority has; by-id reads that wait together share one query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pymongo
import structlog
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from fhir_dmp.clock import SECOND, Clock, moment
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.fibres import offloaded
from fhir_dmp.settings import Settings
from fhir_dmp.store.change import Commit, Event, Stored
from fhir_dmp.store.grants import PolicyRow
from fhir_dmp.store.port import Counted, EventPart, Found, HistoryPage, Page, Scope, Tally
from fhir_dmp.store.query import Query, end_of
from fhir_dmp.stores.mongo.chain import DURABLE, Chain, Epochs
from fhir_dmp.stores.mongo.commit import Stamps, WriteCommitter
from fhir_dmp.stores.mongo.connect import QUERY_MILLIS, connected
from fhir_dmp.stores.mongo.documents import LOG, LOG_SUFFIX, SEAL_SUFFIX
from fhir_dmp.stores.mongo.events import EventCommitter
from fhir_dmp.stores.mongo.faults import answering
from fhir_dmp.stores.mongo.finder import Fields, Finder
from fhir_dmp.stores.mongo.flights import Flights
from fhir_dmp.stores.mongo.history import MongoHistory
from fhir_dmp.stores.mongo.ledger import MongoLedger
from fhir_dmp.stores.mongo.log import MongoLog
from fhir_dmp.stores.mongo.months import Months
from fhir_dmp.stores.mongo.policies import MongoPolicies
from fhir_dmp.stores.mongo.prepare import ensure_indexes
from fhir_dmp.stores.mongo.recent import RecentRows
from fhir_dmp.stores.mongo.search import MongoSearch
from fhir_dmp.stores.mongo.stored import UNSEARCHED, stored_of
from fhir_dmp.stores.mongo.together import Together
from fhir_dmp.stores.mongo.users import may_alter_log

SKEW_SECONDS = 1.0
"""The most by which the clocks of two workers are believed to differ."""

_Row = dict[str, Any]
_log = structlog.get_logger(__name__)


class MongoStore:
    """``store.port.Store`` on one MongoDB database; made once for each process, after any fork."""

    def __init__(self, client: MongoClient[_Row], name: str, clock: Clock, settings: Settings) -> None:
        self.database: Database[_Row] = client.get_database(name, write_concern=DURABLE)
        self._name = name
        self.log: Database[_Row] = client.get_database(f"{name}{LOG_SUFFIX}", write_concern=DURABLE)
        self._logged = MongoLog(self.log)
        self._client = client
        self._for_one, self._for_many = Finder(self.database), Finder(self.database)
        self._clock = clock
        self._commit_seconds = settings.commit_timeout_seconds
        majority = ReadConcern("majority")
        self._current = self.database.get_collection("current", read_concern=majority)
        self._versions = self.database.get_collection("versions", read_concern=majority)
        self._searched = MongoSearch(self._current, self._for_one)
        self._history = MongoHistory(client, self._current, self._versions)
        self._together = Together(partial(self._fetch, fields=UNSEARCHED))
        self._together_whole = Together(self._fetch)
        self._policies = MongoPolicies(self.database.get_collection("grants", read_concern=majority), self._for_many)
        self._marks = self.database.get_collection("loads", read_concern=majority)
        number = self._number()
        self.first = number == 1
        """Whether this is the first process that ever wrote to the database."""

        self._months = Months(self.log)
        epochs = Epochs(self.log, client.get_database(f"{name}{SEAL_SUFFIX}"), clock)
        self.recent = RecentRows()
        """What was made durable lately, for who seals."""

        kinds: list[Flights[Any]] = []
        within = settings.audit_timeout_seconds
        self._events = EventCommitter(self._months, epochs, Chain(f"{number}r", self.recent), within, kinds)
        stamps, writing = Stamps(clock, number), Chain(f"{number}w", self.recent)
        self._writes = WriteCommitter(self.database, self._months, epochs, writing, stamps, self._commit_seconds, kinds)

    @classmethod
    def connect(cls, uri: str, name: str, *, clock: Clock, settings: Settings) -> MongoStore:
        """Return the store at the URI, with its indexes; raise ``Unavailable`` saying what is wrong with the database."""
        client = connected(uri, settings)
        try:
            with answering():
                ensure_indexes(client.get_database(name, write_concern=DURABLE))
                ensure_indexes(client.get_database(f"{name}{LOG_SUFFIX}", write_concern=DURABLE), LOG)
                return cls(client, name, clock, settings)
        except BaseException:
            client.close()
            raise

    def close(self) -> None:
        """Close the epochs, if the database still answers, and the connections; nobody waits for an answer any more.

        An epoch of which rows are under way stays open: they may be stored yet, after whatever would be told as the last.
        """
        try:
            landed = [committer.close() for committer in (self._events, self._writes)]
            if not all(landed):
                _log.warning("epochs-left-open", fault="under way")
        except PyMongoError as fault:
            _log.warning("epochs-left-open", fault=type(fault).__name__)
        self._client.close()

    def may_alter_log(self) -> bool:
        """Tell whether the database's user could change or remove rows of the log, which nobody here needs to."""
        with answering():
            return may_alter_log(self._client, self._name)

    def ledger(self) -> MongoLedger:
        """Return the sealed log, to be read over the same connections."""
        return MongoLedger(self._client, self._name)

    def find_current(self, ref: Ref, *, with_index: bool = True) -> Stored | None:
        """Return the present row of ``ref``, by a query shared with those who wait."""
        return (self._together_whole if with_index else self._together).find(str(ref))

    def find_many(self, refs: Sequence[Ref], *, with_index: bool = True) -> Mapping[Ref, Stored]:
        """Return the present rows of those of ``refs`` that exist, by a query shared with those who wait."""
        if not refs:
            return {}
        found = (self._together_whole if with_index else self._together).find_many([str(ref) for ref in refs])
        return {ref: found[str(ref)] for ref in refs if str(ref) in found}

    def find_version(self, ref: Ref, version: int) -> Stored | None:
        """Return one version, whether present or superseded."""
        current = self.find_current(ref, with_index=False)
        if current is not None and current.version == version:
            return current
        return self._find_older(ref, version)

    def _find_older(self, ref: Ref, version: int) -> Stored | None:
        rows = self._for_one.named(self._versions, (f"{ref}/{version}",), {})
        return stored_of(rows[0]) if rows else None

    def find_policies(self, patients: Sequence[str]) -> Mapping[str, PolicyRow]:
        """Return what opens these records, by a query shared with those who wait."""
        return self._policies.of(patients)

    def policies_naming(self, names: Sequence[str], limit: int) -> tuple[PolicyRow, ...]:
        """Return up to ``limit`` policies that name one of these, by a query shared with those who ask the same."""
        return self._policies.naming(names, limit)

    @offloaded
    def policies_after(self, patient: str, limit: int) -> tuple[PolicyRow, ...]:
        """Return a page of all policies, by their patients."""
        return self._policies.after(patient, limit)

    def search(self, query: Query, page: Page) -> Found:
        """Return a page of present rows that meet the query."""
        return self._searched.page(query, page)

    def find_each(self, queries: Sequence[Query]) -> tuple[tuple[Stored, ...], ...]:
        """Return for each query none, the one, or two of the present rows that meet it."""
        return self._searched.each(queries)

    @offloaded
    def count(self, query: Query, limit: int | None = None) -> int:
        """Return how many present rows meet the query."""
        return self._searched.count(query, limit)

    def concerned(self, query: Query, limit: int) -> tuple[Stored, ...]:
        """Return whose present rows meet the query."""
        return self._searched.concerned(query, limit)

    @offloaded
    def keys(self, query: Query, prefix: str | None, limit: int) -> tuple[str, ...]:
        """Return up to ``limit`` ids of the rows that meet the query, or of their tokens with the prefix."""
        return self._searched.keys(query, prefix, limit)

    @offloaded
    def tokens(self, query: Query, starts: tuple[str, ...], limit: int) -> tuple[tuple[str, ...], ...]:
        """Return the different sets of tokens with one of these beginnings that rows which meet the query have."""
        return self._searched.tokens(query, starts, limit)

    @offloaded
    def history(self, scope: Scope, page: HistoryPage) -> Found:
        """Return versions, newest first."""
        return self._history.page(scope, page)

    @offloaded
    def history_count(self, scope: Scope, before: str | None = None) -> int:
        """Return how many versions the scope holds, at one moment."""
        return self._history.count(scope, before)

    @offloaded
    def history_concerned(self, scope: Scope, limit: int, before: str | None = None) -> tuple[Stored, ...]:
        """Return whose versions the scope holds."""
        return self._history.concerned(scope, limit, before)

    def horizon(self) -> int:
        """Return the moment before which no commit can still appear."""
        return self._clock.micros() - int((self._commit_seconds * 2 + SKEW_SECONDS) * SECOND)

    def newest(self) -> str:
        """Return a ``co`` that bounds what exists now."""
        return f"{moment(self._clock.micros())}ffff"

    def commit(self, commit: Commit) -> tuple[Stored, ...]:
        """Make all changes and events durable or none, and return the new versions in order."""
        return self._writes.commit(commit)

    def record(self, event: Event) -> None:
        """Make one event durable, in a group with those that wait beside it."""
        self._events.record(event)

    @offloaded
    def find_event(self, event_id: str) -> Event | None:
        """Return one row of the audit log."""
        return self._logged.find(event_id)

    @offloaded
    def search_events(
        self, query: Query, limit: int, after: tuple[Any, ...] | None = None, *, oldest_first: bool = False
    ) -> tuple[tuple[EventPart, ...], tuple[Any, ...] | None]:
        """Return a page of the AuditEvents of the log, newest or oldest first, and the keys to go on from."""
        return self._logged.search(query, limit, after, oldest_first=oldest_first)

    @offloaded
    def count_events(self, query: Query, limit: int = 0) -> Counted:
        """Return how many AuditEvents meet the query, told and lost, and ids of up to ``limit`` rows of those that are lost."""
        return self._logged.count(query, limit)

    @offloaded
    def tally_events(self, query: Query, limit: int) -> tuple[Tally, ...] | None:
        """Return how many AuditEvents meet the query for each day and actor; None for more than ``limit`` of these."""
        return self._logged.tally(query, limit)

    @offloaded
    def has_mark(self, mark: str) -> bool:
        """Tell whether a commit carried this mark."""
        with answering():
            return self.database["loads"].find_one({"_id": mark}) is not None

    @offloaded
    def marks(self, prefix: str) -> tuple[str, ...]:
        """Return the marks that begin so, as a majority has them."""
        bounds = {"_id": {"$gte": prefix, "$lt": end_of(prefix)}}
        with answering():
            return tuple(row["_id"] for row in self._marks.find(bounds).sort("_id").max_time_ms(QUERY_MILLIS))

    @offloaded
    def forget_mark(self, mark: str) -> None:
        """Take the mark away."""
        with answering():
            self._marks.delete_one({"_id": mark})

    @offloaded
    def ready(self) -> bool:
        """Tell whether the database takes a durable write now."""
        try:
            self.database["writers"].update_one({"_id": "probe"}, {"$set": {"at": self._clock.now()}}, upsert=True)
        except PyMongoError:
            return False
        return True

    def _number(self) -> int:
        row = self.database["writers"].find_one_and_update(
            {"_id": "numbers"}, {"$inc": {"n": 1}}, upsert=True, return_document=pymongo.ReturnDocument.AFTER
        )
        return int(row["n"]) if row else 0

    def _fetch(self, ids: Sequence[str], fields: Fields | None = None) -> Mapping[str, Stored]:
        """Return the rows."""
        return {row["_id"]: stored_of(row) for row in self._for_many.named(self._current, ids, fields or {})}

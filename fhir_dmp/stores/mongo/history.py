"""Versions of resources, newest first: the present ones and those that were superseded.

A version is in one of two collections, and moves from the first to the second when the next one is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pymongo import MongoClient
from pymongo.collection import Collection

from fhir_dmp.clock import moment
from fhir_dmp.store.change import Stored
from fhir_dmp.store.port import Found, HistoryPage, Scope
from fhir_dmp.stores.mongo.compile import compile_query
from fhir_dmp.stores.mongo.connect import QUERY_MILLIS
from fhir_dmp.stores.mongo.faults import answering
from fhir_dmp.stores.mongo.stored import CONCERNED, UNSEARCHED, stored_of

_Row = dict[str, Any]


class MongoHistory:
    """What ``store.port.Store`` tells of versions; whoever calls waits."""

    def __init__(self, client: MongoClient[_Row], current: Collection[_Row], versions: Collection[_Row]) -> None:
        self._client = client
        self._current = current
        self._versions = versions

    def page(self, scope: Scope, page: HistoryPage) -> Found:
        """Return versions, newest first. ``current`` is read before ``versions``, so that none is missed as it moves."""
        limit = page.limit + 1
        fields = {} if page.with_index else UNSEARCHED
        rows: dict[str, _Row] = {}
        with answering():
            for collection, wanted in self._wanted(scope, page):
                found = collection.find(wanted, fields).sort("lu", -1).limit(limit)
                for row in found.max_time_ms(QUERY_MILLIS):
                    rows.setdefault(row["lu"], row)
        newest = sorted(rows.values(), key=lambda row: str(row["lu"]), reverse=True)
        shown = newest[: page.limit]
        stored = tuple(stored_of(row) for row in shown)
        return Found(stored, len(newest) > page.limit, (shown[-1]["lu"],) if shown else None)

    def count(self, scope: Scope, before: str | None) -> int:
        """Return how many versions the scope holds, at one moment: a version that moves meanwhile counts once."""
        with answering(), self._client.start_session(snapshot=True) as session:
            return sum(
                collection.count_documents(wanted, session=session, maxTimeMS=QUERY_MILLIS)
                for collection, wanted in self._wanted(scope, HistoryPage(0, before))
            )

    def concerned(self, scope: Scope, limit: int, before: str | None) -> tuple[Stored, ...]:
        """Return up to ``limit`` versions of either kind that the scope holds, without bodies: whose they are, and their labels."""
        with answering():
            found = [
                collection.find(wanted, CONCERNED).limit(limit).max_time_ms(QUERY_MILLIS)
                for collection, wanted in self._wanted(scope, HistoryPage(0, before))
            ]
            return tuple(stored_of(row) for rows in found for row in rows)

    def _wanted(self, scope: Scope, page: HistoryPage) -> Iterator[tuple[Collection[_Row], _Row]]:
        allowed, moments = compile_query(scope.allowed), _moments(scope, page)
        yield self._current, {"$and": [allowed, _current_ids(scope), moments]}
        yield self._versions, {"$and": [allowed, _version_ids(scope), moments]}


def _current_ids(scope: Scope) -> _Row:
    if scope.id is not None:
        return {"_id": f"{scope.type}/{scope.id}"}
    return {"ty": scope.type} if scope.type else {}


def _version_ids(scope: Scope) -> _Row:
    present = {} if scope.at is None else {"un": {"$gte": moment(scope.at + 1)}}
    if scope.id is not None:
        return {"_id": {"$gte": f"{scope.type}/{scope.id}/", "$lt": f"{scope.type}/{scope.id}0"}, **present}
    return {"ty": scope.type, **present} if scope.type else present


def _moments(scope: Scope, page: HistoryPage) -> _Row:
    bounds: _Row = {}
    if scope.since is not None:
        bounds["$gte"] = moment(scope.since)
    if page.before is not None:
        bounds["$lt"] = page.before
    return {"lu": bounds} if bounds else {}

"""Present rows that meet a query: a page of them in an order, how many they are, and what stands in them.

Lists page by keys, never by skipping.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from os.path import commonprefix
from typing import Any

from bson.decimal128 import Decimal128
from bson.int64 import Int64
from pymongo.collection import Collection

from fhir_dmp.fibres import offload
from fhir_dmp.store.change import Stored
from fhir_dmp.store.port import Found, Order, Page
from fhir_dmp.store.query import Query, end_of
from fhir_dmp.stores.mongo import walk
from fhir_dmp.stores.mongo.compile import compile_query, to_value
from fhir_dmp.stores.mongo.connect import QUERY_MILLIS
from fhir_dmp.stores.mongo.each import rows_of_each
from fhir_dmp.stores.mongo.faults import answering
from fhir_dmp.stores.mongo.finder import Fields, Finder
from fhir_dmp.stores.mongo.keyset import RISING, UNIQUE, after_filter, dated, plain_sort, sort_stages, undated
from fhir_dmp.stores.mongo.stored import CONCERNED, UNSEARCHED, stored_of

_PRESENT = {"del": {"$exists": False}}
_Row = dict[str, Any]


class MongoSearch:
    """What ``store.port.Store`` finds among the present rows; of ``count``, ``keys`` and ``tokens`` whoever calls waits."""

    def __init__(self, current: Collection[_Row], finder: Finder) -> None:
        self._current = current
        self._finder = finder

    def page(self, query: Query, page: Page) -> Found:
        """Return a page of present rows that meet the query."""
        wanted = _present(query)
        if page.bound is not None:
            wanted = {"$and": [wanted, {"co": {"$lte": page.bound}}]}
        fields = {} if page.with_index else UNSEARCHED
        order = _ordered(page.order)
        found = self._find if plain_sort(order) else self._sorted
        rows = found(wanted, order, page, fields)
        shown = rows[: page.limit]
        last = _keys(shown[-1], order) if shown else None
        return Found(tuple(stored_of(row) for row in shown), len(rows) > page.limit, last)

    def each(self, queries: Sequence[Query]) -> tuple[tuple[Stored, ...], ...]:
        """Return for each query none, the one, or two of the present rows that meet it."""

        def find(wanted: _Row, limit: int) -> Sequence[_Row]:
            return self._finder.rows(self._current, wanted, {}, limit=limit, batchSize=limit)

        return tuple(tuple(map(stored_of, rows)) for rows in rows_of_each(queries, 2, find))

    def count(self, query: Query, limit: int | None = None) -> int:
        """Return how many present rows meet the query."""
        with answering():
            options: dict[str, Any] = {"maxTimeMS": QUERY_MILLIS}
            if limit is not None:
                options["limit"] = limit
            return self._current.count_documents(_present(query), **options)

    def concerned(self, query: Query, limit: int) -> tuple[Stored, ...]:
        """Return up to ``limit`` present rows that meet the query, without bodies: whose they are, and their labels."""
        rows = self._finder.rows(self._current, _present(query), CONCERNED, limit=limit, batchSize=limit + 1)
        return tuple(map(stored_of, rows))

    def keys(self, query: Query, prefix: str | None, limit: int) -> tuple[str, ...]:
        """Return up to ``limit`` ids of the rows that meet the query, or of their tokens with the prefix."""
        if prefix is None:
            rows = self._finder.rows(self._current, _present(query), {"_id": 1}, limit=limit, batchSize=limit + 1)
            return tuple(row["_id"] for row in rows)
        found: dict[str, None] = {}
        with answering():
            for held in self._held(query, prefix):
                found.update((item[len(prefix) :], None) for item in held)
                if len(found) >= limit:
                    break
        return tuple(found)[:limit]

    def tokens(self, query: Query, starts: tuple[str, ...], limit: int) -> tuple[tuple[str, ...], ...]:
        """Return the different sets of tokens with one of these beginnings that rows which meet the query have."""
        found: dict[tuple[str, ...], None] = {}
        with answering():
            for tokens in self._held(query, commonprefix(starts)):  # noqa: RUF071 - of texts, which are no paths
                if held := tuple(item for item in tokens if item.startswith(starts)):
                    found[held] = None
                    if len(found) >= limit:
                        break
        return tuple(found)

    def _held(self, query: Query, start: str) -> Iterator[Sequence[str]]:
        """Yield of each present row that meets the query its tokens that begin so: the database picks them out of dozens."""
        among = (
            [{"$gte": ["$$token", {"$literal": start}]}, {"$lt": ["$$token", {"$literal": end_of(start)}]}]
            if start
            else []
        )
        picked = {"$filter": {"input": "$t", "as": "token", "cond": {"$and": among}}}
        for row in self._current.find(_present(query), {"_id": 0, "t": picked}, max_time_ms=QUERY_MILLIS):
            yield row["t"]

    def _find(self, wanted: _Row, order: tuple[Order, ...], page: Page, fields: Fields) -> Sequence[_Row]:
        if page.after is not None:
            wanted = {"$and": [wanted, after_filter(order, page.after)]}
        keys = [(each.field, -1 if each.descending else 1) for each in order]
        most = page.limit + 1
        # the batch has room for one more: of sorted rows the database tells that they end only when it is asked for the next
        return self._finder.rows(self._current, wanted, fields, sort=dict(keys), limit=most, batchSize=most + 1)

    def _sorted(self, wanted: _Row, order: tuple[Order, ...], page: Page, fields: Fields) -> Sequence[_Row]:
        """Return rows in an order that no index gives as it is."""
        if order == RISING:
            return self._rising(wanted, page, fields)
        with answering():
            return offload(partial(self._sought, wanted, order, page, fields))

    def _sought(self, wanted: _Row, order: tuple[Order, ...], page: Page, fields: Fields) -> Sequence[_Row]:
        """Return sorted rows; of many, those of the page alone are looked at if they can be walked to."""
        if walk.leads_to_places(order) and walk.are_many(self._current, wanted):
            found = self._walked(wanted, order, page, fields)
            if found is not None:
                return found
        return list(self._aggregate(wanted, order, page, fields))

    def _walked(self, wanted: _Row, order: tuple[Order, ...], page: Page, fields: Fields) -> Sequence[_Row] | None:
        """Return rows of many in an order that leads to places, if they can be walked to."""
        start = walk.start_of(order)
        if start is not None:
            return walk.walk(self._current, wanted, start, page.after, page.limit + 1, fields)
        for window in walk.windows(self._current, wanted, order, page.after, page.limit + 1):
            found = list(self._aggregate({"$and": [wanted, window]}, order, page, fields))
            if len(found) > page.limit:
                return found
        return None

    def _rising(self, wanted: _Row, page: Page, fields: Fields) -> Sequence[_Row]:
        """Return rows by their main date upwards, and behind them those that have none."""
        found: list[_Row] = []
        if page.after is None or page.after[0] is not None:
            found += self._find({"$and": [wanted, dated(page.after)]}, RISING, page, fields)
        if len(found) <= page.limit:
            rest = page.limit + 1 - len(found)
            without = {"$and": [wanted, undated(page.after)]}
            found += self._finder.rows(self._current, without, fields, sort={"co": -1}, limit=rest, batchSize=rest + 1)
        return found

    def _aggregate(self, wanted: _Row, order: tuple[Order, ...], page: Page, fields: Fields) -> Any:
        after = None if page.after is None else [to_value(key) for key in page.after]
        stages = [{"$match": wanted}, *sort_stages(order, after), {"$limit": page.limit + 1}]
        if fields:
            stages.append({"$project": {**fields, "_k": 1}})
        return self._current.aggregate(stages, maxTimeMS=QUERY_MILLIS)


def _present(query: Query) -> _Row:
    wanted = compile_query(query)
    return {**wanted, **_PRESENT} if "del" not in wanted else {"$and": [wanted, _PRESENT]}


def _ordered(order: tuple[Order, ...]) -> tuple[Order, ...]:
    return order if order and order[-1].field in UNIQUE else (*order, Order("co"))


def _keys(row: _Row, order: tuple[Order, ...]) -> tuple[Any, ...]:
    found = row.get("_k") or [row.get(each.field) for each in order]
    return tuple(_plain(key) for key in found)


def _plain(key: Any) -> Any:
    """Return the key without the database's own number types."""
    if isinstance(key, Decimal128):
        return key.to_decimal()
    return int(key) if isinstance(key, Int64) else key

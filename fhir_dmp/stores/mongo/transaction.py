"""One MongoDB transaction as the commands it is made of. https://www.mongodb.com/docs/manual/reference/command/.

The driver's collections cost more than what they send: a command that is sent as it is takes half their time. What a collection does
beside that is done here: a write that the database refuses is an error, and many rows go in messages that it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import OperationFailure

MESSAGE = 16_000_000
"""Bytes of rows in one command; MongoDB takes 48,000,000."""

_ENTRY = 400
"""Bytes that an index entry takes at most, near enough."""

_LISTS = ("t", "r", "w")
_Row = dict[str, Any]


class Transaction:
    """Commands on the records' ``database`` within the transaction of the session."""

    def __init__(self, database: Database[_Row], session: ClientSession) -> None:
        self._database = database
        self._session = session

    def find(self, collection: str, wanted: _Row, fields: _Row, *, limit: int = 0) -> Iterator[_Row]:
        """Yield the rows that meet the filter."""
        command = {"find": collection, "filter": wanted, "projection": fields, "limit": limit}
        cursor = self._command({**command, "batchSize": limit} if limit else command)["cursor"]
        yield from cursor["firstBatch"]
        while cursor["id"]:
            cursor = self._command({"getMore": cursor["id"], "collection": collection})["cursor"]
            yield from cursor["nextBatch"]

    def insert(self, collection: str, rows: Sequence[_Row], database: Database[_Row] | None = None) -> None:
        """Add the rows, to another ``database`` if one is named; raise ``OperationFailure`` if one is there already."""
        for some in _messages(rows, _size):
            _checked(self._command({"insert": collection, "documents": some}, database))

    def replace(self, collection: str, rows: Iterable[tuple[_Row, _Row]]) -> int:
        """Put each row in the place of the one that meets its filter; return how many did."""
        return self._update(collection, [{"q": asked, "u": row} for asked, row in rows])

    def update(self, collection: str, steps: Iterable[tuple[_Row, Any]]) -> None:
        """Apply each change to all rows that meet its filter."""
        self._update(collection, [{"q": asked, "u": change, "multi": True} for asked, change in steps])

    def upsert(self, collection: str, steps: Iterable[tuple[_Row, Any]]) -> None:
        """Apply each change to the row that its filter names, which is made if it is not there."""
        self._update(collection, [{"q": asked, "u": change, "upsert": True} for asked, change in steps])

    def delete(self, collection: str, wanted: _Row) -> None:
        """Remove the rows that meet the filter."""
        _checked(self._command({"delete": collection, "deletes": [{"q": wanted, "limit": 0}]}))

    def _update(self, collection: str, steps: Sequence[_Row]) -> int:
        """Return how many rows the steps met, or made."""
        answers = (
            _checked(self._command({"update": collection, "updates": some, "ordered": False}))
            for some in _messages(steps, lambda step: _size(step["u"]))
        )
        return sum(answer["n"] for answer in answers)

    def _command(self, command: _Row, database: Database[_Row] | None = None) -> Mapping[str, Any]:
        return (self._database if database is None else database).command(command, session=self._session)


def _size(row: Any) -> int:
    if not isinstance(row, dict):
        return _ENTRY
    return len(row.get("b", b"")) + _ENTRY * (5 + sum(len(row.get(name, ())) for name in _LISTS))


def _messages(rows: Sequence[_Row], size: Callable[[_Row], int]) -> Iterator[list[_Row]]:
    """Yield the rows in their order, as many together as one message carries."""
    some: list[_Row] = []
    total = 0
    for row in rows:
        total += (own := size(row))
        if some and total > MESSAGE:
            yield some
            some, total = [], own
        some.append(row)
    if some:
        yield some


def _checked(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the answer; raise ``OperationFailure`` if it tells that a row was not written."""
    refused = answer.get("writeErrors")
    if refused:
        raise OperationFailure("the database refused to write", refused[0].get("code"), {**answer})
    return answer

"""Whether a row of the log stands in time: the one rule, as the database and as we judge it.

A moment is a whole number of microseconds, int or long: we write no others, and of those alone both sides make the same. A row alone
stands at its own. Of a block each stands at its own if all have one, the latest is that of the block and none is more than ``SPAN``
before; else all stand where the block does (``block_rows.moments_in``, ``in_blocks.SOUND``). Who stands within the month that keeps it is told
and counted, who does not is lost: each row is one of both.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pymongo.collection import Collection

from fhir_dmp.store.query import Between, Query
from fhir_dmp.stores.mongo.blocks import SPAN, WHOLE
from fhir_dmp.stores.mongo.exact import is_whole

_Row = dict[str, Any]
_Expression = Any


IS_MOMENT: _Row = {"rec": {"$not": {"$type": ["double", "decimal", "array"]}}}
"""What documents meet that have a moment, of those that lie within bounds: nothing else does."""


class Month(NamedTuple):
    """The rows of a month, from its first moment until, without, that of the next."""

    rows: Collection[_Row]
    since: int
    until: int

    @property
    def within(self) -> Query:
        """What all rows meet that stand in the month, said so that an index finds them; a list or a fraction may, too."""
        return Between("rec", self.since, self.until)

    def has(self, moment: _Expression) -> _Expression:
        """Return the expression for whether a row that is recorded then stands in the month."""
        return _is_within(moment, self.since, self.until)

    @property
    def has_all(self) -> _Expression:
        """The expression for whether all rows of a document do, whatever their own moments are: nearly always, and it costs less."""
        return _is_within("$rec", self.since + SPAN, self.until)


def moment_of(document: _Row) -> int | None:
    """Return when the last of its rows was recorded; None for what is no moment: none of them stands in time."""
    recorded: Any = document.get("rec")
    return int(recorded) if is_whole(recorded) else None


def _is_within(moment: _Expression, since: int, until: int) -> _Expression:
    return {"$and": [{"$gte": [moment, since]}, {"$lt": [moment, until]}, {"$in": [{"$type": moment}, WHOLE]}]}

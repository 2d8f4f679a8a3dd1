"""Many small questions asked as one: which rows meet each of several queries.

A transaction with conditional entries asks a question for each of them, twice: when its Plan is made and within its commit. One
by one they were a round trip each, and most of its time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from fhir_dmp.store.matching import matches
from fhir_dmp.store.query import Eq, Not, Query, both, together
from fhir_dmp.stores.mongo.compile import compile_query, from_row

TOGETHER = 100
"""Questions that make one query."""

SPARE = 100
"""Rows beyond one for each question that a query may bring before the questions are asked one by one."""

_PRESENT = Not(Eq("del", value=True))
_Row = dict[str, Any]
Find = Callable[[_Row, int], Iterable[_Row]]


def rows_of_each(queries: Sequence[Query], most: int, find: Find) -> Iterator[list[_Row]]:
    """Yield for each query up to ``most`` present rows that meet it; ``find`` takes a filter and a limit."""
    for start in range(0, len(queries), TOGETHER):
        some = queries[start : start + TOGETHER]
        limit = len(some) + SPARE
        rows = [] if len(some) == 1 else list(find(compile_query(both(together(some), _PRESENT)), limit))
        if len(some) == 1 or len(rows) == limit:
            yield from (list(find(compile_query(both(query, _PRESENT)), most)) for query in some)
            continue
        known = [from_row(row) for row in rows]
        yield from ([row for row in known if matches(query, row)][:most] for query in some)

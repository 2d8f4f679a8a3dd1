"""Rows of the log as documents: a row alone is one, rows that became durable together lie in blocks of many.

A document costs the database a key in each index and a line in its own log, and the writer a document to encode: for 26 rows
it worked 1.9 ms where each was a document, and 1.1 where they were a block (measured), which takes little more than half of the room besides.
Neither the chain nor the tree knows of blocks: whoever reads takes them apart, and each row is what it was.

A row alone is what ``store.chain.Row`` is: ``_id``, ``rec``, ``w``, ``e``, ``n``, ``p``, ``h``, ``b`` (its text, packed), ``s`` (what lies
beside it, packed) and its index (``audit.index``). A block is

=====================  =================================================================================================
``_id``                the id of the first row; ``n``, ``p``: its number, and what it follows on
``rec``                when the latest was recorded; none was more than ``SPAN`` before
``t``, ``u``, ``pt``   what any of the rows is found by
``size``               how many rows there are; ``m``: how many AuditEvents, if any of the rows has several
``h``                  their hashes, one after the other
``b``                  their texts, one after the other, packed
``rows``               of each: ``i`` (its id), ``rec``, ``l`` (bytes of its text), where its own ``t``, ``u`` and ``pt`` stand in
                       those of the block, and ``m``, ``x``, ``c``, ``cu`` and ``s`` as a row alone has them
=====================  =================================================================================================

A row that has anything else (who may not see it, moments of its own) stands alone: by that it is found as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fhir_dmp.store.chain import Row
from fhir_dmp.stores.mongo.packing import pack

MOST_ROWS = 64
"""Rows of a block. Those of a log that exists are no larger: who looks for a row looks so far back for the block that has it."""

SPAN = 250_000
"""Microseconds that rows of a block may lie apart: whoever pages looks so far beyond the page."""

MOST_BYTES = 1_000_000
"""Bytes of the texts of a block, and of what lies beside them: whoever wants one row unpacks them all."""

ID = "rows.i"
"""Where blocks have the ids of their rows."""

SINGLE: dict[str, Any] = {"rows": {"$exists": False}}
BLOCK: dict[str, Any] = {"rows": {"$exists": True}}

WHOLE = ["int", "long"]
"""The types of whole numbers."""

_HAS_SIZE = [{"$isArray": ["$rows"]}, {"$in": [{"$type": "$size"}, WHOLE]}, {"$gte": ["$size", 1]}]
SIZE: dict[str, Any] = {"$cond": [{"$and": _HAS_SIZE}, "$size", 1]}
"""The expression for how many rows a document has: one, where it is no block, whatever else it says."""

FOUND_BY = ("t", "u", "pt")
"""What rows of a block are found by: each names places in the lists of its block."""

_ALWAYS = frozenset(FOUND_BY)
_SHARED = frozenset((*FOUND_BY, "m", "x", "c", "cu"))
"""What the index of a row in a block may hold."""

_Document = dict[str, Any]


def documents_of(rows: Sequence[Row]) -> list[_Document]:
    """Return the documents for rows of one chain and one month that follow on each other."""
    stretches = list(_stretches(rows))
    texts = pack([b"".join([row.body for row in stretch]) for stretch in stretches])
    documents = []
    for stretch, text in zip(stretches, texts, strict=True):
        document = _single(stretch[0], text) if len(stretch) == 1 else block_of(stretch, text)
        for row, part in zip(stretch, document.get("rows", (document,)), strict=True):
            if row.secret is not None:
                [part["s"]] = pack([row.secret])
        documents.append(document)
    return documents


def _stretches(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Yield the rows as they lie together."""
    stretch: list[Row] = []
    size = earliest = latest = 0
    joins = False
    for row in rows:
        joined, joins, moment = joins, _ALWAYS <= row.terms.keys() <= _SHARED, row.recorded
        if joined and joins and len(stretch) < MOST_ROWS:
            size, earliest, latest = size + _length(row), min(earliest, moment), max(latest, moment)
            if size <= MOST_BYTES and latest - earliest <= SPAN:
                stretch.append(row)
                continue
        if stretch:
            yield stretch
        stretch, size, earliest, latest = [row], _length(row), moment, moment
    if stretch:
        yield stretch


def _length(row: Row) -> int:
    return len(row.body) + (len(row.secret) if row.secret else 0)


def _single(row: Row, body: bytes) -> _Document:
    place = {"w": row.writer, "e": row.epoch, "n": row.number, "p": row.previous, "h": row.hash}
    return {"_id": row.id, "rec": row.recorded, "b": body, **row.terms, **place}


def block_of(rows: Sequence[Row], body: bytes) -> _Document:
    """Return the block of these rows, whose texts are packed as ``body``; nothing lies beside them yet."""
    first = rows[0]
    tokens: dict[str, int] = {}
    common: dict[str, int] = {}
    patients: dict[str, int] = {}
    parts: list[_Document] = []
    several = False
    for row in rows:
        terms = row.terms
        part = {
            "i": row.id,
            "rec": row.recorded,
            "l": len(row.body),
            "t": [tokens.setdefault(each, len(tokens)) for each in terms["t"]],
            "u": [common.setdefault(each, len(common)) for each in terms["u"]],
            "pt": [patients.setdefault(each, len(patients)) for each in terms["pt"]],
        }
        if len(terms) > len(FOUND_BY):
            part.update({name: value for name, value in terms.items() if name not in FOUND_BY})
            several = several or "m" in terms
        parts.append(part)
    return {
        "_id": first.id,
        "rec": max([row.recorded for row in rows]),
        "b": body,
        "t": [*tokens],
        "u": [*common],
        "pt": [*patients],
        "w": first.writer,
        "e": first.epoch,
        "n": first.number,
        "p": first.previous,
        "h": b"".join([row.hash for row in rows]),
        "size": len(rows),
        **({"m": events_in(parts)} if several else {}),
        "rows": parts,
    }


def events_in(parts: Sequence[Mapping[str, Any]]) -> int:
    """Return how many AuditEvents there are in the rows of a block."""
    return sum([part.get("m", 1) for part in parts])

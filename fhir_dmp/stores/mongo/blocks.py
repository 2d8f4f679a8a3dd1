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
from itertools import accumulate, pairwise, product
from typing import Any

from bson import Int64
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from fhir_dmp.errors import Unavailable
from fhir_dmp.store.chain import HASH_SIZE, Row
from fhir_dmp.stores.mongo.exact import exact, is_exact, is_whole
from fhir_dmp.stores.mongo.month_indexes import fit_indexes
from fhir_dmp.stores.mongo.packing import pack, unpack
from fhir_dmp.stores.mongo.reading import read_all, read_first, says

MOST_ROWS = 64
"""Rows of a block. Those of a log that exists are no larger: who looks for a row looks so far back for the block that has it."""

SPAN = 250_000
"""Microseconds that rows of a block may lie apart: whoever pages looks so far beyond the page."""

MOST_BYTES = 1_000_000
"""Bytes of the texts of a block, and of what lies beside them: whoever wants one row unpacks them all."""

ID = "rows.i"
"""Where blocks have the ids of their rows."""

BY_ID, _NO_SUCH_INDEX = f"{ID}_1", 2
"""The index of these ids; what the database answers who names one that is not there."""

SINGLE: dict[str, Any] = {"rows": {"$exists": False}}
BLOCK: dict[str, Any] = {"rows": {"$exists": True}}

WHOLE = ["int", "long"]
"""The types of whole numbers."""

_HAS_SIZE = [{"$isArray": ["$rows"]}, {"$in": [{"$type": "$size"}, WHOLE]}, {"$gte": ["$size", 1]}]
SIZE: dict[str, Any] = {"$cond": [{"$and": _HAS_SIZE}, "$size", 1]}
"""The expression for how many rows a document has: one, where it is no block, whatever else it says."""

NO_SENSE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
"""What is raised by whoever takes a document apart that somebody damaged."""

FOUND_BY = ("t", "u", "pt")
"""What rows of a block are found by: each names places in the lists of its block."""

_ALWAYS = frozenset(FOUND_BY)
_SHARED = frozenset((*FOUND_BY, "m", "x", "c", "cu"))
"""What the index of a row in a block may hold."""

_OWN: dict[str, type] = {"_id": str, "rec": int, "w": str, "e": str, "n": int, "p": bytes, "h": bytes, "b": bytes}
_NAMES = tuple(_OWN)
_KINDS = frozenset(product(*[(int, Int64) if kind is int else (kind,) for kind in _OWN.values()]))
"""The types that those of a row have, together: numbers may be long."""

_Document = dict[str, Any]


def documents_of(rows: Sequence[Row]) -> list[_Document]:
    """Return the documents for rows of one chain and one month that follow on each other."""
    stretches = list(_stretches(rows))
    texts = pack([b"".join([row.body for row in stretch]) for stretch in stretches])
    documents = []
    for stretch, text in zip(stretches, texts, strict=True):
        document = _single(stretch[0], text) if len(stretch) == 1 else _block(stretch, text)
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


def _block(rows: Sequence[Row], body: bytes) -> _Document:
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
        **({"m": _events_in(parts)} if several else {}),
        "rows": parts,
    }


def _events_in(parts: Sequence[Mapping[str, Any]]) -> int:
    return sum([part.get("m", 1) for part in parts])


def rows_in(document: _Document, period: str, only: str | None = None) -> list[Row]:
    """Return the rows that the document of the month holds, or the ``only`` one with this id.

    Fields that somebody took away or made another type are empty, for the verifier to name the row; a block that makes no sense is
    told as one row that nothing was sealed of. Takes the document apart.
    """
    if "rows" not in document:
        return [_row_in(document, period)]
    try:
        return _taken_apart(document, period, only)
    except NO_SENSE:
        return [_row_in(document, period)]


def rows_checked(document: _Document, stored: bytes, period: str) -> list[Row]:
    """Return the rows that the document holds, for whoever verifies: those of one that is not as its rows make it tell so.

    What a block is found by, and what of it the database reads otherwise than we do, is no row's: it is made anew from the rows. A row
    alone is found by what it says, if that is of the types that it says it in, and says it once. Takes the document apart.
    """
    if "rows" not in document:
        once = says(document, stored)
        row = _row_in(document, period)
        return [row if once and is_exact(row.terms) else row._replace(terms={**exact(row.terms), "type": "altered"})]
    rows = rows_in({**document}, period)
    if _is_of(document, rows, stored):
        return rows
    return [row._replace(terms={**row.terms, "block": "altered"}) for row in rows]


def _is_of(block: _Document, rows: Sequence[Row], stored: bytes) -> bool:
    """Tell whether the stored block is the one that the rows make, to the last byte; what lies beside a row may have been taken away."""
    try:
        made = _block(rows, block["b"])
        for part, known in zip(made["rows"], block["rows"], strict=True):
            if "s" in known:
                part["s"] = known["s"]
    except NO_SENSE:
        return False
    return says(made, stored)


def row_of(month: Collection[_Document], row_id: str) -> Row | None:
    """Return the row with this id; of a block that makes no sense the one that it is told as, by the id that is asked for."""
    damaged = None
    for document in _holding(month, row_id):
        rows = rows_in(document, month.name, row_id)
        if rows and rows[0].id == row_id:
            return rows[0]
        damaged = rows[0]._replace(id=row_id) if rows else damaged
    return damaged


def _holding(month: Collection[_Document], row_id: str) -> Iterator[_Document]:
    """Yield the documents that have a row with this id, blocks first: most are.

    A month without any needs no index of theirs. Where one has some, and that index has some of them alone or is not there, nothing is told
    as absent: another that is as ours is asked, or ``Unavailable`` raised. Whoever finds what they ask for is not kept by it.
    """
    try:
        yield from read_all(month, {ID: row_id}, hint=BY_ID)
    except OperationFailure as fault:
        if fault.code != _NO_SUCH_INDEX:
            raise
    yield from read_all(month, {"_id": row_id})
    own = fit_indexes(month).get(BY_ID)
    if own not in (None, BY_ID):
        yield from read_all(month, {ID: row_id}, hint=own)
    elif own is None and read_first(month, BLOCK, projection=["_id"]):
        text = "The log cannot be asked for this event now: an index is not there."
        raise Unavailable(text, reasons=(f"{month.full_name} has no index {BY_ID} that is the log's own",))


def ids_in(document: Mapping[str, Any]) -> list[str]:
    """Return the ids of the rows in their order; ``_id`` and ``rows.i`` are enough of the document."""
    return [row["i"] for row in document["rows"]] if "rows" in document else [document["_id"]]


def _row_in(document: _Document, period: str) -> Row:
    values = [document.pop(name, None) for name in _NAMES]
    if tuple(map(type, values)) not in _KINDS:
        values = [
            value if type(value) is kind or (kind is int and is_whole(value)) else kind()
            for value, kind in zip(values, _OWN.values(), strict=True)
        ]
    ident, recorded, writer, epoch, number, previous, digest, body = values
    place = int(recorded), writer, epoch, int(number), previous, digest
    secret = _unpacked(document.pop("s", None))
    return Row(ident, *place, unpack(body), document, period, secret)


def _taken_apart(block: _Document, period: str, only: str | None = None) -> list[Row]:
    parts, hashes, number = block["rows"], block["h"], int(block["n"])
    chain = [block["p"], *[hashes[at : at + HASH_SIZE] for at in range(0, len(hashes), HASH_SIZE)]]
    events = _events_in(parts)
    if not len(parts) == block["size"] == len(chain) - 1 or events != block.get("m", len(parts)):
        raise ValueError
    writer, epoch = str(block["w"]), str(block["e"])
    moments = moments_in(parts, block.get("rec"))
    texts = _texts(parts, unpack(block["b"]))
    return [
        Row(
            str(part["i"]),
            recorded,
            writer,
            epoch,
            number + at,
            previous,
            digest,
            text,
            _terms(part, block),
            period,
            _unpacked(part.get("s")),
        )
        for at, (part, recorded, text, (previous, digest)) in enumerate(
            zip(parts, moments, texts, pairwise(chain), strict=True)
        )
        if only is None or part["i"] == only
    ]


def moments_in(parts: Sequence[Mapping[str, Any]], latest: Any) -> list[int]:
    """Return when each row was recorded: if that does not fit the block, what that is found by; 0 for what is no moment (``moments``)."""
    if not is_whole(latest):
        return [0] * len(parts)
    own: list[Any] = [part.get("rec") for part in parts]
    fits = all(map(is_whole, own)) and max(own) == latest and latest - min(own) <= SPAN
    return [*map(int, own)] if fits else [int(latest)] * len(own)


def _texts(parts: Sequence[Mapping[str, Any]], text: bytes) -> list[bytes]:
    """Return the text of each row; none of any, if they do not make up the whole."""
    ends = [*accumulate([part["l"] for part in parts], initial=0)]
    if ends[-1] != len(text):
        return [b""] * len(parts)
    return [text[since:until] for since, until in pairwise(ends)]


_IN_BLOCK = frozenset((*FOUND_BY, "i", "rec", "l", "s"))


def _terms(part: Mapping[str, Any], block: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a row is found by: nothing, if that makes no sense."""
    try:
        terms = {name: [*map(block[name].__getitem__, part[name])] for name in FOUND_BY}
    except (LookupError, TypeError, AttributeError):
        return {}
    if part.keys() - _IN_BLOCK:
        terms.update({name: value for name, value in part.items() if name not in _IN_BLOCK})
    return terms


def _unpacked(secret: Any) -> Any:
    return unpack(secret) if isinstance(secret, bytes) else secret

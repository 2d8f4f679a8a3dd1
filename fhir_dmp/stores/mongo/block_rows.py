"""The rows that documents of the log hold: a block is taken apart, and each row is what it was. See ``blocks``.

Whoever reads takes what somebody damaged for what it is: fields that make no sense are empty, and a block that makes none is told as a row.
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
from fhir_dmp.stores.mongo.blocks import BLOCK, FOUND_BY, ID, SPAN, block_of, events_in
from fhir_dmp.stores.mongo.exact import exact, is_exact, is_whole
from fhir_dmp.stores.mongo.month_indexes import fit_indexes
from fhir_dmp.stores.mongo.packing import unpack
from fhir_dmp.stores.mongo.reading import read_all, read_first, says

BY_ID, _NO_SUCH_INDEX = f"{ID}_1", 2
"""The index of these ids; what the database answers who names one that is not there."""

NO_SENSE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
"""What is raised by whoever takes a document apart that somebody damaged."""

_OWN: dict[str, type] = {"_id": str, "rec": int, "w": str, "e": str, "n": int, "p": bytes, "h": bytes, "b": bytes}
_NAMES = tuple(_OWN)
_KINDS = frozenset(product(*[(int, Int64) if kind is int else (kind,) for kind in _OWN.values()]))
"""The types that those of a row have, together: numbers may be long."""

_Document = dict[str, Any]


def rows_in(document: _Document, period: str, only: str | None = None) -> list[Row]:
    """Return the rows that the document of the month holds, or the ``only`` one with this id.

    Fields that somebody took away or made another type are empty, for the verifier to name the row; a block that makes no sense is
    told as one row that nothing was sealed of. Takes the document apart.
    """
    if "rows" not in document:
        return [_row_in(document, period)]
    try:
        return taken_apart(document, period, only)
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
        made = block_of(rows, block["b"])
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


def taken_apart(block: _Document, period: str, only: str | None = None) -> list[Row]:
    """Return the rows of a block, or the ``only`` one; raise one of ``NO_SENSE`` for a block that makes none."""
    parts, hashes, previous, number = block["rows"], block["h"], block["p"], int(block["n"])
    if not (isinstance(hashes, bytes) and isinstance(previous, bytes)):
        raise TypeError
    chain = [previous, *[hashes[at : at + HASH_SIZE] for at in range(0, len(hashes), HASH_SIZE)]]
    events = events_in(parts)
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
            before,
            digest,
            text,
            _terms(part, block),
            period,
            _unpacked(part.get("s")),
        )
        for at, (part, recorded, text, (before, digest)) in enumerate(
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

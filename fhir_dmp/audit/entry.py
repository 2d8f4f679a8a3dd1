"""The entry of a row: the bytes that are hashed as a leaf of the tree, exported, and returned with a proof.

An entry is one line of JSON, without spaces, with these members in this order. All that is stored of the row is in it.

=========  ===================================================================================
``id``     the row's id
``rec``    when it was recorded, microseconds since 1970 (UTC)
``w``      the writer: number of its process, and ``r`` (events of reads) or ``w`` (of writes)
``e``      the epoch of the writer's chain
``n``      the number within the epoch, from 1 on without gaps
``p``      ``h`` of the row before, in hex; of the first row SHA-256 of ``w/e``
``h``      SHA-256 of ``p`` (32 bytes) and the bytes of ``row``, in hex
``index``  what the row is found by, members in the order of their names; moments (``at``, ``ps``) of more than 31 bits as text
``row``    what happened: the stored bytes as they are (``audit.event``)
=========  ===================================================================================
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from fhir_dmp.audit.index import index_of
from fhir_dmp.clock import instant
from fhir_dmp.store.chain import MOMENTS, Row


class Entry(msgspec.Struct, frozen=True):
    """An entry, taken apart."""

    id: str
    rec: int
    w: str
    e: str
    n: int
    p: str
    h: str
    index: dict[str, Any]
    row: msgspec.Raw


def _long(value: object) -> object:
    """Return a long number as text; whatever else the database has kinds of is no part of any entry, and of none that was sealed."""
    return str(value) if isinstance(value, int) else {"type": type(value).__name__}


_encoder = msgspec.json.Encoder(enc_hook=_long)
_decoder = msgspec.json.Decoder(Entry)
_parse = msgspec.json.Decoder().decode


def entry_of(row: Row) -> bytes:
    """Return the entry of a stored row."""
    return encoded(taken(row))


def taken(row: Row) -> Entry:
    """Return the entry of a stored row, taken apart."""
    terms = row.terms
    return Entry(
        row.id,
        row.recorded,
        row.writer,
        row.epoch,
        row.number,
        row.previous.hex(),
        row.hash.hex(),
        {name: terms[name] for name in sorted(terms)},
        msgspec.Raw(row.body),
    )


def encoded(entry: Entry) -> bytes:
    """Return the entry as it is hashed."""
    return _encoder.encode(entry)


def read_entry(line: bytes) -> Entry:
    """Take an entry apart; raise ``ValueError`` if it is none."""
    return _decoder.decode(line)


def holds(entry: Entry) -> bool:
    """Tell whether the entry's hash is that of its row after the one before."""
    try:
        linked = hashlib.sha256(bytes.fromhex(entry.p))
    except ValueError:
        return False
    linked.update(entry.row)
    return linked.hexdigest() == entry.h


def misfiled(entry: Entry) -> tuple[str, ...]:
    """Return what the entry is found by that its row does not say: members of ``index``, ``id``, ``rec``; ``row`` for what is no row.

    The tree holds what was sealed, and so what a row was found by then. This finds who wrote it wrongly from the first.
    """
    try:
        row = _parse(entry.row)
        index, moment = index_of(row), instant(entry.rec)
        if index == entry.index and row["id"] == entry.id and row["recorded"] == moment:
            return ()
        told = {**index, "id": row["id"], "rec": row["recorded"]}
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, OSError, RecursionError):
        return ("row",)
    known = {**entry.index, "id": entry.id, "rec": moment}
    told |= {name: str(told[name]) for name in MOMENTS if name in told}
    known |= {name: str(known[name]) for name in MOMENTS if name in known}
    return tuple(sorted(name for name in {*told, *known} if told.get(name) != known.get(name)))


def first_link(writer: str, epoch: str) -> bytes:
    """Return what the first row of an epoch follows on."""
    return hashlib.sha256(f"{writer}/{epoch}".encode()).digest()


def link(previous: bytes, body: bytes) -> bytes:
    """Return the hash of a row that follows on ``previous``."""
    return hashlib.sha256(previous + body).digest()

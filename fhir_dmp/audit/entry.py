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
``index``  what the row is found by, members in the order of their names
``row``    what happened: the stored bytes as they are (``audit.event``)
=========  ===================================================================================
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from fhir_dmp.store.ledger import Row


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


_encoder = msgspec.json.Encoder(enc_hook=str)
_decoder = msgspec.json.Decoder(Entry)


def entry_of(row: Row) -> bytes:
    """Return the entry of a stored row."""
    index = dict(sorted(row.terms.items()))
    return _encoder.encode(
        Entry(
            row.id,
            row.recorded,
            row.writer,
            row.epoch,
            row.number,
            row.previous.hex(),
            row.hash.hex(),
            index,
            msgspec.Raw(row.body),
        )
    )


def read_entry(line: bytes) -> Entry:
    """Take an entry apart; raise ``ValueError`` if it is none."""
    return _decoder.decode(line)


def first_link(writer: str, epoch: str) -> bytes:
    """Return what the first row of an epoch follows on."""
    return hashlib.sha256(f"{writer}/{epoch}".encode()).digest()


def link(previous: bytes, body: bytes) -> bytes:
    """Return the hash of a row that follows on ``previous``."""
    return hashlib.sha256(previous + body).digest()

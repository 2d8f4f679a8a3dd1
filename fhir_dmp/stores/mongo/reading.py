"""Reading the log and its seals, whatever somebody with all rights has written there: no document hides another.

MongoDB takes and keeps what its driver for Python refuses to tell (``bson.errors.InvalidBSON``): text that is no UTF-8, moments beyond the
year 9999, bytes of the deprecated subtype 2 with a wrong length. Such a document is told as one that nobody sealed, so that the verifier
names its rows. Other documents say two things at once: of a field that stands there twice the database finds the first and the driver tells
the last. Who verifies holds what was read to the bytes that are stored. https://bsonspec.org/spec.html.
"""

from __future__ import annotations

import codecs
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, cast

from bson import decode, decode_all, encode
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError, InvalidBSON
from bson.raw_bson import RawBSONDocument
from pymongo.collection import Collection
from pymongo.database import Database

_Document = dict[str, Any]

NO_TEXT = f"\ufffd{secrets.token_hex(16)}"
"""Stands for bytes that are no UTF-8. Nobody knew it before this process began, so that no text is equal that was sealed by another;
the sign that is usual for it can be part of what a client sends, and so of what was sealed.
"""

_BY_SIGN = "fhir_dmp.no_text"
_TEXTS, _BYTES, _PATTERN, _POINTER, _SCOPED = frozenset((2, 13, 14)), 5, 11, 12, 15
_WITHIN = frozenset((3, 4))
_SIZES = {1: 8, 6: 0, 7: 12, 8: 1, 9: 8, 10: 0, 16: 4, 17: 8, 18: 8, 19: 16, 127: 0, 255: 0}
"""Kinds of elements: those that begin with their length, and how many bytes the others have."""

_OLD, _OF_USER = 2, 128
"""Subtypes of bytes: the deprecated one, and the first that is a user's own."""


def _signed(fault: UnicodeError) -> tuple[str, int]:
    """Return what stands for the bytes, and where to go on."""
    if not isinstance(fault, UnicodeDecodeError):
        raise fault
    return NO_TEXT, fault.end


codecs.register_error(_BY_SIGN, _signed)
OPTIONS: CodecOptions[_Document] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_AUTO, unicode_decode_error_handler=_BY_SIGN
)


def readable(database: Database[_Document]) -> Database[_Document]:
    """Return the database as it is read: what its commands answer can be told, but for bytes of a wrong length."""
    return database.with_options(codec_options=OPTIONS)


def read_all(collection: Collection[_Document], wanted: Mapping[str, Any], **how: Any) -> Iterator[_Document]:
    """Yield the documents that are wanted, all of them; ``how`` is as ``find`` takes it.

    The driver tells a batch of documents or none of it. Taking each by itself costs 5 µs for each (measured), so it is done from there on alone.
    """
    told = 0
    try:
        for document in collection.find(wanted, **how):
            yield document
            told += 1
    except InvalidBSON:
        yield from islice(_each_of(collection, wanted, how), told, None)


def read_list(collection: Collection[_Document], wanted: Mapping[str, Any], **how: Any) -> list[_Document]:
    """Return the documents that are wanted, at once: many small ones take less time so."""
    try:
        return collection.find(wanted, **how).to_list()
    except InvalidBSON:
        return [*_each_of(collection, wanted, how)]


def _each_of(collection: Collection[_Document], wanted: Mapping[str, Any], how: _Document) -> Iterator[_Document]:
    for batch in cast("Iterable[bytes]", collection.find_raw_batches(wanted, **how)):
        yield from _told(batch)


def read_with_bytes(
    collection: Collection[_Document], wanted: Mapping[str, Any], **how: Any
) -> Iterator[tuple[_Document, bytes]]:
    """Yield the documents that are wanted, each with the bytes that are stored of it."""
    for batch in cast("Iterable[bytes]", collection.find_raw_batches(wanted, **how)):
        yield from zip(_told(batch), _split(batch), strict=True)


def says(document: Mapping[str, Any], stored: bytes) -> bool:
    """Tell whether the bytes say this and nothing else, in this order."""
    try:
        return encode(document) == stored
    except (BSONError, ValueError, TypeError, OverflowError):
        return False


def read_first(collection: Collection[_Document], wanted: Mapping[str, Any], **how: Any) -> _Document | None:
    """Return the first of the documents that are wanted."""
    return next(read_all(collection, wanted, limit=1, **how), None)


def read_aggregate(collection: Collection[_Document], stages: Sequence[_Document], **how: Any) -> Iterator[_Document]:
    """Yield what the stages make of the collection; ``how`` is as ``aggregate`` takes it."""
    for batch in cast("Iterable[bytes]", collection.aggregate_raw_batches(stages, **how)):
        yield from _told(batch)


def read_more(
    collection: Collection[_Document], stages: Sequence[_Document], size: int, **how: Any
) -> Iterator[tuple[_Document, bytes]]:
    """Yield what the stages make of the collection, each with its bytes: so many at first and then twice as many each time.

    By batches of bytes each question would take a quarter of a millisecond more (measured).
    """
    left, found = 0, collection.with_options(codec_options=_AS_BYTES).aggregate(stages, batchSize=size, **how)
    for each in cast("Iterable[RawBSONDocument]", found):
        if not left:
            left, size = size, 2 * size
            found.batch_size(size)
        left -= 1
        stored = cast("bytes", each.raw)
        yield decode(stored, OPTIONS), stored


_AS_BYTES: CodecOptions[Any] = CodecOptions(document_class=RawBSONDocument)


class _First(dict[str, Any]):
    """A document that says of each field what stands first."""

    def __setitem__(self, name: str, value: Any) -> None:
        self.setdefault(name, value)


_AS_FOUND = OPTIONS.with_options(document_class=_First)


def read_as_found(collection: Collection[_Document], stages: Sequence[_Document], **how: Any) -> Iterator[_Document]:
    """Yield what the stages make of the collection as the database finds it: of a field that stands there twice, what stands first."""
    for batch in cast("Iterable[bytes]", collection.aggregate_raw_batches(stages, **how)):
        yield from _told(batch, _AS_FOUND)


def _told(batch: bytes, options: CodecOptions[_Document] = OPTIONS) -> Sequence[_Document]:
    """Return the documents of a batch, which follow on each other: if one cannot be told, each by itself."""
    try:
        return decode_all(batch, options)
    except InvalidBSON:
        return [_one(raw, options) for raw in _split(batch)]


def _split(batch: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(batch):
        size = _int(batch, at)
        yield batch[at : at + size]
        at += size


def _one(raw: bytes, options: CodecOptions[_Document]) -> _Document:
    """Return the document, with bytes of the deprecated subtype as some of a user's own, which say no second length."""
    changed = bytearray(raw)
    for place in _old_bytes(raw, 0):
        changed[place] = _OF_USER
    return decode(changed, options)


def _old_bytes(raw: bytes, at: int) -> Iterator[int]:
    """Yield where in the document that begins there a subtype is the deprecated one."""
    at += 4
    while kind := raw[at]:
        at = raw.index(0, at + 1) + 1
        if kind in _WITHIN:
            yield from _old_bytes(raw, at)
        elif kind == _SCOPED:
            yield from _old_bytes(raw, at + 8 + _int(raw, at + 4))
        elif kind == _BYTES and raw[at + 4] == _OLD:
            yield at + 4
        at = _end_of(kind, raw, at)


def _end_of(kind: int, raw: bytes, at: int) -> int:
    """Return where the element ends whose value begins there."""
    if kind in _WITHIN or kind == _SCOPED:
        return at + _int(raw, at)
    if kind in _TEXTS:
        return at + 4 + _int(raw, at)
    if kind == _BYTES:
        return at + 5 + _int(raw, at)
    if kind == _POINTER:
        return at + 16 + _int(raw, at)
    if kind == _PATTERN:
        return raw.index(0, raw.index(0, at) + 1) + 1
    return at + _SIZES[kind]


def _int(raw: bytes, at: int) -> int:
    return int.from_bytes(raw[at : at + 4], "little")

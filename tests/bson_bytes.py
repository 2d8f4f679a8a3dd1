"""Documents byte by byte, as nobody's driver writes them. https://bsonspec.org/spec.html."""

from __future__ import annotations

from struct import pack

from bson import encode
from bson.raw_bson import RawBSONDocument


def element(kind, value, name=b"more"):
    """Return a field as BSON has it."""
    return bytes([kind]) + name + b"\0" + value


def text(content):
    """Return a text as BSON has it."""
    return pack("<i", len(content) + 1) + content + b"\0"


def document(content):
    """Return a document as BSON has it."""
    return pack("<i", len(content) + 5) + content + b"\0"


def scoped(content):
    """Return code with its scope as BSON has it."""
    return pack("<i", len(content) + 4) + content


def put(collection, stored, more=b"", *exchanged):
    """Store the document in place of the one with its id, with more at its end, or with bytes of it exchanged."""
    body = encode(stored)[4:-1]
    collection.delete_one({"_id": stored["_id"]})
    collection.insert_one(RawBSONDocument(document((body.replace(*exchanged) if exchanged else body) + more)))


def array(items):
    """Return documents as an array of them."""
    return document(b"".join(element(3, item, b"%d" % at) for at, item in enumerate(items)))

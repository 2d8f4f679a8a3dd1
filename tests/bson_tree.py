"""BSON as trees of elements, to change any of them by chance and write it again. https://bsonspec.org/spec.html."""

from __future__ import annotations

from copy import deepcopy
from struct import pack

from tests.bson_bytes import document, element, text

_SIZES = {1: 8, 8: 1, 9: 8, 10: 0, 16: 4, 18: 8}
_VALUES = (
    (2, text(b"x")),
    (2, text(b"Patient/3")),
    (13, text(b"g=nobody")),
    (16, pack("<i", -1)),
    (16, pack("<i", 2)),
    (18, pack("<q", 2**62)),
    (1, pack("<d", 1.0)),
    (8, b"\1"),
    (10, b""),
    (5, pack("<i", 32) + b"\0" + b"x" * 32),
    (4, []),
    (3, []),
)
"""What is put in the place of others: kinds and values."""


def read(raw):
    """Return the elements of a document: of each its kind, its name and its value, which may be elements."""
    at, found = 4, []
    while kind := raw[at]:
        end = raw.index(0, at + 1)
        name, at = raw[at + 1 : end], end + 1
        size = (
            _SIZES[kind] if kind in _SIZES else int.from_bytes(raw[at : at + 4], "little") + {2: 4, 5: 5}.get(kind, 0)
        )
        value = raw[at : at + size]
        found.append([kind, name, read(value) if kind in (3, 4) else value])
        at += size
    return found


def write(elements):
    """Return the document that has these elements."""
    parts = [element(kind, write(value) if isinstance(value, list) else value, name) for kind, name, value in elements]
    return document(b"".join(parts))


def changed(chance, raw):
    """Return the document with one change by chance, and in words which it was. Its ``_id`` stays."""
    tree = read(raw)
    holder, path = tree, []
    while True:
        at = chance.randrange(1 if holder is tree else 0, len(holder))
        path.append(holder[at][1].decode())
        if not isinstance(holder[at][2], list) or not holder[at][2] or chance.random() < 0.2:
            break
        holder = holder[at][2]
    how = chance.choice(_WAYS)
    how(chance, holder, at)
    return write(tree), f"{how.__name__.strip('_')} {'.'.join(path)}"


def _removed(_, holder, at):
    del holder[at]


def _renamed(_, holder, at):
    holder[at][1] += b"x"


def _exchanged(chance, holder, at):
    holder[at][0], holder[at][2] = deepcopy(chance.choice(_VALUES))


def _altered(chance, holder, at):
    value = holder[at][2]
    if isinstance(value, bytes) and value:
        place = chance.randrange(len(value)) if holder[at][0] in _SIZES else len(value) - 2
        holder[at][2] = value[:place] + bytes([value[place] ^ 1]) + value[place + 1 :]


def _exchanged_with_another(chance, holder, at):
    other = chance.choice(holder[1:] or holder)
    holder[at][0], holder[at][2], other[0], other[2] = other[0], other[2], holder[at][0], holder[at][2]


def _said_twice(chance, holder, at):
    kind, value = deepcopy(chance.choice((*_VALUES, (holder[at][0], holder[at][2]))))
    holder.insert(at + chance.randrange(2), [kind, holder[at][1], value])


_WAYS = (_removed, _renamed, _exchanged, _altered, _exchanged_with_another, _said_twice)

"""The collections and their indexes, declared once. Rows are written and read through pymongo, with the commit's session.

Each index answers for a kind of question: ``t`` searches in order of creation, ``r`` ranges, ``pt`` a patient's rows by
main date, ``lu`` histories, ``births`` patients by the day of their birth. A row without ranges or without a patient costs those
indexes nothing, and what is no Patient the last.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from mongoengine import Document
from mongoengine.fields import (
    BinaryField,
    BooleanField,
    DictField,
    DynamicField,
    IntField,
    ListField,
    LongField,
    StringField,
)
from pymongo.database import Database

from fhir_dmp.store.period import PERIOD_PREFIX, period_of


class Row(Document):  # type: ignore[misc] # mongoengine carries no types
    """What is declared of a collection; its indexes are made when a process starts, never on the way (``ensure_indexes``)."""

    meta: ClassVar[dict[str, Any]] = {"abstract": True, "auto_create_index": False}


class Resource(Row):
    """What the present version of a resource and those before have alike; fields as ``store.query`` says.

    ``new``: it came back after a deletion. ``patched``: what changed was sent alone. ``about``: whom it names that is in nobody's record.
    """

    meta = {"abstract": True}
    id = StringField(primary_key=True)
    ty = StringField()
    v = IntField()
    lu = StringField()
    co = StringField()
    b = BinaryField()
    t = ListField(StringField())
    r = ListField(DictField())
    pt = ListField(StringField())
    about = ListField(StringField())
    ds = LongField()
    au = ListField(StringField())
    sec = ListField(StringField())
    gone = BooleanField(db_field="del")
    new = BooleanField()
    patched = BooleanField()


class Current(Resource):
    """The present version of every resource, or its tombstone."""

    meta = {
        "collection": "current",
        "indexes": [
            {"fields": ["t", "co"]},
            {"fields": ["r.k", "r.lo", "r.hi"], "sparse": True, "name": "ranges"},
            {"fields": ["w", "co"], "partialFilterExpression": {"w": {"$exists": True}}},
            {"fields": ["pt", "ty", "-ds", "co"], "partialFilterExpression": {"pt": {"$exists": True}}},
            {"fields": ["ty", "lu"]},
            {"fields": ["lu"]},
            {"fields": ["-ds", "co"], "partialFilterExpression": {"ty": "Patient"}, "name": "births"},
        ],
    }
    w = ListField(StringField())
    ca = StringField()
    kept = BooleanField()


class Version(Resource):
    """What ``current`` held before, with the fields that rules narrow by; ``_id`` is ``Type/id/version``.

    ``un`` is the ``lu`` of the version that came after it, ``own`` are the labels of this very version, ``whose`` the patients where they are
    others than now. ``pt``, ``sec`` and ``ca`` hold the present version's as well, so that the stricter wins, and are all that ever changes.
    """

    meta = {
        "collection": "versions",
        "indexes": [{"fields": ["ty", "lu"]}, {"fields": ["lu"]}],
    }
    un = StringField()
    own = ListField(StringField())
    whose = ListField(StringField())
    ca = ListField(StringField())


class AuditRow(Row):
    """Acts, refusals and faults, one alone or a block of them (``blocks``); a collection for each month.

    Chain: writer, epoch, number, previous hash, hash. ``b`` is the text, packed (``packing``). What a row is found by is told in
    ``audit.index``; ``s`` lies beside it, packed too, and the text names its digest.
    """

    meta = {
        "collection": "audit",
        "indexes": [
            {"fields": ["t", "-rec"]},
            {"fields": ["pt", "-rec"]},
            {"fields": ["-rec", "_id"]},
            {"fields": ["at"], "sparse": True},
            {"fields": ["w", "e", "n"], "unique": True},
            {"fields": ["rows.i"], "sparse": True},
        ],
    }
    id = StringField(primary_key=True)
    rec = LongField()
    b = BinaryField()
    size = IntField()
    rows = ListField(DictField())
    t = ListField(StringField())
    u = ListField(StringField())
    pt = ListField(StringField())
    sec = ListField(StringField())
    m = IntField()
    x = ListField(DictField())
    c = ListField(StringField())
    cu = ListField(StringField())
    at = LongField()
    ps = LongField()
    s = BinaryField()
    w = StringField()
    e = StringField()
    n = LongField()
    p = BinaryField()
    h = BinaryField()


class Epoch(Row):
    """An epoch of a writer's chain: a row when it begins (``_id`` is ``w/e``) and one when it is closed (``w/e/closed``)."""

    meta = {
        "collection": "epochs",
        "indexes": [{"fields": ["at"]}],
    }
    id = StringField(primary_key=True)
    w = StringField()
    e = StringField()
    at = LongField()
    head = LongField()
    after = DictField()
    closed = DictField()


class Lease(Row):
    """Who seals: one row, ``lease``."""

    meta = {"collection": "lease"}
    id = StringField(primary_key=True)
    holder = StringField()
    token = LongField()
    until = DynamicField()
    wanted = StringField()
    wanted_until = DynamicField()
    head = LongField()
    cleared = LongField()


class Head(Row):
    """A signed tree head by its number: the line that is published."""

    meta = {"collection": "heads"}
    id = LongField(primary_key=True)
    line = BinaryField()


class Run(Row):
    """Rows of one epoch and month that follow on each other, by the number of their first leaf."""

    meta = {
        "collection": "runs",
        "indexes": [{"fields": ["w", "e", "n"]}, {"fields": ["m"]}],
    }
    id = LongField(primary_key=True)
    size = LongField()
    w = StringField()
    e = StringField()
    n = LongField()
    m = StringField()


class Tile(Row):
    """Hashes of the tree; ``_id`` is ``level/place``."""

    meta = {"collection": "tiles"}
    id = StringField(primary_key=True)
    b = BinaryField()


class Link(Row):
    """How far an epoch is sealed; ``_id`` is ``w/e``."""

    meta = {"collection": "links"}
    id = StringField(primary_key=True)
    n = LongField()
    h = BinaryField()
    rec = LongField()


class Handed(Row):
    """Leaves that their writer has handed in and nobody has sealed yet; ``_id`` is ``w/e/n``. See ``store.chain.Leaves``."""

    meta = {"collection": "handed", "indexes": [{"fields": ["w", "e", "n"]}]}
    id = StringField(primary_key=True)
    w = StringField()
    e = StringField()
    n = LongField()
    m = StringField()
    b = BinaryField()
    p = BinaryField()
    h = BinaryField()
    rec = LongField()


class Witness(Row):
    """The last head that somebody outside has acknowledged, by their URL."""

    meta = {"collection": "witnesses"}
    id = StringField(primary_key=True)
    n = LongField()


class Lock(Row):
    """The key of conditional criteria, written first by whoever relies on them."""

    meta = {"collection": "locks"}
    id = StringField(primary_key=True)
    at = StringField()


class Mark(Row):
    """What was done once: a load, the beginning and the end of access in an emergency."""

    meta = {"collection": "loads"}
    id = StringField(primary_key=True)
    at = StringField()


class Writer(Row):
    """A process that writes, by its number; the row ``numbers`` counts them."""

    meta = {"collection": "writers"}
    id = StringField(primary_key=True)
    n = LongField()
    since = DynamicField()


LOG_SUFFIX, SEAL_SUFFIX = "_log", "_seal"
"""The log's rows and the seals over them stand in databases of their own: rights are given by database."""

POLICY = "policy/"
"""Begins the ids of policies among the grants."""

RECORDS = (Current, Version, Lock, Mark, Writer)
LOG = (Epoch,)
SEALS = (Lease, Head, Run, Tile, Link, Handed, Witness)


def months(log: Database[dict[str, Any]]) -> list[str]:
    """Return the names of the months of the log, oldest first."""
    return sorted(log.list_collection_names(filter={"name": {"$regex": f"^{PERIOD_PREFIX}"}}))


def months_of(log: Database[dict[str, Any]], event_id: str) -> Iterator[str]:
    """Yield the names of the months that may keep the event, first that in which its id was made: it begins with milliseconds.

    The others are asked for only by who goes on.
    """
    try:
        first = period_of(int(event_id[:13].replace("-", ""), 16) * 1000)
    except (ValueError, OverflowError, OSError):
        first = ""
    if first:
        yield first
    yield from (name for name in reversed(months(log)) if name != first)

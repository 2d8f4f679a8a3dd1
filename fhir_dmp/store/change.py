"""What a writer wants changed: values that one commit applies all together or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct, field

from fhir_dmp.fhir.reference import Ref
from fhir_dmp.store.query import Query

Index = Mapping[str, Any]

STAMP = b"0000-00-00T00:00:00.000000Z"
"""Stands in a body for ``meta.lastUpdated`` until the commit knows the moment; no valid instant, and as wide as one."""


NOBODYS = "-"
"""Stands among the patients of past versions (``pt``) of what is in no record any more: nobody's token reaches all of these."""


class Stored(Struct, frozen=True):
    """One version of a resource as the store holds it.

    ``body`` is the JSON as it goes out, None for a deletion. ``index`` holds the fields that ``store.query`` names.
    ``lu`` and ``co`` are opaque strings that sort by time; ``updated`` is ``lu`` in microseconds since 1970.
    """

    ref: Ref
    version: int
    lu: str
    co: str
    updated: int
    body: bytes | None
    index: Index = field(default_factory=dict)

    @property
    def deleted(self) -> bool:
        """Tell whether this version is a deletion."""
        return self.body is None


class Change(Struct, frozen=True):
    """One new version of one resource.

    ``before`` is the version it replaces: None for a resource that never was (a tombstone for one that comes back). The commit fails
    as stale if the store holds anything else by then. ``body`` carries ``STAMP`` where ``meta.lastUpdated`` goes, and is
    None for a deletion. ``index`` lacks ``_id``, ``ty``, ``v``, ``lu``, ``co``, which the store fills in. ``only_labels``: nothing
    differs from ``before`` but who sees it. Of the ``version`` that ``before`` is, nothing is new but the index: it stays that version.
    """

    ref: Ref
    version: int
    before: Stored | None
    body: bytes | None
    index: Index = field(default_factory=dict)
    only_labels: bool = False

    @property
    def stays(self) -> bool:
        """Tell whether the version that is there stays, and is only indexed anew."""
        return self.before is not None and self.version == self.before.version

    @property
    def kind(self) -> Literal["create", "update", "delete", "relabel"]:
        """Return what the change does to the resource as its readers see it."""
        if self.body is None:
            return "delete"
        if self.only_labels:
            return "relabel"
        return "create" if self.before is None or self.before.deleted else "update"


class Lock(Struct, frozen=True):
    """A conditional key: within the commit the query must still find exactly these, and nobody else may hold the key.

    ``key`` is the canonical text of the criteria.
    """

    key: str
    query: Query
    found: tuple[Ref, ...]


class PolicyChange(Struct, frozen=True):
    """What opens a record from now on (``Patient/p``): version ``before`` is replaced (0: there was none).

    The commit is stale if the store holds another version by then. ``body`` is the compiled policy; ``names`` are whom and
    what it names, so that it is found by them.
    """

    patient: str
    before: int
    body: bytes
    names: tuple[str, ...] = ()


class Event(Struct, frozen=True):
    """One row of the audit log: an act, a refusal or a fault, with all the entries it touched.

    ``id`` is chosen before sending, so that a repeated send is recognised. ``body`` is canonical JSON; ``index`` holds
    the few fields that its AuditEvents are searched by (``t``, ``u``, ``pt`` and such). The chain fields are given at the flush.
    ``secret`` is what lies beside the row, which names it by its digest: no proof of the row tells it.
    """

    id: str
    recorded: int
    body: bytes
    index: Index = field(default_factory=dict)
    secret: bytes | None = None


class Commit(Struct, frozen=True):
    """Changes and events that become durable together.

    ``relied_on`` are the versions that were read to make the changes: ref to version number (0: absent). The commit is stale if one
    of them has moved on. ``policies`` are put in place of those that are there; ``decided_on`` are the versions of the policies by
    which the changes were permitted (0: none), held to like ``relied_on``. ``marks`` (a load that was done) are remembered in the
    same transaction. ``erased`` are records (``Patient/p``) whose rows, versions and policy are removed for good.
    """

    changes: tuple[Change, ...] = ()
    events: tuple[Event, ...] = ()
    locks: tuple[Lock, ...] = ()
    relied_on: Mapping[Ref, int] = field(default_factory=dict)
    marks: tuple[str, ...] = ()
    policies: tuple[PolicyChange, ...] = ()
    decided_on: Mapping[str, int] = field(default_factory=dict)
    erased: tuple[str, ...] = ()

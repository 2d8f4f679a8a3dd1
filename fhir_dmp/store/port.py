"""The store as its users see it: no FHIR syntax, no rights, no HTTP.

Everything that is read is committed by a majority; everything that is acknowledged is journaled by one.
Methods raise ``errors.Unavailable`` when the database does not answer in time and ``errors.Stale`` when a commit's
Plan is out of date.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from fhir_dmp.fhir.reference import Ref
from fhir_dmp.store.change import Commit, Event, Stored
from fhir_dmp.store.grants import PolicyRow
from fhir_dmp.store.query import EVERYTHING, Query


class Order(Struct, frozen=True):
    """One sort key.

    ``field`` is a scalar (``co``, ``lu``, ``ds``, ``_id``) or a key within a list: ``t:Patient.family=`` sorts by the smallest
    (descending: the largest) token with that prefix, ``r:Observation.date`` by the range's ``lo`` (descending: ``hi``).
    A row without a value comes last, in either direction.
    """

    field: str
    descending: bool = False


class Page(Struct, frozen=True):
    """A window on a list: ``limit`` rows after the keys of the row that ``after`` names.

    ``order`` always ends in ``co``, which is unique. ``bound`` leaves out rows created after it. ``with_index`` returns
    ``t`` as well, for whoever follows references.
    """

    limit: int
    order: tuple[Order, ...] = (Order("co"),)
    after: tuple[Any, ...] | None = None
    bound: str | None = None
    with_index: bool = False


class Found(Struct, frozen=True):
    """Rows, and whether more follow. ``last`` are the sort keys of the last row, for the next page."""

    rows: tuple[Stored, ...]
    more: bool
    last: tuple[Any, ...] | None = None


class EventPart(Struct, frozen=True):
    """One AuditEvent: the row that holds it, and its number there, from 1."""

    event: Event
    number: int


class Tally(Struct, frozen=True):
    """How many AuditEvents one actor made on a day; ``day`` is the number of days since 1970-01-01 UTC."""

    day: int
    actor: str
    count: int


class Counted(Struct, frozen=True):
    """How many AuditEvents pages tell, and how many are ``lost``, with the ids of a few of their ``rows``.

    Such a row stands nowhere in time, for it is damaged: its moment is none, or is of another month than that which keeps it.
    """

    told: int
    lost: int
    rows: tuple[str, ...]


class Scope(Struct, frozen=True):
    """Whose history: of one resource, of a type, or of all (both None). ``allowed`` narrows by the rules.

    ``since`` and ``at`` are microseconds: versions made from then on, and versions that were still the present one after that moment.
    """

    type: str | None = None
    id: str | None = None
    allowed: Query = EVERYTHING
    since: int | None = None
    at: int | None = None


class HistoryPage(Struct, frozen=True):
    """A window on a history, newest first: ``limit`` rows below the ``lu`` ``before``; ``with_index`` as for ``Page``."""

    limit: int
    before: str | None = None
    with_index: bool = False


class Store(Protocol):
    """A place for resources and for the events about them."""

    def find_current(self, ref: Ref, *, with_index: bool = True) -> Stored | None:
        """Return the present row of ``ref`` (a tombstone if deleted), or None if it never was.

        Calls that wait together share one query; each is answered by a query sent after it began. ``with_index=False`` leaves out
        what only searches look at (``t``, ``r``, ``w``): most of a row's bulk.
        """
        ...

    def find_many(self, refs: Sequence[Ref], *, with_index: bool = True) -> Mapping[Ref, Stored]:
        """Return the present rows of those of ``refs`` that exist, in one query; ``with_index`` as for ``find_current``."""
        ...

    def find_version(self, ref: Ref, version: int) -> Stored | None:
        """Return one version, whether present or superseded."""
        ...

    def find_policies(self, patients: Sequence[str]) -> Mapping[str, PolicyRow]:
        """Return what opens these records (``Patient/p``), of those that have a policy.

        Calls that wait together share one query; each is answered by a query sent after it began.
        """
        ...

    def policies_naming(self, names: Sequence[str], limit: int) -> tuple[PolicyRow, ...]:
        """Return up to ``limit`` policies that name one of these.

        It asks for one more than the caller's cap to see that it is exceeded.
        """
        ...

    def policies_after(self, patient: str, limit: int) -> tuple[PolicyRow, ...]:
        """Return up to ``limit`` policies in the order of their patients, from the first after ``patient`` (empty: all) on."""
        ...

    def search(self, query: Query, page: Page) -> Found:
        """Return a page of present rows that meet the query; deletions never do."""
        ...

    def find_each(self, queries: Sequence[Query]) -> tuple[tuple[Stored, ...], ...]:
        """Return for each query the present rows that meet it: none, the one, or two that stand for many.

        They are asked together where the answers allow it, for a transaction has many criteria.
        """
        ...

    def count(self, query: Query, limit: int | None = None) -> int:
        """Return how many present rows meet the query, counting no further than ``limit``."""
        ...

    def concerned(self, query: Query, limit: int) -> tuple[Stored, ...]:
        """Return up to ``limit`` present rows that meet the query, in no order: whose they are, who wrote them, and their labels."""
        ...

    def keys(self, query: Query, prefix: str | None, limit: int) -> tuple[str, ...]:
        """Return up to ``limit`` values of the rows that meet the query: their ``_id``, or their ``t`` items with ``prefix`` (cut off).

        This is the first step of a chain or ``_has``. It asks for one more than the caller's cap to see that it is exceeded.
        """
        ...

    def tokens(self, query: Query, starts: tuple[str, ...], limit: int) -> tuple[tuple[str, ...], ...]:
        """Return what stands side by side in rows that meet the query: of each row the ``t`` items that begin as one of ``starts``.

        Rows that have the same are told once, and those that have none not at all; up to ``limit`` are told.
        """
        ...

    def history(self, scope: Scope, page: HistoryPage) -> Found:
        """Return versions, newest first, each exactly once however they move while one pages."""
        ...

    def history_count(self, scope: Scope, before: str | None = None) -> int:
        """Return how many versions the scope holds, of those that precede a moment (as ``lu``) if one is named."""
        ...

    def history_concerned(self, scope: Scope, limit: int, before: str | None = None) -> tuple[Stored, ...]:
        """Return versions that ``history_count`` counts, up to ``limit`` of either kind, as ``concerned`` does."""
        ...

    def horizon(self) -> int:
        """Return the moment (microseconds) before which no commit can still appear."""
        ...

    def newest(self) -> str:
        """Return a ``co`` that bounds what exists now: rows created later are greater."""
        ...

    def commit(self, commit: Commit) -> tuple[Stored, ...]:
        """Make all changes and events durable (majority, journaled) or none, and return the new versions in order.

        Raises ``Stale`` when a version, lock or relied-on row is no longer as the Plan saw it.
        """
        ...

    def record(self, event: Event) -> None:
        """Make one event durable, in a group with those that wait beside it; returns when it is acknowledged.

        Raises ``Unrecorded`` if it is not in time, or nobody can tell, ``Crowded`` if there is no room for it.
        """
        ...

    def find_event(self, event_id: str) -> Event | None:
        """Return one row of the audit log."""
        ...

    def search_events(
        self, query: Query, limit: int, after: tuple[Any, ...] | None = None, *, oldest_first: bool = False
    ) -> tuple[tuple[EventPart, ...], tuple[Any, ...] | None]:
        """Return up to ``limit`` AuditEvents of the log that meet the query, and the keys to go on from (None at the end).

        They come newest first, or in the very opposite order. A row holds several; each is judged by itself. An ``Or`` at the top is a
        union of queries that no row meets twice.
        """
        ...

    def count_events(self, query: Query, limit: int = 0) -> Counted:
        """Return how many AuditEvents meet the query, counted by the database, and ids of up to ``limit`` rows of those that are lost."""
        ...

    def tally_events(self, query: Query, limit: int) -> tuple[Tally, ...] | None:
        """Return how many AuditEvents meet the query for each day and actor, newest day first; None for more than ``limit`` of these."""
        ...

    def has_mark(self, mark: str) -> bool:
        """Tell whether a commit carried this mark (a load that was done)."""
        ...

    def marks(self, prefix: str) -> tuple[str, ...]:
        """Return the marks that begin so and were not forgotten, in their order."""
        ...

    def forget_mark(self, mark: str) -> None:
        """Remember the mark no longer."""
        ...

    def ready(self) -> bool:
        """Tell whether the database takes a durable write now."""
        ...


Extract = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
"""Given a type and a parsed resource, return its index part: ``t``, ``r``, ``pt``, ``ds``, ``w``, ``sec``, ``ca``."""

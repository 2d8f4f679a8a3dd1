"""The committer of a process for writes: what waits together is one MongoDB transaction, one flush in flight.

A transaction (snapshot, majority, journaled) holds what the members relied on first, then writes the new rows of ``current``, what they
supersede, the events. A member that is out of date is dropped alone; the others fly again at once.

The commands go by the driver, from a thread. By a line of the event loop a flight of one took 1.0 ms of processor and not 1.5; but for 64
callers two dozen share one, its commands wait for the work of the database, and the rates were the same (tried in turns, also with all
that is written sent at once).
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import OperationFailure, PyMongoError, ServerSelectionTimeoutError, WaitQueueTimeoutError
from pymongo.read_concern import ReadConcern

from fhir_dmp.clock import Clock, instant, moment
from fhir_dmp.errors import Stale, Unavailable, Unrecorded
from fhir_dmp.fibres import FLIGHTS
from fhir_dmp.stopping import LANDING_SECONDS
from fhir_dmp.store.chain import Row
from fhir_dmp.store.change import STAMP, Change, Commit, Stored
from fhir_dmp.store.period import period_of
from fhir_dmp.stores.mongo import versions
from fhir_dmp.stores.mongo.chain import DURABLE, Chain, Epochs
from fhir_dmp.stores.mongo.checks import LosersError, Members, hold
from fhir_dmp.stores.mongo.documents import POLICY
from fhir_dmp.stores.mongo.faults import unanswered
from fhir_dmp.stores.mongo.flights import MOST_WAITING, Flights, Member
from fhir_dmp.stores.mongo.months import Months, count_durable
from fhir_dmp.stores.mongo.transaction import Transaction

GROUP = 200
"""Changes that one transaction carries; a bundle above it commits alone."""

_DUPLICATE = 11000
_Row = dict[str, Any]


class Stamps:
    """Moments that this process alone gives, each once: 13 hex digits of microseconds and 4 of the process's number."""

    def __init__(self, clock: Clock, number: int) -> None:
        self._clock = clock
        self._suffix = f"{number % 0x10000:04x}"
        self._last = 0

    def next(self) -> tuple[int, str]:
        """Return a moment later than all before, in microseconds and as ``lu``."""
        self._last = max(self._last + 1, self._clock.micros())
        return self._last, f"{moment(self._last)}{self._suffix}"


class _OvertakenError(Exception):
    """A row that the group replaces is not the version that its Plan saw."""


class WriteCommitter:
    """Makes commits durable, in groups; ``seconds`` is the age above which a commit is given up."""

    def __init__(
        self,
        database: Database[_Row],
        months: Months,
        epochs: Epochs,
        chain: Chain,
        stamps: Stamps,
        seconds: float,
        beside: list[Flights[Any]],
    ) -> None:
        self._database = database
        self._months = months
        self._epochs = epochs
        self._chain = chain
        self._stamps = stamps
        self._seconds = seconds
        self._flights = Flights(
            self._flush,
            of="writes",
            heaviest=GROUP,
            most=MOST_WAITING,
            seconds=seconds * 2,
            beside=beside,
            takes_off=FLIGHTS.submit,
        )

    def commit(self, commit: Commit) -> tuple[Stored, ...]:
        """Return the new versions once they are durable; raise ``Stale`` if the Plan is out of date."""
        touches = frozenset(
            [
                *(change.ref for change in commit.changes),
                *(lock.key for lock in commit.locks),
                *commit.marks,
                *(f"{POLICY}{change.patient}" for change in commit.policies),
                *(f"{POLICY}{patient}" for patient in commit.erased),
            ]
        )
        stored: tuple[Stored, ...] = self._flights.join(commit, touches, max(len(commit.changes), 1))
        return stored

    def close(self) -> bool:
        """Let nobody commit any more and say what the last row is; return False if that cannot be said, of rows under way."""
        landed = self._flights.close(LANDING_SECONDS)
        if landed:
            self._epochs.close(self._chain)
        return landed

    def _flush(self, members: Members) -> None:
        left = list(members)
        ends = time.monotonic() + self._seconds * 2
        while left:
            try:
                self._months.prepare({period_of(event.recorded) for member in left for event in member.item.events})
                self._epochs.begin(self._chain)
                self._transact(left)
                left = []
            except LosersError as losers:
                left = _without(left, losers.members)
            except _OvertakenError:
                left = _without(left, self._outdated(left))
            except (ServerSelectionTimeoutError, WaitQueueTimeoutError) as fault:
                raise unanswered(fault) from fault
            except PyMongoError as fault:
                if time.monotonic() > ends:
                    raise Unavailable(
                        "The change could not be made in time.", reasons=(type(fault).__name__,)
                    ) from fault
                outdated = _making(left, _taken(fault))
                if outdated:
                    left = _without(left, outdated)
                elif not fault.has_error_label("TransientTransactionError"):
                    self._one_by_one(left, fault)
                    return
                else:
                    time.sleep(random.uniform(0.001, 0.005))  # noqa: S311 - to part two workers, not to hide anything

    def _one_by_one(self, members: Members, fault: PyMongoError) -> None:
        """Find whose fault it is; a single member that meets a row that is there already is out of date."""
        if len(members) > 1:
            for member in members:
                try:
                    self._flush([member])
                except Exception as error:  # noqa: BLE001 - it belongs to this member alone
                    member.error = error
            return
        if _is_duplicate(fault):
            members[0].error = Stale()
        else:
            raise Unavailable("The change could not be made.", reasons=(type(fault).__name__,)) from fault

    def _transact(self, members: Members) -> None:
        started = time.monotonic()
        stored = [self._stamped(member.item) for member in members]
        rows = self._chain.rows([event for member in members for event in member.item.events])
        with self._database.client.start_session() as session:
            session.start_transaction(
                read_concern=ReadConcern("snapshot"),
                write_concern=DURABLE,
                max_commit_time_ms=int(self._seconds * 1000),
            )
            try:
                self._write(members, stored, rows, session)
                if time.monotonic() - started > self._seconds:
                    raise Unavailable("The change took too long; nothing was stored.")  # noqa: TRY301 - the transaction is given up by the same line as for any fault
            except BaseException:
                _abort(session)
                raise
            self._settle(session, rows)
        self._chain.advance(rows)
        count_durable("writes", [event for member in members for event in member.item.events])
        for member, made in zip(members, stored, strict=True):
            member.result = made

    def _write(
        self,
        members: Members,
        stored: Sequence[tuple[Stored, ...]],
        rows: list[Row],
        session: ClientSession,
    ) -> None:
        transaction = Transaction(self._database, session)
        hold(members, transaction, lambda: self._stamps.next()[1])
        changes = [change for member in members for change in member.item.changes]
        new = [version for each in stored for version in each]
        if not versions.write(changes, new, transaction):
            raise _OvertakenError
        versions.erase((patient for member in members for patient in member.item.erased), POLICY, transaction, GROUP)
        marks = [{"_id": mark} for member in members for mark in member.item.marks]
        transaction.insert("loads", marks)
        self._months.insert(rows, transaction)

    def _outdated(self, members: Members) -> list[Member[Commit]]:
        """Return the members whose Plan another commit has overtaken, as seen outside the transaction that met it."""
        ids = {str(change.ref) for member in members for change in member.item.changes}
        current = self._database.get_collection("current", read_concern=ReadConcern("majority"))
        now = {row["_id"]: row["v"] for row in current.find({"_id": {"$in": list(ids)}}, {"v": 1})}
        return [
            member
            for member in members
            if any(
                change.before is not None and now.get(str(change.ref)) != change.before.version
                for change in member.item.changes
            )
        ]

    def _settle(self, session: ClientSession, rows: Sequence[Row]) -> None:
        """Commit; where its outcome is unknown, look whether the rows are stored."""
        try:
            session.commit_transaction()
        except PyMongoError as fault:
            if not fault.has_error_label("UnknownTransactionCommitResult"):
                raise
            try:
                if rows and rows[0].id in self._months.stored(rows[:1]):
                    return
            except PyMongoError:
                pass
            self._chain.break_off()
            raise Unrecorded("Whether the change was stored is not known yet; read before you repeat it.") from fault

    def _stamped(self, commit: Commit) -> tuple[Stored, ...]:
        return tuple(self._version(change) for change in commit.changes)

    def _version(self, change: Change) -> Stored:
        if change.before is not None and change.stays:
            return replace(change.before, index={**change.index, "_id": str(change.ref), "ty": change.ref.type})
        micros, lu = self._stamps.next()
        body = change.body.replace(STAMP, instant(micros).encode(), 1) if change.body is not None else None
        co = change.before.co if change.before else lu
        index = {**change.index, "_id": str(change.ref), "ty": change.ref.type}
        return Stored(change.ref, change.version, lu, co, micros, body, index)


def _without(members: Members, losers: Members) -> list[Member[Commit]]:
    for member in losers:
        member.error = Stale()
    return [member for member in members if member.error is None]


def _taken(fault: PyMongoError) -> set[str]:
    """Return the ids that a row was to be made under, and that are there already."""
    details = (fault.details if isinstance(fault, OperationFailure) else None) or {}
    return {str(error.get("keyValue", {}).get("_id")) for error in details.get("writeErrors", ()) if _is_taken(error)}


def _making(members: Members, ids: set[str]) -> list[Member[Commit]]:
    """Return the members that make a resource, a policy or a mark under one of the ids."""
    return [member for member in members if not ids.isdisjoint(_made(member.item))] if ids else []


def _made(commit: Commit) -> list[str]:
    refs = [str(change.ref) for change in commit.changes if change.before is None]
    return [*refs, *(f"{POLICY}{each.patient}" for each in commit.policies if each.before == 0), *commit.marks]


def _is_taken(error: Mapping[str, Any]) -> bool:
    return error.get("code") == _DUPLICATE


def _is_duplicate(fault: PyMongoError) -> bool:
    return isinstance(fault, OperationFailure) and fault.code == _DUPLICATE


def _abort(session: ClientSession) -> None:
    try:
        session.abort_transaction()
    except PyMongoError:
        return

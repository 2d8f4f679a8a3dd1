"""The two committers of a process: one for the events of reads, one for writes with theirs.

Each keeps one flush in flight. A write flush is one MongoDB transaction (snapshot, majority, journaled) of all that waited:
locks first, then the new rows of ``current``, what they supersede, the events. A member that is out of date is dropped alone;
the others fly again at once.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from pymongo import InsertOne, ReplaceOne, UpdateMany, UpdateOne
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import OperationFailure, PyMongoError, ServerSelectionTimeoutError
from pymongo.read_concern import ReadConcern

from fhir_dmp.clock import Clock, instant
from fhir_dmp.errors import Stale, Unavailable, Unrecorded
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.metrics import LOG_BYTES, LOG_ROWS
from fhir_dmp.store.change import STAMP, Change, Commit, Event, Lock, PolicyChange, Stored
from fhir_dmp.stores.mongo.chain import DURABLE, Chain, Epochs
from fhir_dmp.stores.mongo.compile import to_row
from fhir_dmp.stores.mongo.documents import POLICY, AuditRow, audit_collection, prepare_collection
from fhir_dmp.stores.mongo.each import rows_of_each
from fhir_dmp.stores.mongo.flights import Flights, Member

GROUP = 200
"""Changes that one transaction carries; a bundle above it commits alone."""

WAITING = 4000
_PAUSE = 0.005
_KEPT = ("pt", "au", "ds", "new")
_NAMES = ("=Practitioner/", "=PractitionerRole/", "=Organization/", "=Patient/", "=RelatedPerson/", "=Device/")
"""Tokens that a superseded version keeps, beside its compartments: rules tell by them whose work it is."""

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
        return self._last, f"{self._last:013x}{self._suffix}"


class Months:
    """Sees that the month's collection of rows is there before a row is sent to it."""

    def __init__(self, database: Database[_Row]) -> None:
        self._database = database
        self._ready: set[str] = set()

    def insert(self, rows: Sequence[_Row], session: ClientSession) -> None:
        """Insert the rows where they belong, within the transaction."""
        for name, part in _by_month(rows):
            self._database[name].insert_many(part, session=session)

    def insert_alone(self, rows: Sequence[_Row]) -> bool:
        """Make the rows durable by themselves; return False if some are not, or if that is not known.

        They are stored in their order, so that what a crash leaves of them is a beginning without gaps. The command is sent as it
        is: half the cost of ``insert_many`` for a group of rows, which is what every read waits for.
        """
        return all(self._inserted(name, part) for name, part in _by_month(rows))

    def _inserted(self, name: str, rows: list[_Row]) -> bool:
        answer = self._database.command({"insert": name, "documents": rows, "writeConcern": DURABLE.document})
        return not answer.get("writeErrors") and not answer.get("writeConcernError")

    def prepare(self, moments: Iterable[int]) -> None:
        """Make the collections for these moments."""
        for name in {audit_collection(micros) for micros in moments} - self._ready:
            prepare_collection(self._database, AuditRow, name)
            self._ready.add(name)

    def stored(self, rows: Sequence[_Row]) -> dict[str, tuple[str, int]]:
        """Return the ids of those rows that are stored, with the epoch and the number they have."""
        found: dict[str, tuple[str, int]] = {}
        for name in {audit_collection(row["rec"]) for row in rows}:
            ids = [row["_id"] for row in rows]
            majority = self._database.get_collection(name, read_concern=ReadConcern("majority"))
            places = majority.find({"_id": {"$in": ids}}, {"e": 1, "n": 1})
            found.update((row["_id"], (row["e"], row["n"])) for row in places)
        return found


class EventCommitter:
    """Makes the events of reads durable, in groups; ``seconds`` bounds how long one waits."""

    def __init__(self, months: Months, epochs: Epochs, chain: Chain, seconds: float) -> None:
        self._months = months
        self._epochs = epochs
        self._chain = chain
        self._seconds = seconds
        self._flights = Flights(self._flush, of="reads", heaviest=1000, most=WAITING, seconds=seconds)

    def record(self, event: Event) -> None:
        """Return when the event is durable; raise ``Unrecorded`` if it is not in time, or nobody can tell."""
        try:
            self._flights.join(event)
        except Unavailable as fault:
            raise Unrecorded(str(fault), reasons=fault.reasons) from fault

    def close(self) -> None:
        """Say what the last row is; nobody records any more."""
        self._epochs.close(self._chain)

    def _flush(self, members: Sequence[Member[Event]]) -> None:
        ends = time.monotonic() + self._seconds
        left = [member.item for member in members]
        while left:
            rows = self._chain.rows(left)
            fault: PyMongoError | None = None
            try:
                self._months.prepare(row["rec"] for row in rows)
                self._epochs.begin(self._chain)
                if self._months.insert_alone(rows):
                    self._chain.advance(rows)
                    break
            except PyMongoError as error:
                fault = error
            if time.monotonic() > ends:
                self._give_up(fault)
            time.sleep(_PAUSE)
            left = self._missing(left, rows)
        _tell("reads", [member.item for member in members])
        for member in members:
            member.result = True

    def _missing(self, events: list[Event], rows: list[_Row]) -> list[Event]:
        """Return the events that are not stored; those that are at their place in the chain are final."""
        try:
            stored = self._months.stored(rows)
        except PyMongoError:
            return events
        self._chain.advance([row for row in rows if stored.get(row["_id"]) == (row["e"], row["n"])])
        return [event for event in events if event.id not in stored]

    def _give_up(self, fault: PyMongoError | None) -> None:
        self._chain.break_off()
        raise Unavailable(
            "The log cannot be written; nothing was disclosed.", reasons=(type(fault).__name__,)
        ) from fault


def _tell(of: str, events: Sequence[Event]) -> None:
    """Count rows that are durable."""
    LOG_ROWS.labels(of).inc(len(events))
    LOG_BYTES.labels(of).inc(sum(len(event.body) for event in events))


class _Losers(Exception):
    def __init__(self, members: Iterable[Member[Commit]]) -> None:
        super().__init__()
        self.members = list(members)


class _OvertakenError(Exception):
    """A row that the group replaces is not the version that its Plan saw."""


class WriteCommitter:
    """Makes commits durable, in groups; ``seconds`` is the age above which a commit is given up."""

    def __init__(
        self, database: Database[_Row], months: Months, epochs: Epochs, chain: Chain, stamps: Stamps, seconds: float
    ) -> None:
        self._database = database
        self._months = months
        self._epochs = epochs
        self._chain = chain
        self._stamps = stamps
        self._seconds = seconds
        self._flights = Flights(self._flush, of="writes", heaviest=GROUP, most=WAITING, seconds=seconds * 2)

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

    def close(self) -> None:
        """Say what the last row is; nobody commits any more."""
        self._epochs.close(self._chain)

    def _flush(self, members: Sequence[Member[Commit]]) -> None:
        left = list(members)
        ends = time.monotonic() + self._seconds * 2
        while left:
            try:
                self._months.prepare(event.recorded for member in left for event in member.item.events)
                self._epochs.begin(self._chain)
                self._transact(left)
                left = []
            except _Losers as losers:
                left = _without(left, losers.members)
            except _OvertakenError:
                left = _without(left, self._outdated(left))
            except ServerSelectionTimeoutError as fault:
                raise Unavailable("The database does not answer.", reasons=(type(fault).__name__,)) from fault
            except PyMongoError as fault:
                if time.monotonic() > ends:
                    raise Unavailable(
                        "The change could not be made in time.", reasons=(type(fault).__name__,)
                    ) from fault
                if not fault.has_error_label("TransientTransactionError"):
                    self._one_by_one(left, fault)
                    return
                time.sleep(random.uniform(0.001, 0.005))  # noqa: S311 - to part two workers, not to hide anything

    def _one_by_one(self, members: Sequence[Member[Commit]], fault: PyMongoError) -> None:
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

    def _transact(self, members: Sequence[Member[Commit]]) -> None:
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
        _tell("writes", [event for member in members for event in member.item.events])
        for member, versions in zip(members, stored, strict=True):
            member.result = versions

    def _write(
        self,
        members: Sequence[Member[Commit]],
        stored: Sequence[tuple[Stored, ...]],
        rows: list[_Row],
        session: ClientSession,
    ) -> None:
        self._lock(members, session)
        self._require_relied_on(members, session)
        self._require_policies(members, session)
        self._put_policies(members, session)
        changes = [change for member in members for change in member.item.changes]
        new = [version for versions in stored for version in versions]
        if changes:
            writes: list[InsertOne[_Row] | ReplaceOne[_Row]] = [
                _write_of(change, version) for change, version in zip(changes, new, strict=True)
            ]
            done = self._database["current"].bulk_write(writes, ordered=False, session=session)
            replaced = [change for change in changes if change.before]
            if done.matched_count != len(replaced):
                raise _OvertakenError
            if replaced:
                later = {version.ref: version.lu for version in new}
                superseded = [_superseded(each.before, each, later[each.ref]) for each in replaced if each.before]
                self._database["versions"].insert_many(superseded, ordered=False, session=session)
                self._carry_over(replaced, session)
        for patient in [patient for member in members for patient in member.item.erased]:
            self._erase(patient, session)
        marks = [mark for member in members for mark in member.item.marks]
        if marks:
            self._database["loads"].insert_many([{"_id": mark} for mark in marks], session=session)
        if rows:
            self._months.insert(rows, session)

    def _carry_over(self, changes: Sequence[Change], session: ClientSession) -> None:
        """Let past versions be judged by the labels and the category that the resource has now, beside their own."""
        steps: list[UpdateMany] = [
            UpdateMany(_versions_of(change.ref), [{"$set": _judged_as(change)}])
            for change in changes
            if change.before is not None and change.before.version > 1 and _relabels(change, change.before)
        ]
        if steps:
            self._database["versions"].bulk_write(steps, ordered=False, session=session)

    def _erase(self, patient: str, session: ClientSession) -> None:
        """Remove what is of this record alone: rows, their versions, the policy."""
        of_record = {"pt": [patient]}
        ids = [row["_id"] for row in self._database["current"].find(of_record, {"_id": 1}, session=session)]
        for start in range(0, len(ids), GROUP):
            versions = [{"_id": {"$gte": f"{each}/", "$lt": f"{each}0"}} for each in ids[start : start + GROUP]]
            self._database["versions"].delete_many({"$or": versions}, session=session)
        self._database["current"].delete_many(of_record, session=session)
        self._database["grants"].delete_one({"_id": f"{POLICY}{patient}"}, session=session)

    def _lock(self, members: Sequence[Member[Commit]], session: ClientSession) -> None:
        locks = [(member, lock) for member in members for lock in member.item.locks]
        if not locks:
            return
        moment = self._stamps.next()[1]
        keys = [UpdateOne({"_id": _lock_id(lock)}, {"$set": {"at": moment}}, upsert=True) for _, lock in locks]
        self._database["locks"].bulk_write(keys, ordered=False, session=session)
        losers = [
            member
            for (member, lock), found in zip(locks, self._found_now([lock for _, lock in locks], session), strict=True)
            if found != {str(ref) for ref in lock.found}
        ]
        if losers:
            raise _Losers(dict.fromkeys(losers))

    def _found_now(self, locks: Sequence[Lock], session: ClientSession) -> list[set[str]]:
        """Return what the criteria of each lock find within this snapshot."""

        def find(wanted: _Row, limit: int) -> Iterable[_Row]:
            return self._database["current"].find(wanted, {"b": 0}, limit=limit, session=session)

        most = max(len(lock.found) for lock in locks) + 1
        rows_each = rows_of_each([lock.query for lock in locks], most, find)
        return [{row["_id"] for row in rows} for rows in rows_each]

    def _require_relied_on(self, members: Sequence[Member[Commit]], session: ClientSession) -> None:
        relied = {str(ref) for member in members for ref in member.item.relied_on}
        if not relied:
            return
        versions = self._versions(relied, session)
        losers = [
            member
            for member in members
            if any(versions.get(str(ref), 0) != version for ref, version in member.item.relied_on.items())
        ]
        if losers:
            raise _Losers(losers)

    def _require_policies(self, members: Sequence[Member[Commit]], session: ClientSession) -> None:
        """Drop members whose changes were permitted by policies that have changed since."""
        ids = {f"{POLICY}{patient}" for member in members for patient in member.item.decided_on}
        if not ids:
            return
        found = self._database["grants"].find({"_id": {"$in": list(ids)}}, {"v": 1}, session=session)
        versions = {row["_id"]: row["v"] for row in found}
        losers = [
            member
            for member in members
            if any(
                versions.get(f"{POLICY}{patient}", 0) != version for patient, version in member.item.decided_on.items()
            )
        ]
        if losers:
            raise _Losers(losers)

    def _put_policies(self, members: Sequence[Member[Commit]], session: ClientSession) -> None:
        """Compare and set; one that another commit made meanwhile fails as a duplicate."""
        losers = [
            member for member in members for change in member.item.policies if not self._put_policy(change, session)
        ]
        if losers:
            raise _Losers(dict.fromkeys(losers))

    def _put_policy(self, change: PolicyChange, session: ClientSession) -> bool:
        grants, row_id = self._database["grants"], f"{POLICY}{change.patient}"
        row = {"_id": row_id, "v": change.before + 1, "b": change.body, "n": list(change.names)}
        if change.before == 0:
            grants.insert_one(row, session=session)
            return True
        return grants.replace_one({"_id": row_id, "v": change.before}, row, session=session).matched_count == 1

    def _outdated(self, members: Sequence[Member[Commit]]) -> list[Member[Commit]]:
        """Return the members whose Plan another commit has overtaken, as seen outside the transaction that met it."""
        versions = self._versions({str(change.ref) for member in members for change in member.item.changes})
        return [
            member
            for member in members
            if any(
                change.before is not None and versions.get(str(change.ref)) != change.before.version
                for change in member.item.changes
            )
        ]

    def _versions(self, ids: Iterable[str], session: ClientSession | None = None) -> Mapping[str, int]:
        concern = None if session else ReadConcern("majority")
        current = self._database.get_collection("current", read_concern=concern)
        rows = current.find({"_id": {"$in": list(ids)}}, {"v": 1}, session=session)
        return {row["_id"]: row["v"] for row in rows}

    def _settle(self, session: ClientSession, rows: Sequence[_Row]) -> None:
        """Commit; where its outcome is unknown, look whether the rows are stored."""
        try:
            session.commit_transaction()
        except PyMongoError as fault:
            if not fault.has_error_label("UnknownTransactionCommitResult"):
                raise
            try:
                if rows and rows[0]["_id"] in self._months.stored(rows[:1]):
                    return
            except PyMongoError:
                pass
            self._chain.break_off()
            raise Unrecorded("Whether the change was stored is not known yet; read before you repeat it.") from fault

    def _stamped(self, commit: Commit) -> tuple[Stored, ...]:
        return tuple(self._version(change) for change in commit.changes)

    def _version(self, change: Change) -> Stored:
        micros, lu = self._stamps.next()
        body = change.body.replace(STAMP, instant(micros).encode(), 1) if change.body is not None else None
        co = change.before.co if change.before else lu
        index = {**change.index, "_id": str(change.ref), "ty": change.ref.type}
        return Stored(change.ref, change.version, lu, co, micros, body, index)


def _without(members: Sequence[Member[Commit]], losers: Sequence[Member[Commit]]) -> list[Member[Commit]]:
    for member in losers:
        member.error = Stale()
    return [member for member in members if member.error is None]


def _write_of(change: Change, version: Stored) -> InsertOne[_Row] | ReplaceOne[_Row]:
    row = {
        **to_row(version.index),
        "v": version.version,
        "lu": version.lu,
        "co": version.co,
    }
    if version.body is None:
        row["del"] = True
    else:
        row["b"] = version.body
    if change.before is None:
        return InsertOne(row)
    return ReplaceOne({"_id": row["_id"], "v": change.before.version}, row)


def _superseded(before: Stored, change: Change, until: str) -> _Row:
    row = {name: before.index[name] for name in _KEPT if name in before.index}
    kept = [token for token in before.index.get("t", ()) if token[0] == "@" or any(name in token for name in _NAMES)]
    labels = before.index.get("sec") or []
    row["t"] = kept
    row.update(_given(own=labels, sec=sorted({*labels, *(change.index.get("sec") or ())})))
    row.update(_given(ca=sorted({ca for ca in (before.index.get("ca"), change.index.get("ca")) if ca})))
    row.update(_id=f"{before.ref}/{before.version}", ty=before.ref.type, v=before.version, lu=before.lu, co=before.co)
    row["un"] = until
    if before.body is None:
        row["del"] = True
    else:
        row["b"] = before.body
    return row


def _given(**values: Sequence[str]) -> _Row:
    return {name: value for name, value in values.items() if value}


def _relabels(change: Change, before: Stored) -> bool:
    """Tell whether the change alters what past versions are judged by."""
    return any(change.index.get(name) != before.index.get(name) for name in ("sec", "ca"))


def _versions_of(ref: Ref) -> _Row:
    return {"_id": {"$gte": f"{ref}/", "$lt": f"{ref}0"}}


def _judged_as(change: Change) -> _Row:
    labels, category = list(change.index.get("sec") or ()), change.index.get("ca")
    judged: _Row = {"sec": {"$setUnion": [{"$ifNull": ["$own", []]}, {"$literal": labels}]}}
    if category:
        judged["ca"] = {"$setUnion": [{"$ifNull": ["$ca", []]}, [{"$literal": category}]]}
    return judged


def _lock_id(lock: Lock) -> str:
    return hashlib.sha256(lock.key.encode()).hexdigest()


def _is_duplicate(fault: PyMongoError) -> bool:
    if not isinstance(fault, OperationFailure):
        return False
    details = fault.details or {}
    codes = {error.get("code") for error in details.get("writeErrors", ())}
    return fault.code == _DUPLICATE or _DUPLICATE in codes


def _by_month(rows: Sequence[_Row]) -> Iterable[tuple[str, list[_Row]]]:
    """Return the rows by the collection they go to, in their order: a group that crosses midnight may go back and forth."""
    for name, part in groupby(rows, lambda row: audit_collection(row["rec"])):
        yield name, list(part)


def _abort(session: ClientSession) -> None:
    try:
        session.abort_transaction()
    except PyMongoError:
        return

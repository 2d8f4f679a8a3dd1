"""What a group of commits relied on, held to within the transaction that writes it: keys, versions, policies.

Whoever relied on what does not hold any more loses alone: the others fly again without it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fhir_dmp.store.change import Commit, Lock, PolicyChange
from fhir_dmp.stores.mongo.documents import POLICY
from fhir_dmp.stores.mongo.each import rows_of_each
from fhir_dmp.stores.mongo.flights import Member
from fhir_dmp.stores.mongo.transaction import Transaction

_Row = dict[str, Any]
Members = Sequence[Member[Commit]]


class LosersError(Exception):
    """Members whose Plan is out of date."""

    def __init__(self, members: Iterable[Member[Commit]]) -> None:
        super().__init__()
        self.members = list(dict.fromkeys(members))


def hold(members: Members, transaction: Transaction, moment: Callable[[], str]) -> None:
    """Raise ``LosersError`` unless all that the members relied on holds; put the policies that they change in place.

    ``moment`` tells what is written into the rows of the keys that are taken.
    """
    _lock(members, transaction, moment)
    _require(_losing(members, _versions_relied_on, transaction, "current"))
    _require(_losing(members, _policies_relied_on, transaction, "grants"))
    _put_policies(members, transaction)


def _require(losers: Sequence[Member[Commit]]) -> None:
    if losers:
        raise LosersError(losers)


def _versions_relied_on(commit: Commit) -> Mapping[str, int]:
    return {str(ref): version for ref, version in commit.relied_on.items()}


def _policies_relied_on(commit: Commit) -> Mapping[str, int]:
    return {f"{POLICY}{patient}": version for patient, version in commit.decided_on.items()}


def _losing(
    members: Members, relied_on: Callable[[Commit], Mapping[str, int]], transaction: Transaction, collection: str
) -> list[Member[Commit]]:
    """Return the members that relied on versions of rows (0: absent) which are others now."""
    wanted = [(member, relied_on(member.item)) for member in members]
    ids = {row_id for _, versions in wanted for row_id in versions}
    if not ids:
        return []
    rows = transaction.find(collection, {"_id": {"$in": list(ids)}}, {"v": 1})
    found = {row["_id"]: row["v"] for row in rows}
    return [
        member
        for member, versions in wanted
        if any(found.get(row_id, 0) != version for row_id, version in versions.items())
    ]


def _lock(members: Members, transaction: Transaction, moment: Callable[[], str]) -> None:
    """Take the keys of criteria, then see that the criteria find what they found when the Plans were made."""
    locks = [(member, lock) for member in members for lock in member.item.locks]
    if not locks:
        return
    taken = {"$set": {"at": moment()}}
    transaction.upsert("locks", [({"_id": _lock_id(lock)}, taken) for _, lock in locks])
    found_now = _found_now([lock for _, lock in locks], transaction)
    _require(
        [
            member
            for (member, lock), found in zip(locks, found_now, strict=True)
            if found != {str(ref) for ref in lock.found}
        ]
    )


def _found_now(locks: Sequence[Lock], transaction: Transaction) -> list[set[str]]:
    """Return what the criteria of each lock find within this snapshot."""

    def find(wanted: _Row, limit: int) -> Iterable[_Row]:
        return transaction.find("current", wanted, {"b": 0}, limit=limit)

    most = max(len(lock.found) for lock in locks) + 1
    rows_each = rows_of_each([lock.query for lock in locks], most, find)
    return [{row["_id"] for row in rows} for rows in rows_each]


def _lock_id(lock: Lock) -> str:
    return hashlib.sha256(lock.key.encode()).hexdigest()


def _put_policies(members: Members, transaction: Transaction) -> None:
    """Compare and set; one that another commit made meanwhile fails as a duplicate."""
    _require([member for member in members for change in member.item.policies if not _put_policy(change, transaction)])


def _put_policy(change: PolicyChange, transaction: Transaction) -> bool:
    row_id = f"{POLICY}{change.patient}"
    row = {"_id": row_id, "v": change.before + 1, "b": change.body, "n": list(change.names)}
    if change.before == 0:
        transaction.insert("grants", [row])
        return True
    return transaction.replace("grants", [({"_id": row_id, "v": change.before}, row)]) == 1

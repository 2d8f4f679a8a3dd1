"""From changes to rows: the new row of ``current``, and what of the row before it goes to ``versions``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from fhir_dmp.fhir.reference import Ref
from fhir_dmp.store.change import NOBODYS, Change, Stored
from fhir_dmp.stores.mongo.compile import to_row
from fhir_dmp.stores.mongo.transaction import Transaction

_KEPT = ("t", "r", "about", "au", "ds", "new", "patched")
_JUDGED = ("pt", "sec", "ca")
_Row = dict[str, Any]
Replaced = tuple[Change, Stored, Stored]
"""A change, the version that it replaces, the version that it makes."""


def write(changes: Sequence[Change], new: Sequence[Stored], transaction: Transaction) -> bool:
    """Write the new rows, and what they supersede; return False if a row is not any more what its change replaces.

    Raises ``OperationFailure`` if a row is there already that a change makes.
    """
    made = [_row(version) for change, version in zip(changes, new, strict=True) if change.before is None]
    if made:
        transaction.insert("current", made)
    replaced = [(each, each.before, version) for each, version in zip(changes, new, strict=True) if each.before]
    return not replaced or _replace(replaced, transaction)


def _replace(replaced: Sequence[Replaced], transaction: Transaction) -> bool:
    rows = (({"_id": str(before.ref), "v": before.version}, _row(version)) for _, before, version in replaced)
    if transaction.replace("current", rows) != len(replaced):
        return False
    transaction.insert("versions", [_superseded(*each) for each in replaced if not each[0].stays])
    relabelled = [
        (versions_of(change.ref), [{"$set": _judged_as(change, before)}])
        for change, before, _ in replaced
        if before.version > 1 and _relabels(change, before)
    ]
    if (
        relabelled
    ):  # past versions are judged by the records, labels and category that the resource has now, beside their own
        transaction.update("versions", relabelled)
    return True


def _row(version: Stored) -> _Row:
    row = {**to_row(version.index), "v": version.version, "lu": version.lu, "co": version.co}
    row |= _content(version)
    return row


def _content(version: Stored) -> _Row:
    return {"del": True} if version.body is None else {"b": version.body}


def _superseded(change: Change, before: Stored, after: Stored) -> _Row:
    row = to_row({name: before.index[name] for name in _KEPT if name in before.index})
    labels = before.index.get("sec") or []
    row.update(_given(own=labels, sec=sorted({*labels, *(change.index.get("sec") or ())})))
    row.update(_given(ca=sorted({ca for ca in (before.index.get("ca"), change.index.get("ca")) if ca})))
    patients, now = before.index.get("pt") or [], change.index.get("pt") or [NOBODYS]
    if patients:
        moved = not set(now) <= set(patients)
        row.update(_given(whose=patients if moved else [], pt=list(dict.fromkeys([*patients, *now]))))
    row.update(_id=f"{before.ref}/{before.version}", ty=before.ref.type, v=before.version, lu=before.lu, co=before.co)
    row["un"] = after.lu
    row |= _content(before)
    return row


def _given(**values: Sequence[str]) -> _Row:
    return {name: value for name, value in values.items() if value}


def _relabels(change: Change, before: Stored) -> bool:
    """Tell whether the change alters what past versions are judged by."""
    return any(change.index.get(name) != before.index.get(name) for name in _JUDGED)


def versions_of(ref: Ref | str) -> _Row:
    """Return the filter of all superseded versions of a resource."""
    return {"_id": {"$gte": f"{ref}/", "$lt": f"{ref}0"}}


def _judged_as(change: Change, before: Stored) -> _Row:
    labels, category = list(change.index.get("sec") or ()), change.index.get("ca")
    judged: _Row = {"sec": {"$setUnion": [{"$ifNull": ["$own", []]}, {"$literal": labels}]}}
    if change.index.get("pt") != before.index.get("pt"):
        own, now = {"$ifNull": ["$whose", "$pt", []]}, {"$literal": list(change.index.get("pt") or (NOBODYS,))}
        both = {"$cond": [{"$eq": [own, []]}, "$pt", {"$setUnion": [own, now]}]}
        judged |= {"whose": {"$ifNull": ["$whose", "$pt"]}, "pt": both}
    if category:
        judged["ca"] = {"$setUnion": [{"$ifNull": ["$ca", []]}, [{"$literal": category}]]}
    return judged


def erase(patients: Iterable[str], policy: str, transaction: Transaction, most: int) -> None:
    """Remove what is of each record alone: rows, their versions, the policy (below the prefix ``policy``)."""
    for patient in patients:
        of_record = {"pt": [patient]}
        ids = [row["_id"] for row in transaction.find("current", of_record, {"_id": 1})]
        for start in range(0, len(ids), most):
            transaction.delete("versions", {"$or": [versions_of(each) for each in ids[start : start + most]]})
        transaction.delete("current", of_record)
        transaction.delete("grants", {"_id": f"{policy}{patient}"})

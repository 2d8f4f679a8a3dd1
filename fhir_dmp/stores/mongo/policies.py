"""What opens records: their policies, which stand among the grants and are written by commits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pymongo.collection import Collection

from fhir_dmp.store.grants import PolicyRow
from fhir_dmp.store.query import end_of
from fhir_dmp.stores.mongo.connect import QUERY_MILLIS
from fhir_dmp.stores.mongo.documents import POLICY
from fhir_dmp.stores.mongo.faults import answering
from fhir_dmp.stores.mongo.finder import Finder
from fhir_dmp.stores.mongo.together import Together

_FIELDS = {"v": 1, "b": 1}
_Row = dict[str, Any]
_Naming = tuple[tuple[str, ...], int]


class MongoPolicies:
    """The policies as ``store.port.Store`` tells them; by records, and by whom they name, they are asked for with whoever waits beside."""

    def __init__(self, grants: Collection[_Row], finder: Finder) -> None:
        self._grants = grants
        self._finder = finder
        self._of_records = Together(self._fetch)
        self._that_name = Together(self._fetch_naming)

    def of(self, patients: Sequence[str]) -> Mapping[str, PolicyRow]:
        """Return what opens these records, by a query shared with those who wait."""
        if not patients:
            return {}
        found = self._of_records.find_many(patients)
        return {patient: found[patient] for patient in patients if patient in found}

    def naming(self, names: Sequence[str], limit: int) -> tuple[PolicyRow, ...]:
        """Return up to ``limit`` policies that name one of these, by a query shared with those who ask the same."""
        return self._that_name.find((tuple(names), limit)) or ()

    def after(self, patient: str, limit: int) -> tuple[PolicyRow, ...]:
        """Return a page of all policies, by their patients; whoever calls waits."""
        bounds = {"$gt": f"{POLICY}{patient}", "$lt": end_of(POLICY)}
        with answering():
            found = self._grants.find({"_id": bounds}, _FIELDS, limit=limit).sort("_id")
            return tuple(_policy(row) for row in found.max_time_ms(QUERY_MILLIS))

    def _fetch(self, patients: Sequence[str]) -> Mapping[str, PolicyRow]:
        found = self._finder.named(self._grants, [f"{POLICY}{patient}" for patient in patients], _FIELDS)
        return {policy.patient: policy for policy in map(_policy, found)}

    def _fetch_naming(self, asked: Sequence[_Naming]) -> Mapping[_Naming, tuple[PolicyRow, ...]]:
        return {(names, limit): self._fetch_named(names, limit) for names, limit in asked}

    def _fetch_named(self, names: tuple[str, ...], limit: int) -> tuple[PolicyRow, ...]:
        wanted = {"n": {"$in": list(names)}}
        return tuple(map(_policy, self._finder.rows(self._grants, wanted, _FIELDS, limit=limit, batchSize=limit)))


def _policy(row: _Row) -> PolicyRow:
    return PolicyRow(row["_id"].removeprefix(POLICY), row["v"], row["b"])

"""The register of epochs (``stores.mongo.chain``), as who seals and who verifies reads it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pymongo.database import Database

from fhir_dmp.store.chain import Link, Opening
from fhir_dmp.stores.mongo.chain import EPOCHS
from fhir_dmp.stores.mongo.exact import is_bytes, is_text, is_whole
from fhir_dmp.stores.mongo.faults import answering
from fhir_dmp.stores.mongo.reading import read_all, read_with_bytes, says

_Document = dict[str, Any]


class Register:
    """The part of ``store.ledger.Ledger`` that knows which epochs there are."""

    log: Database[_Document]

    def openings(self, since: int = 0) -> Iterator[Opening]:
        """Yield the epochs that were registered or closed since then (microseconds). What is none is left out."""
        return self._openings({"at": {"$gte": since}})

    def openings_of(self, keys: Iterable[tuple[str, str]]) -> Iterator[Opening]:
        """Yield those of these epochs, by writer and epoch, that are registered."""
        names = [f"{writer}/{epoch}" for writer, epoch in keys]
        return self._openings({"_id": {"$in": [own for name in names for own in (name, f"{name}/closed")]}})

    def _openings(self, wanted: _Document) -> Iterator[Opening]:
        with answering():
            rows: dict[tuple[str, str], _Document] = {}
            for row in read_all(self.log[EPOCHS], wanted, sort=[("at", 1)]):
                if _is_one(row):
                    known = rows.setdefault((row["w"], row["e"]), {"at": row["at"], "head": 0})
                    known.update({name: row[name] for name in ("head", "after", "closed") if row.get(name)})
        for (writer, epoch), row in rows.items():
            after, closed = row.get("after"), row.get("closed")
            yield Opening(
                writer,
                epoch,
                int(row["at"]),
                int(row["head"]),
                _link(writer, after) if after else None,
                _link(writer, closed) if closed else None,
            )

    def odd_openings(self) -> Iterator[str]:
        """Yield the ids of what is registered and is no epoch."""
        with answering():
            for row, stored in read_with_bytes(self.log[EPOCHS], {}):
                if not (_is_one(row) and says(row, stored)):
                    yield str(row["_id"])


def _is_one(row: _Document) -> bool:
    """Tell whether this is an epoch's beginning, or its end."""
    told = is_text(row.get("w")) and is_text(row.get("e")) and is_whole(row.get("at")) and is_whole(row.get("head", 0))
    return told and all(row.get(name) is None or _is_link(row[name]) for name in ("after", "closed"))


def _is_link(value: Any) -> bool:
    return isinstance(value, dict) and (
        is_text(value.get("e")) and is_whole(value.get("n")) and is_bytes(value.get("h")) and is_whole(value.get("rec"))
    )


def _link(writer: str, row: _Document) -> Link:
    return Link(writer, row["e"], int(row["n"]), row["h"], int(row["rec"]))

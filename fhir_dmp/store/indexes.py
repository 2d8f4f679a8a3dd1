"""How far search parameters that were added to those of R4 are indexed: what all workers go by, and how rows are indexed anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from fhir_dmp.store.change import Index, Stored


class AddedParam(Struct, frozen=True):
    """A search parameter beside those of R4, by its canonical URL.

    ``fingerprint`` is of what it was compiled to. ``definition`` is the SearchParameter as JSON, None if it stands in the tables. Rows that
    are written after ``since`` (microseconds), and some seconds, are indexed by it; all are once it is ``complete``.
    """

    url: str
    fingerprint: str
    since: int
    complete: bool
    definition: bytes | None = None


class Indexes(Protocol):
    """The added parameters, and the rows to be indexed by them. Methods raise ``errors.Unavailable``."""

    def added(self) -> tuple[AddedParam, ...]:
        """Return all added parameters, by URL."""
        ...

    def save(self, params: Sequence[AddedParam]) -> None:
        """Keep the parameters as they are now; every worker goes by it within ``search.added.POLL_SECONDS``."""
        ...

    def forget(self, urls: Sequence[str]) -> None:
        """Drop parameters: new rows are no longer indexed by them."""
        ...

    def form(self) -> int:
        """Return the form in which all rows are indexed (0: nobody said)."""
        ...

    def keep_form(self, form: int) -> None:
        """Remember that all rows are indexed in the form."""
        ...

    def place(self, run: str) -> tuple[str, int]:
        """Return the id of the last row that a run has done, and how many it has (nothing if it is new)."""
        ...

    def advance(self, run: str, last: str, done: int) -> None:
        """Remember how far a run is; of runs only the last is known."""
        ...

    def count(self, resource_types: Sequence[str]) -> int:
        """Return about how many rows the types have."""
        ...

    def rows(self, resource_type: str, after: str, limit: int) -> Sequence[Stored]:
        """Return rows of a type that exist, with their index, in the order of their ids, after one."""
        ...

    def rewrite(self, rows: Sequence[tuple[Stored, Index]]) -> int:
        """Give each row that is still of that version its new index fields and nothing else; return how many were."""
        ...

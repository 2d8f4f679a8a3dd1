"""Policies as this process saw them last: what a writer may presume, since its commit holds the version within its transaction.

What is only read has no commit that would notice, and is never judged by these.
"""

from __future__ import annotations

from collections.abc import Mapping

from fhir_dmp.store.grants import PolicyRow

MOST = 5000
"""Records whose policies are remembered; with one more, all are forgotten."""


class Recent:
    """What opened a record (``Patient/p``) when it was last read: None where nothing did."""

    def __init__(self) -> None:
        self._rows: dict[str, PolicyRow | None] = {}

    def known(self, patient: str) -> bool:
        """Tell whether the record's policy was read lately."""
        return patient in self._rows

    def find(self, patient: str) -> PolicyRow | None:
        """Return the policy as it was."""
        return self._rows.get(patient)

    def note(self, rows: Mapping[str, PolicyRow | None]) -> None:
        """Remember policies that were read just now."""
        if len(self._rows) + len(rows) > MOST:
            self._rows = {}
        self._rows.update(rows)

"""What a verification of the log found: the first findings, and how much was looked at."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from fhir_dmp.audit.heads import Head

Kind = Literal[
    "altered",
    "missing",
    "duplicated",
    "inserted",
    "reordered",
    "tail cut",
    "tree altered",
    "chain broken",
    "misfiled",
]
MOST_FINDINGS = 20

Chain = tuple[str, str]
"""Writer and epoch: what a chain is of."""


class Finding(Struct, frozen=True):
    """Something that is not as it was signed; ``leaf`` is None for a row that no leaf stands for."""

    kind: Kind
    leaf: int | None
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


class Report(Struct):
    """What a verification found: nothing, if ``findings`` is empty.

    ``leaves`` were read, from ``first`` on; up to ``proven`` they are held by signed heads, of which ``heads`` were compared, the
    ``newest`` last; ``later`` heads are of larger trees than an export that ends in order. ``removed`` rows are not there because
    of a removed period; ``unsure`` says in words of which of them a part of the log cannot tell whether that is true. Of the periods
    ``halfway`` a head says that they are removed, and a database has rows of them all the same.
    """

    first: int = 0
    leaves: int = 0
    proven: int = 0
    heads: int = 0
    removed: int = 0
    unsealed: int = 0
    newest: Head | None = None
    later: int = 0
    findings: list[Finding] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)
    halfway: list[str] = field(default_factory=list)

    @property
    def full(self) -> bool:
        """Whether what was found is enough: nothing more is noted."""
        return len(self.findings) >= MOST_FINDINGS

    @property
    def cut(self) -> bool:
        """Whether the log ends before its heads do."""
        return any(finding.kind == "tail cut" for finding in self.findings)

    def add(self, kind: Kind, leaf: int | None, text: str) -> None:
        """Note a finding; the first ones are enough."""
        if not self.full:
            self.findings.append(Finding(kind, leaf, text))

    def add_all(self, other: Report) -> None:
        """Note what another report found, of rows that are in no leaf."""
        self.unsealed += other.unsealed
        for finding in other.findings:
            self.add(finding.kind, finding.leaf, finding.text)

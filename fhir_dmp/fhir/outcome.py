"""OperationOutcome, the answer to everything that is not as asked. https://hl7.org/fhir/R4/operationoutcome.html."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from fhir_dmp.errors import Issue

LONGEST = 1000
"""Characters of one text."""

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def outcome(issues: Iterable[Issue]) -> dict[str, Any]:
    """Return an OperationOutcome with a line for each issue."""
    return {"resourceType": "OperationOutcome", "issue": [_line(issue) for issue in issues]}


def _line(issue: Issue) -> dict[str, Any]:
    line: dict[str, Any] = {"severity": issue.severity, "code": issue.code, "diagnostics": _said(issue.text)}
    if issue.expression:
        line["expression"] = [_said(issue.expression)]
    return line


def _said(text: str) -> str:
    """Return the text as a FHIR string may be: what the sender wrote and we repeat may hold what a string may not."""
    cut = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", cut)

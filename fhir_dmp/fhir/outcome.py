"""OperationOutcome, the answer to everything that is not as asked. https://hl7.org/fhir/R4/operationoutcome.html."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fhir_dmp.errors import Issue


def outcome(issues: Iterable[Issue]) -> dict[str, Any]:
    """Return an OperationOutcome with a line for each issue."""
    return {"resourceType": "OperationOutcome", "issue": [_line(issue) for issue in issues]}


def _line(issue: Issue) -> dict[str, Any]:
    line: dict[str, Any] = {"severity": issue.severity, "code": issue.code, "diagnostics": issue.text}
    if issue.expression:
        line["expression"] = [issue.expression]
    return line

"""May this row be read or changed? Deny wins; no rule means deny."""

from __future__ import annotations

from collections.abc import Iterable

from fhir_dmp.access.model import Decision, Rule
from fhir_dmp.store.matching import matches
from fhir_dmp.store.query import Row

NO_RULE = "no rule permits it"


def decide(rules: Iterable[Rule], row: Row) -> Decision:
    """Return the decision for one row, with the reasons of the rules that made it."""
    met = [rule for rule in rules if matches(rule.where, row)]
    refusals = tuple(rule.reason for rule in met if not rule.permit)
    if refusals:
        return Decision(permit=False, reasons=refusals)
    permits = tuple(rule.reason for rule in met)
    return Decision(permit=bool(permits), reasons=permits or (NO_RULE,))

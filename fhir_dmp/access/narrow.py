"""Which rows may be listed? The same rules as ``decide``, as a query: any permit and no refusal."""

from __future__ import annotations

from collections.abc import Sequence

from fhir_dmp.access.model import Rule
from fhir_dmp.store.query import Not, Query, both, either


def narrow(rules: Sequence[Rule]) -> Query:
    """Return the query that finds exactly the rows that ``decide`` permits."""
    permits = either([rule.where for rule in rules if rule.permit])
    return both(permits, *(_beside(rule.where) for rule in rules if not rule.permit))


def _beside(where: Query) -> Query:
    """Return the query for the rows that ``where`` does not describe."""
    return where.part if isinstance(where, Not) else Not(where)

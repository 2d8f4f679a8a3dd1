"""Acts as the metrics count them: by names that are on a list, since a caller can write anything in a URL."""

from __future__ import annotations

from functools import cache
from typing import Any

from fhir_dmp.audit.kinds import KINDS
from fhir_dmp.metrics import ACTS
from fhir_dmp.service.operations import OPERATIONS

OTHER = "other"
_NAMES = frozenset((*KINDS, *(f"${code}" for code in OPERATIONS)))


def count_act(act: str, outcome: str) -> None:
    """Count one act by its name and outcome (0, 4, 8 or 12)."""
    _counter(act if act in _NAMES else OTHER, outcome).inc()


@cache
def _counter(act: str, outcome: str) -> Any:
    return ACTS.labels(act, outcome)

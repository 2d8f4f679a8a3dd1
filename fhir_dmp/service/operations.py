"""The operations by code: the right that each needs on its type, and who does it. https://hl7.org/fhir/R4/operations.html.

Where they are called and what they take stands in ``profiles/operations``.
"""

from __future__ import annotations

from collections.abc import Mapping

from fhir_dmp.access.model import Action
from fhir_dmp.call import Interaction
from fhir_dmp.interactions.operations.meta import meta
from fhir_dmp.interactions.operations.validate import validate
from fhir_dmp.service.audit_log import counts

OPERATIONS: Mapping[str, tuple[Action | None, Interaction]] = {
    "counts": ("search", counts),
    "meta": ("read", meta),
    "validate": (None, validate),
}
"""What may be called, the right that it needs on its type (None: it asks by itself), and who does it."""

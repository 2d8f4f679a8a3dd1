"""The operations by code: the right that each needs on its type, and who does it. https://hl7.org/fhir/R4/operations.html.

Where they are called and what they take stands in ``profiles/operations``.
"""

from __future__ import annotations

from collections.abc import Mapping

from fhir_dmp.access.model import Action
from fhir_dmp.call import Interaction
from fhir_dmp.interactions.operations.access_list import access_list
from fhir_dmp.interactions.operations.attending_doctor import attending_doctor
from fhir_dmp.interactions.operations.authorize import authorize
from fhir_dmp.interactions.operations.block import block, unblock
from fhir_dmp.interactions.operations.closing import close, reopen
from fhir_dmp.interactions.operations.due_notices import due_notices
from fhir_dmp.interactions.operations.erase import erase
from fhir_dmp.interactions.operations.everything import everything
from fhir_dmp.interactions.operations.lastn import lastn
from fhir_dmp.interactions.operations.mask import mask
from fhir_dmp.interactions.operations.meta import meta
from fhir_dmp.interactions.operations.meta_add import meta_add
from fhir_dmp.interactions.operations.meta_delete import meta_delete
from fhir_dmp.interactions.operations.oppose import oppose
from fhir_dmp.interactions.operations.revoke import revoke
from fhir_dmp.interactions.operations.validate import validate
from fhir_dmp.service import log_proofs
from fhir_dmp.service.log_search import counts

OPERATIONS: Mapping[str, tuple[Action | None, Interaction]] = {
    "access-list": (None, access_list),
    "attending-doctor": (None, attending_doctor),
    "authorize": (None, authorize),
    "block": (None, block),
    "close": (None, close),
    "counts": ("search", counts),
    "everything": ("read", everything),
    "lastn": ("search", lastn),
    "due-notices": (None, due_notices),
    "erase": (None, erase),
    "mask": (None, mask),
    "meta": ("read", meta),
    "meta-add": ("update", meta_add),
    "meta-delete": ("update", meta_delete),
    "oppose": (None, oppose),
    "reopen": (None, reopen),
    "revoke": (None, revoke),
    "unblock": (None, unblock),
    "validate": (None, validate),
    **log_proofs.OPERATIONS,
}
"""What may be called, the right that it needs on its type (None: it asks by itself), and who does it."""

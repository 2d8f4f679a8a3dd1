"""Who may set or lift the labels that say who does not see an item."""

from __future__ import annotations

from fhir_dmp.access.model import Subject
from fhir_dmp.errors import Unprocessable
from fhir_dmp.fhir.labels import HIDDEN_FROM_HOLDER, HIDDEN_FROM_REPRESENTATIVES, MASKED


def require_flags_at_creation(subject: Subject | None, given: frozenset[str], *, together: bool = False) -> None:
    """Raise ``Unprocessable`` for labels of a new resource that its author may not choose.

    ``together`` lets an item be masked and hidden from the patient as well (the DMP's parameter ``cumul-invisible_patient-masque_ps``).
    """
    person = subject.person if subject else None
    if {MASKED, HIDDEN_FROM_HOLDER} <= given and not together:
        raise Unprocessable("An item is masked or hidden from the patient, not both.", expression="meta.security")
    if person is not None and person.kind != "professional" and HIDDEN_FROM_HOLDER in given:
        raise Unprocessable("Only a professional hides an item from the patient.", expression="meta.security")
    if person is not None and person.kind == "representative" and HIDDEN_FROM_REPRESENTATIVES in given:
        raise Unprocessable("A representative hides nothing from representatives.", expression="meta.security")
    if person is not None and person.secret and HIDDEN_FROM_REPRESENTATIVES not in given:
        raise Unprocessable(
            "In a secret connection everything is deposited as INVISIBLE_REPRESENTANTS_LEGAUX.",
            expression="meta.security",
        )


def flags_after_update(
    subject: Subject | None, before: frozenset[str], given: frozenset[str], *, only_labels: bool
) -> frozenset[str]:
    """Return the labels of the next version; raise ``Unprocessable`` for a label that its writer may not set.

    A new content keeps the labels that the writer leaves out: who syncs a document does not unmask it. Labels are lifted by a change of
    labels alone. Who may change the item at all is for the rules to say; that what was visible is hidden again, for nobody.
    """
    holder = subject is not None and subject.person is not None and subject.person.kind != "professional"
    if MASKED in given - before and not holder:
        raise Unprocessable("The patient masks an item after its deposit.", expression="meta.security")
    if (given - before) & {HIDDEN_FROM_HOLDER, HIDDEN_FROM_REPRESENTATIVES}:
        raise Unprocessable("What was visible once is not hidden again.", expression="meta.security")
    if not only_labels:
        return before | given
    lifted = before - given
    own = {MASKED} if holder else {HIDDEN_FROM_HOLDER, HIDDEN_FROM_REPRESENTATIVES}
    return (before - (lifted & own)) | given

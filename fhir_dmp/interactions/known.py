"""What a caller knows of a row: absent and hidden are one answer. https://hl7.org/fhir/R4/security.html#AccessDenied."""

from __future__ import annotations

from fhir_dmp.access.model import Action
from fhir_dmp.call import Call, Context, Grant
from fhir_dmp.errors import Conflict, FhirError, NotFound
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.interactions.entities import disclosed, gone
from fhir_dmp.interactions.preconditions import require_version
from fhir_dmp.store.change import Stored

_SEEING: tuple[Action, ...] = ("read", "update", "delete")


def visible(ref: Ref, row: Stored | None, grant: Grant) -> Stored:
    """Return the row if the caller may read it; raise the same ``NotFound`` for absent and for hidden.

    The true reasons travel with the error to the audit.
    """
    reasons: tuple[str, ...] = ("absent",)
    patients: tuple[str, ...] = ()
    hidden = False
    if row is not None:
        decision = grant.decide("read", row.index)
        if decision.permit:
            return row
        there = disclosed(row)
        reasons, patients, hidden = decision.reasons, there.patients, there.hidden
    raise NotFound(f"{ref} is not known here.", reasons=reasons, patients=patients, hidden=hidden)


def known(call: Call, row: Stored | None, context: Context, grant: Grant) -> Stored | None:
    """Return the row that a call would replace as its caller knows it: None for what is absent or hidden.

    Ids are people's to find, not to choose, and a system's to choose unless somebody has them: ``NotFound`` for the person, the same
    for absent and for hidden, ``Conflict`` for the system, and no more is said. A deletion finds nothing in both cases.
    """
    seen = row is not None and any(grant.decide(action, row.index).permit for action in _SEEING)
    if seen or (row is None and (call.name == "delete" or not _is_person(context))):
        return row
    require_version(call, None)
    if call.name == "delete":
        return None
    reasons = ("absent",) if row is None else grant.decide("read", row.index).reasons
    if _is_person(context):
        raise NotFound(f"{call.ref} is not known here.", reasons=reasons)
    raise Conflict(f"{call.ref} cannot be used: choose another id.", reasons=reasons)


def not_deleted(ref: Ref, row: Stored | None, seen: Stored | None, grant: Grant) -> FhirError:
    """Return what the log is told of a deletion that deletes nothing: what its caller knows (``seen``) is gone already, or not found.

    Of absent and of hidden it is told the same, but for the reasons.
    """
    if seen is not None:
        return gone(disclosed(seen), f"{ref} was deleted before.")
    text = f"{ref} is not known here."
    if row is None or row.deleted:
        return NotFound(text, reasons=("absent",))
    there = disclosed(row)
    return NotFound(text, reasons=grant.decide("read", row.index).reasons, patients=there.patients, hidden=there.hidden)


def unmatched() -> FhirError:
    """Return what the log is told of a deletion whose criteria match nothing."""
    return NotFound("Nothing matches the criteria.", reasons=("absent",))


def _is_person(context: Context) -> bool:
    return context.subject is not None and context.subject.person is not None

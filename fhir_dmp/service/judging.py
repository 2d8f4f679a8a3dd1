"""Whether what a Plan would do is permitted: each change on the state before it and on the state after it."""

from __future__ import annotations

from collections.abc import Iterable

from fhir_dmp.access.kinds import DIRECTORY
from fhir_dmp.access.model import Action, Person
from fhir_dmp.access.rules import KEPT, shut
from fhir_dmp.call import Context, Plan
from fhir_dmp.errors import Refused
from fhir_dmp.interactions.entities import disclosed, entity
from fhir_dmp.service.granting import Granting, shut_out
from fhir_dmp.store.change import Change
from fhir_dmp.store.query import Row


def judge(plan: Plan, context: Context, grant: Granting) -> None:
    """Refuse the whole Plan unless each change is permitted on the state before it and on the state after it."""
    rows = [(change, action, row) for change in plan.changes for action, row in _states(change)]
    if context.subject is None or context.subject.person is None:
        made = (str(change.ref) for change in plan.changes if change.before is None)
        grant.policies.presume_none(ref for ref in made if ref.startswith("Patient/"))
        grant.policies.learn(patient for _, _, row in rows for patient in row.get("pt") or ())
    for change, kind, row in rows:
        action: Action = "govern" if plan.entitled else kind
        decision = grant.decide(action, row)
        if not decision.permit:
            person = context.subject.person if context.subject else None
            entering: Action = "create" if action == "create" else "read"
            why = shut(grant.rules(entering)) if person and person.patient else ()
            if why:
                raise shut_out(context, (*why, *decision.reasons))
            raise Refused(
                _not_allowed(change, person, decision.reasons),
                reasons=decision.reasons,
                patients=entity(change).patients,
                hidden=change.before is not None and disclosed(change.before).hidden,
                met=() if change.before is None else (str(change.ref),),
            )


def _not_allowed(change: Change, person: Person | None, reasons: tuple[str, ...]) -> str:
    """Return what is said of a change that the rules refuse: a system, which sends many at once, hears which it was.

    Of an entry of the directory it hears what to do instead.
    """
    if reasons == (KEPT,):
        return f"{change.ref} was written by who keeps the directory, and is changed by it alone: refer to it as it is."
    if change.before is None or person is not None:
        return f"This token does not allow to {change.kind} {change.ref.type}."
    others = change.ref.type in DIRECTORY
    instead = ": others wrote it; refer to it as it is, or write an entry of your own" if others else ""
    return f"This token does not allow to {change.kind} {change.ref}{instead}."


def _states(change: Change) -> Iterable[tuple[Action, Row]]:
    """Return what is judged of a change: what was there, and what will be; of a deletion nothing is left to be judged.

    What was deleted comes back by who may change it: it is its author's again, whoever wrote what it holds.
    """
    if change.before is not None and change.body is None:
        return ((change.kind, change.before.index),)
    after = {**change.index, "_id": str(change.ref), "ty": change.ref.type}
    if change.before is None:
        return ((change.kind, after),)
    kind: Action = "repeat" if change.stays else change.kind
    before = "update" if change.before.deleted else kind
    return ((before, change.before.index), (kind, {**after, "co": change.before.co}))

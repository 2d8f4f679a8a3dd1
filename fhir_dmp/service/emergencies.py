"""After access in an emergency: the holder and the attending doctor are told, and a review is opened. Public Health Code, R.1111-48.

The notices are part of the commit of the first act's own event, so that nothing is disclosed of which they do not tell.
"""

from __future__ import annotations

from fhir_dmp.access.people import BREAK_GLASS, CENTRE_15
from fhir_dmp.access.policy import Policy
from fhir_dmp.call import Context, Env
from fhir_dmp.interactions.notices import doctors, notice, review, untold
from fhir_dmp.store.change import Change

_MODES = {BREAK_GLASS: "en urgence, par bris de glace", CENTRE_15: "en urgence, par un centre de régulation"}


def cause_of(context: Context) -> str | None:
    """Return what the notices of an emergency are about: one token's access; None if the caller claims none."""
    subject = context.subject
    if subject is None or subject.person is None or subject.person.purpose not in _MODES:
        return None
    return f"emergency/{subject.token_id}"


def obligations(policy: Policy, context: Context, env: Env) -> tuple[Change, ...]:
    """Return the notices and the Task that the caller's access owes, or nothing if they are written."""
    cause = cause_of(context)
    person = context.subject.person if context.subject else None
    if cause is None or person is None or person.patient is None or not untold([f"{cause}/holder"], env):
        return ()
    moment = context.now.isoformat(timespec="minutes")
    who = person.name or person.identifier
    words = (
        f"Le dossier a été ouvert {_MODES[person.purpose]} par {who}, le {moment}. Le journal des accès dit le reste."
    )
    holder = notice(f"{cause}/holder", person.patient, {"reference": person.patient}, words, context, env)
    others = [
        notice(f"{cause}/doctor/{place}", person.patient, doctor, words, context, env)
        for place, doctor in enumerate(doctors(policy))
    ]
    task = review(f"{cause}/review", person.patient, f"Accès à revoir : {_MODES[person.purpose]}.", context, env)
    return (holder, *others, task)

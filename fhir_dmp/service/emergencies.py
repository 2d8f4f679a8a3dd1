"""After access in an emergency: the holder and the attending doctor are told, and a review is opened. Public Health Code, R.1111-48.

The notices are part of the commit of the first act's own event, so that nothing is disclosed of which they do not tell.
"""

from __future__ import annotations

from collections.abc import Iterable

from fhir_dmp.access.kinds import DIRECTORY
from fhir_dmp.access.people import BREAK_GLASS, CENTRE_15
from fhir_dmp.access.policy import Policy
from fhir_dmp.access.rules import shut
from fhir_dmp.call import Call, Context, Entity, Env
from fhir_dmp.errors import FhirError, NotFound, Unavailable
from fhir_dmp.interactions.notices import doctors, notice, review, untold
from fhir_dmp.service.granting import Granting
from fhir_dmp.service.named import reaches
from fhir_dmp.store.change import Change

_MODES = {BREAK_GLASS: "en urgence, par bris de glace", CENTRE_15: "en urgence, par un centre de régulation"}


def _cause(context: Context) -> str | None:
    """Return what the notices of an emergency are about: one token's access; None if the caller claims none."""
    subject = context.subject
    if subject is None or subject.person is None or subject.person.purpose not in _MODES:
        return None
    return f"emergency/{subject.token_id}"


def _notices(policy: Policy, context: Context, env: Env) -> tuple[Change, ...]:
    """Return the notices and the Task that the caller's access owes, or nothing if they are written."""
    cause = _cause(context)
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


def owed_by(call: Call, touched: Iterable[Entity], context: Context, grant: Granting, env: Env) -> tuple[Change, ...]:
    """Return what the server itself writes because of this access: the notices of an emergency.

    A search of the directory owes none, unless it brings something of the record along or asks by it.
    """
    person = context.subject.person if context.subject else None
    if person is None or person.patient is None or _cause(context) is None:
        return ()
    if call.type in DIRECTORY and not any(entity.patients for entity in touched) and not reaches(call, env):
        return ()
    return _notices(grant.policy(person.patient)[0], context, env)


def owed_by_failure(error: FhirError, call: Call, context: Context, grant: Granting, env: Env) -> tuple[Change, ...]:
    """Return the notices of an emergency whose call failed: to learn that something is absent, or another version, is access.

    One that was not let in, or that failed before the record was looked at, has learned nothing; nor has who hears that we failed.
    """
    answered = not isinstance(error, Unavailable) and type(error) is not FhirError
    if not answered or _cause(context) is None or not (grant.looked or isinstance(error, NotFound)):
        return ()
    return () if shut(grant.rules("read")) else owed_by(call, (), context, grant, env)

"""Patient/$authorize: let a professional or a structure read the record, until a day. Public Health Code, R.1111-46 and L.1111-17.

The holder says it; or a professional, of a consent that was given by any means and is declared in words.
https://www.legifrance.gouv.fr/codes/article_lc/LEGIARTI000043497489.
"""

from __future__ import annotations

from datetime import timedelta

from fhir_dmp.access.model import Person
from fhir_dmp.access.policy import Policy
from fhir_dmp.call import Call, Context, Env, Grant, Plan
from fhir_dmp.clock import micros_of
from fhir_dmp.errors import Invalid, Refused
from fhir_dmp.fhir.dates import interval
from fhir_dmp.interactions.choices import (
    HOLDERS,
    actor_of,
    answered,
    asking,
    choices,
    consent,
    ended,
    name_of,
    require_unblocked,
)
from fhir_dmp.settings import Readings


def authorize(call: Call, context: Context, grant: Grant, env: Env) -> Plan:
    """Return the Plan of the authorisation; an earlier one for the same actor ends, but for the holder's own where this one is declared."""
    person, policy = asking(call, context, grant, env, may=(*HOLDERS, "professional"))
    actor = actor_of(call, context)
    name = name_of(actor)
    require_unblocked(policy, name, env)
    title = "Autorisation d’accès"
    if person.kind == "professional":
        title = f"{title} déclarée : {_declaration(call, person, policy, grant, context, env)}"
    until = _until(call, context, person, env.readings)
    standing = choices(policy, permit=True, name=name, purpose="TREAT")
    earlier = ended((each for each in standing if each.declared or person.kind != "professional"), context, env)
    made = consent(call, context, env, title=title, permit=True, actor=actor, purpose="TREAT", until=until)
    return answered([*earlier, made], ("until", "dateTime", until))


def _declaration(call: Call, person: Person, policy: Policy, grant: Grant, context: Context, env: Env) -> str:
    """Return the words of a professional who says that the patient consents; refuse who may not say so."""
    if person.purpose != "TREAT":
        raise Refused("Who comes in an emergency says of no patient that they consent.", reasons=("L.1111-17 I",))
    own = {person.identifier, person.resource}
    for name in own:
        require_unblocked(policy, name, env)
    if not any(rule.permit and rule.record for rule in grant.rules("create")):
        raise Refused("Only the patient's own word opens the record to you.", reasons=("explicit consent only",))
    named = name_of(actor_of(call, context))
    if named not in own and not any(rule.permit and rule.record for rule in grant.rules("read")):
        raise Refused(
            "Who enters the record may ask for others; this record is not open to you.", reasons=("L.1111-17",)
        )
    words = str(call.parameters.value("declaration") or "").strip()
    if not words:
        raise Invalid("Say in declaration how the patient consented.", expression="declaration")
    return words[:500]


def _until(call: Call, context: Context, person: Person, readings: Readings) -> str:
    usual = timedelta(days=readings.authorization_days)
    longest = usual if person.kind == "professional" else timedelta(days=readings.longest_authorization_days)
    given = call.parameters.value("until")
    if given is None:
        return (context.now + min(usual, longest)).isoformat(timespec="seconds")
    try:
        end = interval(given)[1]
    except ValueError as fault:
        raise Invalid(f"until: {fault}.", expression="until") from None
    now = micros_of(context.now)
    if not now < end <= now + longest // timedelta(microseconds=1):
        raise Invalid(f"until is a day to come, {longest.days} days away at most.", expression="until")
    return str(given)

"""Patient/$block and $unblock: a professional whom the holder blocks enters by no way, the emergency included.

Of the functional rules of the DMP: a blocked professional cannot access, with or without an authorisation.
https://interop.esante.gouv.fr/ig/fhir/dmp.
"""

from __future__ import annotations

from fhir_dmp.call import Call, Context, Env, Grant, Plan
from fhir_dmp.interactions.choices import actor_of, answered, asking, choices, consent, ended, name_of


def block(call: Call, context: Context, grant: Grant, env: Env) -> Plan:
    """Return the Plan of the block; one that stands already stays, and authorisations of the same actor end."""
    _, policy = asking(call, context, grant, env)
    actor = actor_of(call, context)
    name = name_of(actor)
    changes = ended(choices(policy, permit=True, name=name), context, env)
    if not any(choices(policy, permit=False, name=name)):
        changes.append(consent(call, context, env, title="Blocage d’un professionnel", permit=False, actor=actor))
    return answered(changes, ("blocked", "boolean", True))


def unblock(call: Call, context: Context, grant: Grant, env: Env) -> Plan:
    """Return the Plan that ends the block; who was blocked needs an authorisation as before it."""
    _, policy = asking(call, context, grant, env)
    changes = ended(choices(policy, permit=False, name=name_of(actor_of(call, context))), context, env)
    return answered(changes, ("blocked", "boolean", False))

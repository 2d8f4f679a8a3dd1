"""Patient/$revoke: end what authorises a professional or a structure, at once. Public Health Code, L.1111-19."""

from __future__ import annotations

from fhir_dmp.call import Call, Context, Env, Grant, Plan
from fhir_dmp.interactions.choices import actor_of, answered, asking, choices, ended, name_of


def revoke(call: Call, context: Context, grant: Grant, env: Env) -> Plan:
    """Return the Plan that makes every authorisation of the actor inactive; there may be none."""
    _, policy = asking(call, context, grant, env)
    changes = ended(choices(policy, permit=True, name=name_of(actor_of(call, context))), context, env)
    return answered(changes, ("ended", "integer", len(changes)))

"""Patient/$oppose: no to access in an emergency, by break-glass or by a regulation centre; two choices of their own.

Public Health Code, L.1111-17 I. The modes are those of TRE_R248:
https://mos.esante.gouv.fr/NOS/TRE_R248-ModeAcces/FHIR/TRE-R248-ModeAcces.
"""

from __future__ import annotations

from fhir_dmp.call import Call, Context, Env, Grant, Plan
from fhir_dmp.errors import Invalid
from fhir_dmp.interactions.choices import answered, asking, choices, consent, ended

PURPOSES = {"bris_de_glace": "BTG", "centre_15": "ETREAT"}


def oppose(call: Call, context: Context, grant: Grant, env: Env) -> Plan:
    """Return the Plan of the opposition, or, with ``opposed`` false, of its end."""
    _, policy = asking(call, context, grant, env)
    mode = call.parameters.value("mode")
    purpose = PURPOSES.get(str(mode))
    if purpose is None:
        raise Invalid(f"mode is one of {', '.join(PURPOSES)}.", expression="mode")
    opposed = call.parameters.value("opposed") is not False
    standing = list(choices(policy, permit=False, purpose=purpose))
    changes = []
    if opposed and not standing:
        changes = [consent(call, context, env, title=f"Opposition : {mode}", permit=False, purpose=purpose)]
    elif not opposed:
        changes = ended(standing, context, env)
    return answered(changes, ("opposed", "boolean", opposed))

"""The event of an act, before it is made durable. https://profiles.ihe.net/ITI/BALP/volume-1.html."""

from __future__ import annotations

from msgspec.structs import replace

from fhir_dmp.audit.event import describe
from fhir_dmp.call import Act, Context, Env
from fhir_dmp.service.counting import count_act
from fhir_dmp.service.met import has_met, met_by
from fhir_dmp.store.change import Event


def described(act: Act, context: Context, env: Env) -> Event:
    """Return the event of an act, which tells too whose items it met in vain."""
    count_act(act.call.act, act.error.audit_outcome if act.error else "0")
    if has_met(act):
        act = replace(act, met=met_by(act, context, env))
    return describe(act, context, env.ids.new(), env.clock.micros(), env.ids.new)

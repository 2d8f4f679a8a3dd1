"""How OAuth acts and the registration of clients reach the audit: one row for each."""

from __future__ import annotations

from fhir_dmp.audit.event import describe_token
from fhir_dmp.call import Announce, Context, Env, TokenAct
from fhir_dmp.service.counting import count_act
from fhir_dmp.service.refusals import Refusals


def announcer(env: Env, refusals: Refusals) -> Announce:
    """Return the function that makes an OAuth act durable before its answer leaves."""

    def announce(act: TokenAct, context: Context) -> None:
        if act.error:
            refusals.admit(context)
        count_act(act.kind, "8" if act.error else "0")
        env.store.record(describe_token(act, context, env.ids.new(), env.clock.micros(), env.ids.new))

    return announce

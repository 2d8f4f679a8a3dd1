"""How OAuth acts and the registration of clients reach the audit: one row for each."""

from __future__ import annotations

from msgspec.structs import replace

from fhir_dmp.access.model import Subject
from fhir_dmp.audit.event import describe_token
from fhir_dmp.call import Context, Env
from fhir_dmp.errors import Crowded, Stale, TooMany
from fhir_dmp.service.counting import count_act
from fhir_dmp.service.emergency_ends import mark_of
from fhir_dmp.service.perform import record_once
from fhir_dmp.service.refusals import Refusals
from fhir_dmp.store.change import Event
from fhir_dmp.token_act import Announce, TokenAct


def _at_rest(subject: Subject | None) -> Subject | None:
    """Return who asks, without the emergency that is over."""
    person = subject.person if subject else None
    return replace(subject, person=replace(person, purpose="TREAT", reason=None)) if subject and person else subject


def announcer(env: Env, refusals: Refusals) -> Announce:
    """Return the function that makes an OAuth act durable before its answer leaves."""

    def announce(act: TokenAct, context: Context) -> None:
        if act.error:
            refusals.admit(context)
        count_act(act.kind, "8" if act.error else "0")
        try:
            remember(act, context)
        except (Crowded, TooMany):
            refusals.count_busy(context)
            raise

    def remember(act: TokenAct, context: Context) -> None:
        event = described(act, context)
        mark = mark_of(act, event)
        if mark is None:
            env.store.record(event)
            return
        try:
            record_once(event, mark, env)
        except Stale:  # its end is told already: what is given back once more is no end
            env.store.record(described(replace(act, subject=_at_rest(act.subject)), context))

    def described(act: TokenAct, context: Context) -> Event:
        return describe_token(act, context, env.ids.new(), env.clock.micros(), env.ids.new)

    return announce

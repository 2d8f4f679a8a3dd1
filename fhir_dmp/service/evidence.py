"""The event of an act, before it is made durable. https://profiles.ihe.net/ITI/BALP/volume-1.html."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from fhir_dmp.audit.event import consents_in, describe
from fhir_dmp.call import Act, Context, Entity, Env
from fhir_dmp.errors import FhirError
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.interactions.choices import hidden_from_representatives
from fhir_dmp.service.contents import placed
from fhir_dmp.service.counting import count_act
from fhir_dmp.service.met import has_met, met_by
from fhir_dmp.store.change import Event
from fhir_dmp.store.log import indexes_of

_REFUSED = "8"


def described(act: Act, context: Context, env: Env) -> Event:
    """Return the event of an act, which tells too whose items it met in vain, and what refused it in secret."""
    count_act(act.call.act, act.error.audit_outcome if act.error else "0")
    if has_met(act):
        act = replace(act, met=met_by(act, context, env))
    if act.error is not None and act.error.audit_outcome == _REFUSED:
        act = replace(act, met=(*act.met, *_refusing_in_secret(act.error, env)))
    return describe(placed(act, context, env), context, env.ids.new(), env.clock.micros(), env.ids.new)


def _refusing_in_secret(error: FhirError, env: Env) -> Sequence[Entity]:
    """Return the Consents that refused and are hidden from representatives: so is that they decided."""
    named = [name.rpartition("/")[::2] for name in consents_in(error.reasons)]
    secret = hidden_from_representatives((consent for consent, _ in named), env) if named else ()
    return [
        Entity(Ref(*consent.split("/")), int(version), hidden=True) for consent, version in named if consent in secret
    ]


def is_event_hidden(event: Event, context: Context) -> bool:
    """Tell whether representatives find nothing of it in the record that the token opens; of a token for none nobody asks."""
    record, index = context.subject.record if context.subject else None, event.index
    if record is None or "x" not in index:
        return record is not None and ("sec" in index or record not in index["pt"])
    return not any(record in each["pt"] and "sec" not in each for each in indexes_of(index))


def is_frame_hidden(entries: Sequence[Act]) -> bool:
    """Tell whether representatives are told of none of a bundle's entries: a frame without any would tell them that there was one."""
    return bool(entries) and all(
        (each.error.untold if each.error else each.result is not None and each.result.hidden) for each in entries
    )

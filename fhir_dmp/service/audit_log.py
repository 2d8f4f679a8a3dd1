"""AuditEvents for those who may read the log: rendered from its rows, never stored twice, never changed.

https://hl7.org/fhir/R4/auditevent.html. How they are looked for is told in ``log_search``, what of them each caller sees in
``log_views``, what clients may add in ``log_reports``.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from fhir_dmp.access.model import Action
from fhir_dmp.audit.parts import event_id, row_of
from fhir_dmp.audit.search import PARAMS
from fhir_dmp.call import Call, Context, Entity, Env, Grant, Interaction, Result
from fhir_dmp.errors import Damaged, NotFound
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.interactions.shown import shown
from fhir_dmp.service.log_reports import create
from fhir_dmp.service.log_search import search_type
from fhir_dmp.service.log_views import TYPE, damage, judged, rendered, traced
from fhir_dmp.store.change import Stored
from fhir_dmp.store.port import EventPart

__all__ = ["INTERACTIONS", "PARAMS", "find"]


def read(call: Call, context: Context, grant: Grant, env: Env) -> Result:
    """Return one AuditEvent."""
    part, reasons, patients = find(call.id or "", grant, env)
    if part is None:
        raise NotFound(f"AuditEvent/{call.id} is not known here.", reasons=reasons, patients=patients)
    [body] = rendered([part], context, grant, env)
    if body is None:
        raise Damaged(damage(part.event.id, env), reasons=("damaged",), patients=tuple(judged(part)["pt"]))
    ref = Ref(TYPE, event_id(part.event.id, part.number))
    made = shown(call, Stored(ref, 1, "", "", part.event.recorded, body), env)
    return replace(made, entities=(traced(part) or Entity(ref, 1),))


def find(audit_event_id: str, grant: Grant, env: Env) -> tuple[EventPart | None, tuple[str, ...], tuple[str, ...]]:
    """Return the AuditEvent, or None with the reasons and the patients that the log is told of."""
    found = row_of(audit_event_id)
    event = env.store.find_event(found[0]) if found else None
    if found is None or event is None or found[1] > event.index.get("m", 1):
        return None, ("absent",), ()
    part = EventPart(event, found[1])
    decision = grant.decide("read", judged(part))
    if decision.permit:
        return part, (), ()
    return None, decision.reasons, ()


INTERACTIONS: Mapping[str, tuple[Action | None, Interaction]] = {
    "create": ("create", create),
    "read": ("read", read),
    "search-type": ("search", search_type),
}
"""What may be asked of AuditEvents: nothing that changes what is there."""

"""FHIR create: a new resource under an id of the server's. https://hl7.org/fhir/R4/http.html#create."""

from __future__ import annotations

from collections.abc import Sequence

from fhir_dmp.call import Call, Context, Env, Grant, Plan, Result
from fhir_dmp.errors import MultipleMatches
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.interactions.conditional import Matched, match
from fhir_dmp.interactions.write import entity, prepare, resource_of
from fhir_dmp.store.change import Stored


def create(call: Call, context: Context, grant: Grant, env: Env) -> Plan:
    """Return the Plan for a new resource; with criteria, only if nothing matches them (conditional create)."""
    tree = resource_of(call)
    matched = (
        match(call.resource_type, call.criteria, context, grant, env) if call.criteria is not None else None
    )
    if matched is not None and matched.found:
        return _existing(matched)
    change = prepare(Ref(call.resource_type, env.ids.new()), None, tree, context, env)
    return Plan(
        changes=(change,),
        finish=_created,
        locks=(matched.lock,) if matched else (),
        entities=(entity(change),),
    )


def _created(stored: Sequence[Stored]) -> Result:
    row = stored[0]
    return Result("created", row.body, row.ref, row.version, row.updated)


def _existing(matched: Matched) -> Plan:
    if len(matched.found) > 1:
        raise MultipleMatches(f"{len(matched.found)} resources match If-None-Exist; nothing was created.")
    row = matched.found[0]
    return Plan(
        changes=(),
        finish=lambda _: Result("ok", row.body, row.ref, row.version, row.updated),
        locks=(matched.lock,),
    )

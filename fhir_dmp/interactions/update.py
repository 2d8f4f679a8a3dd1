"""FHIR update: a new version under the id that the caller names. https://hl7.org/fhir/R4/http.html#update."""

from __future__ import annotations

from collections.abc import Sequence

from fhir_dmp.call import Call, Context, Env, Grant, Plan, Result
from fhir_dmp.errors import Invalid
from fhir_dmp.interactions.write import entity, prepare, require_version, resource_of
from fhir_dmp.store.change import Stored


def update(call: Call, context: Context, grant: Grant, env: Env) -> Plan:
    """Return the Plan for the next version; an id that was never used makes version 1 (update as create)."""
    del grant
    tree = resource_of(call)
    if tree.get("id") != call.id:
        raise Invalid(
            f"The body's id {tree.get('id')!r} must be the id in the path, {call.id!r}.",
            expression=f"{call.type}.id",
        )
    before = env.store.find_current(call.ref)
    require_version(call, before)
    change = prepare(call.ref, before, tree, context, env)
    return Plan(
        changes=(change,),
        finish=_created if change.kind == "create" else _updated,
        entities=(entity(change),),
    )


def _created(stored: Sequence[Stored]) -> Result:
    row = stored[0]
    return Result("created", row.body, row.ref, row.version, row.updated)


def _updated(stored: Sequence[Stored]) -> Result:
    row = stored[0]
    return Result("ok", row.body, row.ref, row.version, row.updated)

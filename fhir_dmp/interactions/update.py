"""FHIR update: a new version under the id that the caller names, or whose criteria match. https://hl7.org/fhir/R4/http.html#update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fhir_dmp.call import Act, Call, Context, Env, Grant, Plan, Result
from fhir_dmp.interactions.conditional import match, only
from fhir_dmp.interactions.write import entity, next_version, resource_of
from fhir_dmp.store.change import Lock, Stored


def update(call: Call, context: Context, grant: Grant, env: Env) -> Plan:
    """Return the Plan for the next version; an id that was never used makes version 1 (update as create)."""
    tree = resource_of(call)
    locks: tuple[Lock, ...] = ()
    if call.id is None:
        matched = match(call.resource_type, call.criteria or "", context, grant, env)
        found = only(matched)
        locks = (matched.lock,)
        call = replace(call, id=found.ref.id if found else tree.get("id") or env.ids.new())
        tree = {**tree, "id": tree.get("id", call.id)}
    change = next_version(
        call, tree, env.store.find_current(call.ref, with_index=grant.searches("update")), context, env
    )
    return Plan(
        changes=(change,),
        finish=_created if change.kind == "create" else _updated,
        locks=locks,
        entities=(entity(change),),
    )


def _created(stored: Sequence[Stored], _: Sequence[Act]) -> Result:
    row = stored[0]
    return Result("created", row.body, row.ref, row.version, row.updated)


def _updated(stored: Sequence[Stored], _: Sequence[Act]) -> Result:
    row = stored[0]
    return Result("ok", row.body, row.ref, row.version, row.updated)

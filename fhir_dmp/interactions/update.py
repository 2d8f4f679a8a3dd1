"""FHIR update: a new version under the id that the caller names, or whose criteria match. https://hl7.org/fhir/R4/http.html#update."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fhir_dmp.call import Act, Call, Context, Env, Grant, Plan, Result
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.interactions.conditional import match, only
from fhir_dmp.interactions.write import entity, known, next_version, prepare, require_version, resource_of
from fhir_dmp.store.change import Lock, Stored


def update(call: Call, context: Context, grant: Grant, env: Env) -> Plan:
    """Return the Plan for the next version; an id that was never used makes version 1 (update as create)."""
    tree = resource_of(call)
    locks: tuple[Lock, ...] = ()
    if call.id is None:
        matched = match(call.resource_type, call.criteria or "", context, grant, env)
        found = only(matched)
        locks = (matched.lock,)
        if found is None and "id" not in tree:
            return _new(call, tree, locks, context, env)
        call = replace(call, id=found.ref.id if found else tree["id"])
        tree = {**tree, "id": tree.get("id", call.id)}
    before = known(call, env.store.find_current(call.ref), context, grant)
    change = next_version(call, tree, before, context, env)
    return Plan(
        changes=(change,),
        finish=_created if change.kind == "create" else _updated,
        locks=locks,
        entities=(entity(change),),
    )


def _new(call: Call, tree: Mapping[str, Any], locks: tuple[Lock, ...], context: Context, env: Env) -> Plan:
    """Return the Plan for what no criteria match and nobody gave an id."""
    require_version(call, None)
    change = prepare(Ref(call.resource_type, env.ids.new()), None, tree, context, env)
    return Plan(changes=(change,), finish=_created, locks=locks, entities=(entity(change),))


def _created(stored: Sequence[Stored], _: Sequence[Act]) -> Result:
    row = stored[0]
    return Result("created", row.body, row.ref, row.version, row.updated)


def _updated(stored: Sequence[Stored], _: Sequence[Act]) -> Result:
    row = stored[0]
    return Result("ok", row.body, row.ref, row.version, row.updated)

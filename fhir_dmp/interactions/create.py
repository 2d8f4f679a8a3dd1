"""FHIR create: a new resource under an id of the server's. https://hl7.org/fhir/R4/http.html#create."""

from __future__ import annotations

from fhir_dmp.call import Call, Context, Env, Grant, Plan
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.interactions.conditional import only, to_write
from fhir_dmp.interactions.plans import found_instead, one_change
from fhir_dmp.interactions.write import prepare, resource_of
from fhir_dmp.store.change import Lock


def create(call: Call, context: Context, grant: Grant, env: Env) -> Plan:
    """Return the Plan for a new resource; with criteria, only if nothing matches them (conditional create)."""
    tree = resource_of(call)
    locks: tuple[Lock, ...] = ()
    if call.criteria is not None:
        matched = to_write(context, grant, env).match(call.resource_type, call.criteria)
        found = only(matched, env)
        if found is not None:
            return found_instead(call, found)
        locks = (matched.lock,)
    made = prepare(Ref(call.resource_type, env.ids.new()), None, tree, context, env)
    return one_change(made, None, locks)

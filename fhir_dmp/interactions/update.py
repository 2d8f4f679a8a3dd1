"""FHIR update: a new version under the id that the caller names, or whose criteria match. https://hl7.org/fhir/R4/http.html#update."""

from __future__ import annotations

from msgspec.structs import replace

from fhir_dmp.call import Call, Context, Env, Grant, Plan
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.interactions.conditional import sought
from fhir_dmp.interactions.known import known
from fhir_dmp.interactions.meeting import Meeting
from fhir_dmp.interactions.plans import one_change
from fhir_dmp.interactions.preconditions import require_unused, require_version
from fhir_dmp.interactions.write import next_version, prepare, resource_of


def update(call: Call, context: Context, grant: Grant, env: Env) -> Plan:
    """Return the Plan for the next version; an id that was never used makes version 1 (update as create).

    What is there as it was sent stays the version that it is.
    """
    tree = resource_of(call)
    by_criteria, is_new = call.id is None, False
    call, locks = sought(call, context, grant, env)
    if by_criteria:
        if call.id is None and "id" not in tree:
            require_version(call, None)
            new = Ref(call.resource_type, env.ids.new())
            return one_change(prepare(new, None, tree, context, env), None, locks)
        is_new = call.id is None
        call = replace(call, id=call.id or tree["id"])
        tree = {**tree, "id": tree.get("id", call.id)}
    with Meeting(call.ref):
        before = known(call, env.store.find_current(call.ref), context, grant)
        if is_new:
            require_unused(call.ref, before)
        return one_change(next_version(call, tree, before, context, grant, env), before, locks)

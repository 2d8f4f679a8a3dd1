"""X-Provenance: who stands behind a change, told with it and kept in the same commit. https://hl7.org/fhir/R4/provenance.html#header."""

from __future__ import annotations

from msgspec.structs import replace

from fhir_dmp.call import Call, Context, Env, Plan
from fhir_dmp.errors import Invalid
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.interactions.entities import entity
from fhir_dmp.interactions.write import prepare


def with_provenance(plan: Plan, call: Call, context: Context, env: Env) -> Plan:
    """Return the Plan with a Provenance of the versions that it makes; a Plan that changes nothing has none.

    What the header names as targets is not believed. A header comes as Latin-1 and holds UTF-8. Raises ``Invalid`` for one that is no
    Provenance.
    """
    if not plan.changes or not call.provenance:
        return plan
    tree = codec.loads_object(call.provenance.encode("latin-1", "replace"))
    if tree.get("resourceType") != "Provenance":
        raise Invalid("X-Provenance holds a Provenance.", expression="Provenance")
    targets = [{"reference": f"{change.ref}/_history/{change.version}"} for change in plan.changes]
    change = prepare(Ref("Provenance", env.ids.new()), None, {**tree, "target": targets}, context, env)
    return replace(plan, changes=(*plan.changes, change), entities=(*plan.entities, entity(change)))

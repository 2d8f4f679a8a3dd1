"""FHIR delete: the resource is gone, its versions stay. https://hl7.org/fhir/R4/http.html#delete."""

from __future__ import annotations

from collections.abc import Sequence

from fhir_dmp.call import Call, Context, Env, Grant, Plan, Result
from fhir_dmp.interactions.write import entity, require_version, tombstone
from fhir_dmp.store.change import Stored


def delete(call: Call, context: Context, grant: Grant, env: Env) -> Plan:
    """Return the Plan for a deletion; what is absent or already deleted needs none, and the answer is the same."""
    del context, grant
    before = env.store.find_current(call.ref)
    require_version(call, before)
    if before is None or before.deleted:
        return Plan(changes=(), finish=lambda _: Result("no-content", ref=call.ref))
    change = tombstone(before)
    return Plan(changes=(change,), finish=_deleted, entities=(entity(change),))


def _deleted(stored: Sequence[Stored]) -> Result:
    row = stored[0]
    return Result("no-content", None, row.ref, row.version, row.updated)

"""FHIR delete: the resource is gone, its versions stay. https://hl7.org/fhir/R4/http.html#delete."""

from __future__ import annotations

from collections.abc import Sequence

from fhir_dmp.call import Act, Call, Context, Env, Grant, Plan, Result
from fhir_dmp.errors import Invalid
from fhir_dmp.fhir.reference import ID
from fhir_dmp.interactions.conditional import sought
from fhir_dmp.interactions.entities import entity
from fhir_dmp.interactions.known import known, not_deleted, unmatched
from fhir_dmp.interactions.meeting import Meeting
from fhir_dmp.interactions.preconditions import require_version
from fhir_dmp.interactions.write import removal
from fhir_dmp.store.change import Stored


def delete(call: Call, context: Context, grant: Grant, env: Env) -> Plan:
    """Return the Plan for a deletion; what is absent or already deleted needs none, and the answer is the same."""
    call, locks = sought(call, context, grant, env)
    if call.id is None:
        require_version(call, None)
        return Plan(changes=(), finish=lambda *_: Result("no-content"), withheld=unmatched())
    if not ID.match(call.ref.id):
        raise Invalid(f"{call.ref.id[:80]!r} is no FHIR id.", expression=f"{call.type}.id")
    row = env.store.find_current(call.ref)
    with Meeting(call.ref):
        seen = known(call, row, context, grant)
        change = removal(call, seen)
    if change is None:
        why = not_deleted(call.ref, row, seen, grant)
        return Plan(changes=(), finish=lambda *_: Result("no-content", ref=call.ref), withheld=why)
    return Plan(changes=(change,), finish=_deleted, locks=locks, entities=(entity(change),))


def _deleted(stored: Sequence[Stored], _: Sequence[Act]) -> Result:
    row = stored[0]
    return Result("no-content", None, row.ref, row.version, row.updated)

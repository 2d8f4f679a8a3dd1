"""FHIR read: the present version of one resource. https://hl7.org/fhir/R4/http.html#read."""

from __future__ import annotations

from fhir_dmp.call import Call, Context, Env, Grant, Result
from fhir_dmp.errors import Gone
from fhir_dmp.interactions.preconditions import is_had
from fhir_dmp.interactions.subset import subset_of
from fhir_dmp.interactions.write import disclosed, visible


def read(call: Call, context: Context, grant: Grant, env: Env) -> Result:
    """Return the resource as it is now; what the caller may not see is absent. Conditional read answers 304."""
    del context
    row = visible(call.ref, env.store.find_current(call.ref, with_index=grant.searches("read")), grant)
    if row.deleted:
        raise Gone(f"{call.ref} was deleted.")
    return Result(
        outcome="not-modified" if is_had(call, row) else "ok",
        body=subset_of(call.params, env.definitions)(row.body),
        ref=row.ref,
        version=row.version,
        updated=row.updated,
        entities=(disclosed(row),),
    )

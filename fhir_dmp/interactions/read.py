"""FHIR read: the present version of one resource. https://hl7.org/fhir/R4/http.html#read."""

from __future__ import annotations

from fhir_dmp.call import Call, Context, Env, Grant, Result
from fhir_dmp.interactions.entities import disclosed, gone
from fhir_dmp.interactions.known import visible
from fhir_dmp.interactions.shown import shown


def read(call: Call, context: Context, grant: Grant, env: Env) -> Result:
    """Return the resource as it is now; what the caller may not see is absent. Conditional read answers 304."""
    del context
    row = visible(call.ref, env.store.find_current(call.ref, with_index=grant.searches("read")), grant)
    if row.deleted:
        raise gone(disclosed(row))
    return shown(call, row, env)

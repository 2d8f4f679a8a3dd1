"""FHIR $meta: profiles, tags and security labels of one resource. https://hl7.org/fhir/R4/resource-operation-meta.html."""

from __future__ import annotations

from fhir_dmp.call import Call, Context, Env, Grant, Result
from fhir_dmp.errors import Gone
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.parameters import write
from fhir_dmp.interactions.write import disclosed, visible


def meta(call: Call, context: Context, grant: Grant, env: Env) -> Result:
    """Return the meta of the resource as it is now, for who may read it."""
    del context
    row = visible(call.ref, env.store.find_current(call.ref), grant)
    if row.body is None:
        raise Gone(f"{call.ref} was deleted.")
    found = codec.loads_object(row.body)["meta"]
    body = codec.dumps(write([("return", "Meta", found)]))
    return Result("ok", body, row.ref, row.version, row.updated, entities=(disclosed(row),))

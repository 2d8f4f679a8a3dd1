"""One version as a reader has it: whole or in part, or told to be had already. https://hl7.org/fhir/R4/http.html#cread."""

from __future__ import annotations

from fhir_dmp.call import Call, Env, Result
from fhir_dmp.interactions.entities import disclosed
from fhir_dmp.interactions.preconditions import not_modified
from fhir_dmp.interactions.subset import subset_of
from fhir_dmp.store.change import Stored


def shown(call: Call, row: Stored, env: Env) -> Result:
    """Return the answer to who reads the version: the part that is asked for; nothing of it to who has it."""
    part, had = subset_of(call.params, env.definitions), not_modified(call, row)
    return Result(
        outcome="not-modified" if had else "ok",
        body=None if had else part(row.body),
        ref=row.ref,
        version=row.version,
        updated=row.updated,
        entities=(disclosed(row),),
    )

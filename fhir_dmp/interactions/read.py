"""FHIR read: the present version of one resource. https://hl7.org/fhir/R4/http.html#read."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

from fhir_dmp.access.decide import decide
from fhir_dmp.call import Call, Context, Env, Grant, Result
from fhir_dmp.errors import Gone, NotFound
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.interactions.write import disclosed, etag_versions
from fhir_dmp.store.change import Stored


def read(call: Call, context: Context, grant: Grant, env: Env) -> Result:
    """Return the resource as it is now; what the caller may not see is absent. Conditional read answers 304."""
    del context
    row = visible(call.ref, env.store.find_current(call.ref), grant)
    if row.deleted:
        raise Gone(f"{call.ref} was deleted.")
    return Result(
        outcome="not-modified" if _unchanged(call, row) else "ok",
        body=row.body,
        ref=row.ref,
        version=row.version,
        updated=row.updated,
        entities=(disclosed(row),),
    )


def visible(ref: Ref, row: Stored | None, grant: Grant) -> Stored:
    """Return the row if the caller may read it; raise the same ``NotFound`` for absent and for hidden.

    The true reasons travel with the error to the audit.
    """
    reasons: tuple[str, ...] = ("absent",)
    if row is not None:
        decision = decide(grant.rules("read"), row.index)
        if decision.permit:
            return row
        reasons = decision.reasons
    raise NotFound(f"{ref} is not known here.", reasons=reasons)


def _unchanged(call: Call, row: Stored) -> bool:
    if call.if_none_match is not None:
        versions = etag_versions(call.if_none_match)
        return versions is None or str(row.version) in versions
    if call.if_modified_since is not None:
        try:
            since = parsedate_to_datetime(call.if_modified_since)
        except ValueError:
            return False
        return row.updated // 1_000_000 <= int(since.timestamp())
    return False

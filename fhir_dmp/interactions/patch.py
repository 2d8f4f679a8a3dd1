"""FHIR patch: the next version from what changes alone, by JSON Patch or FHIRPath Patch. https://hl7.org/fhir/R4/http.html#patch.

A patch can ask what is there (``test``, ``where``), so it needs the right to read as well as the right to update.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from fhir_dmp.access.rules import require_scope
from fhir_dmp.call import Call, Context, Env, Grant, Plan
from fhir_dmp.errors import Invalid, NotFound, Unprocessable
from fhir_dmp.fhir import codec
from fhir_dmp.interactions import fhirpath_patch, json_patch
from fhir_dmp.interactions.conditional import sought
from fhir_dmp.interactions.entities import disclosed, gone
from fhir_dmp.interactions.known import visible
from fhir_dmp.interactions.meeting import Meeting
from fhir_dmp.interactions.plans import one_change
from fhir_dmp.interactions.preconditions import require_version
from fhir_dmp.interactions.write import changed, prepare
from fhir_dmp.store.change import Change, Stored


def patch(call: Call, context: Context, grant: Grant, env: Env) -> Plan:
    """Return the Plan for the patched version of the resource with that id, or of the one that the criteria match."""
    call, locks = sought(call, context, grant, env)
    if call.id is None:
        raise NotFound("Nothing matches the criteria; there is nothing to patch.", reasons=("absent",))
    before = env.store.find_current(call.ref)
    with Meeting(call.ref):
        return one_change(patched(call, before, context, grant, env), before, locks)


def patched(
    call: Call, before: Stored | None, context: Context, grant: Grant, env: Env, *, anew: bool = False
) -> Change | None:
    """Return the Change that the patch makes of ``before``, None if it makes none (unless ``anew``); identity and version stay the server's."""
    row, tree, made = applied(call, before, context, grant, env)
    change = prepare(row.ref, row, made, context, env) if anew else changed(row, tree, made, context, grant, env)
    return change and replace(change, index={**change.index, "patched": True})


def applied(
    call: Call, before: Stored | None, context: Context, grant: Grant, env: Env
) -> tuple[Stored, dict[str, Any], dict[str, Any]]:
    """Return the row as its caller may see it, the resource that it holds, and what the patch makes of that."""
    require_scope(context.subject, call.type, "read")
    row = visible(call.ref, before, grant)
    if row.body is None:
        raise gone(disclosed(row))
    require_version(call, row)
    tree = codec.loads_object(row.body)
    made = _apply(_patch_of(call), tree, env)
    if not isinstance(made, dict):
        raise Unprocessable("The patch leaves no resource.")
    for name, was, is_now in (
        ("id", tree.get("id"), made.get("id")),
        ("resourceType", tree.get("resourceType"), made.get("resourceType")),
        ("meta.versionId", tree["meta"].get("versionId"), _meta(made).get("versionId")),
        ("meta.lastUpdated", tree["meta"].get("lastUpdated"), _meta(made).get("lastUpdated")),
    ):
        if was != is_now:
            raise Unprocessable(f"{name} is not changed by a patch.", expression=f"{call.type}.{name}")
    return row, tree, made


def _meta(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    meta = tree.get("meta")
    return meta if isinstance(meta, Mapping) else {}


def _patch_of(call: Call) -> Any:
    """Return the patch: the list of a JSON Patch, or the Parameters of a FHIRPath Patch."""
    found = codec.loads(call.body) if isinstance(call.body, bytes) else call.body
    if isinstance(found, list):
        return found
    if isinstance(found, Mapping) and found.get("resourceType") == "Parameters":
        return found
    raise Invalid("A patch is a JSON Patch (a list of operations) or a Parameters resource (FHIRPath Patch).")


def _apply(given: Any, tree: Mapping[str, Any], env: Env) -> Any:
    if isinstance(given, list):
        return json_patch.apply(given, tree, env.limits.resource)
    return fhirpath_patch.apply(given, tree, env.definitions)

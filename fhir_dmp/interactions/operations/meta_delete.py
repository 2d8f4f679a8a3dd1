"""FHIR $meta-delete: profiles, tags and labels that a resource loses. https://hl7.org/fhir/R4/resource-operation-meta-delete.html."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fhir_dmp.call import Call, Context, Env, Grant, Plan
from fhir_dmp.interactions.operations.meta import changed_meta, same


def meta_delete(call: Call, context: Context, grant: Grant, env: Env) -> Plan:
    """Return the Plan for the version without them; what is not there is no fault."""
    return changed_meta(call, _without, context, grant, env)


def _without(meta: dict[str, Any], given: Mapping[str, Any]) -> None:
    for name, items in given.items():
        present = meta.get(name, [])
        kept = [each for each in present if not any(same(item, each) for item in items)]
        if kept:
            meta[name] = kept
        elif present:
            del meta[name]

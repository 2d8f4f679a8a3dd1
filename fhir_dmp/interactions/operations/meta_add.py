"""FHIR $meta-add: profiles, tags and labels that a resource gets beside those it has. https://hl7.org/fhir/R4/resource-operation-meta-add.html."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fhir_dmp.call import Call, Context, Env, Grant, Plan
from fhir_dmp.interactions.operations.meta import changed_meta, same


def meta_add(call: Call, context: Context, grant: Grant, env: Env) -> Plan:
    """Return the Plan for the version that has them as well; none where all of it is there."""
    return changed_meta(call, _with, context, grant, env)


def _with(meta: dict[str, Any], given: Mapping[str, Any]) -> None:
    for name, items in given.items():
        present = meta.get(name, [])
        missing = [item for item in items if not any(same(item, each) for each in present)]
        if missing:
            meta[name] = [*present, *missing]

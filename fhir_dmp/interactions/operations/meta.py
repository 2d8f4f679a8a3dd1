"""FHIR $meta: profiles, tags and security labels of one resource. https://hl7.org/fhir/R4/resource-operation-meta.html."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fhir_dmp.access.rules import require_scope
from fhir_dmp.call import Act, Call, Context, Env, Grant, Plan, Result
from fhir_dmp.errors import Gone
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.parameters import write
from fhir_dmp.interactions.write import disclosed, entity, prepare, visible
from fhir_dmp.store.change import Stored

_LISTS = ("profile", "security", "tag")
"""What may be added and taken away; the rest of a meta is the server's, or one resource's alone."""


def meta(call: Call, context: Context, grant: Grant, env: Env) -> Result:
    """Return the meta of the resource as it is now, for who may read it."""
    del context
    row = visible(call.ref, env.store.find_current(call.ref), grant)
    return _answer(row, entities=(disclosed(row),))


def _answer(row: Stored, **more: Any) -> Result:
    if row.body is None:
        raise Gone(f"{row.ref} was deleted.")
    body = codec.dumps(write([("return", "Meta", codec.loads_object(row.body)["meta"])]))
    return Result("ok", body, row.ref, row.version, row.updated, **more)


def changed_meta(
    call: Call,
    change: Callable[[dict[str, Any], Mapping[str, Any]], None],
    context: Context,
    grant: Grant,
    env: Env,
) -> Plan:
    """Return the Plan for the next version, whose meta is what ``change`` makes of it with what the call gives.

    It needs the right to read too, since it answers with the whole meta.
    """
    require_scope(context.subject, call.type, "read")
    row = visible(call.ref, env.store.find_current(call.ref), grant)
    if row.body is None:
        raise Gone(f"{call.ref} was deleted.")
    tree = codec.loads_object(row.body)
    made = dict(tree["meta"])
    given = call.parameters.value("meta")
    change(made, {name: given[name] for name in _LISTS if name in given})
    made_change = prepare(row.ref, row, {**tree, "meta": made}, context, env)

    def finish(stored: Sequence[Stored], _: Sequence[Act]) -> Result:
        return _answer(stored[0])

    return Plan(changes=(made_change,), finish=finish, entities=(entity(made_change),))


def same(one: Any, other: Any) -> bool:
    """Tell whether two profiles, tags or labels are the same: a Coding is its system and its code."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.get("system") == other.get("system") and one.get("code") == other.get("code")
    return bool(one == other)

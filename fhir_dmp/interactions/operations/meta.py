"""FHIR $meta: profiles, tags and security labels of one resource, of a type or of all. https://hl7.org/fhir/R4/resource-operation-meta.html."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from fhir_dmp.access.narrow import narrow
from fhir_dmp.access.rules import require_scope
from fhir_dmp.call import Act, Call, Context, Env, Grant, Plan, Result
from fhir_dmp.errors import TooCostly
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.parameters import write
from fhir_dmp.interactions.entities import disclosed, gone
from fhir_dmp.interactions.known import visible
from fhir_dmp.interactions.plans import one_change
from fhir_dmp.interactions.vread import version_of
from fhir_dmp.interactions.write import changed
from fhir_dmp.search.types.values import split
from fhir_dmp.store.change import Stored
from fhir_dmp.store.query import LONGEST, In, both, prefix

_LISTS = ("profile", "security", "tag")
"""What may be added and taken away; the rest of a meta is the server's, or one resource's alone."""


MOST = 1000
"""Different profiles, labels or tags of a type that are told."""


def meta(call: Call, context: Context, grant: Grant, env: Env) -> Result:
    """Return the meta of the resource as it is now or was in a version, or all that is used on resources of a type, for who may read them."""
    del context
    if call.id is None:
        return _used(call, grant, env)
    row = (
        visible(call.ref, env.store.find_current(call.ref), grant)
        if call.version is None
        else version_of(call, grant, env)
    )
    return _answer(row, entities=(disclosed(row),))


def _used(call: Call, grant: Grant, env: Env) -> Result:
    """Return profiles, labels and tags of what the caller may see, each once; raise ``TooCostly`` for too many.

    It tells of those who have them, if these are as few as a page may hold.
    """
    types = (call.type,) if call.type else env.definitions.resource_types
    allowed = narrow(grant.rules("search"))
    found: dict[str, dict[str, Any]] = {}
    known: list[str] = []
    for name, start in [(name, f"{kind}._{name}=") for kind in types if kind != "AuditEvent" for name in _LISTS]:
        forms = env.store.keys(both(prefix("t", start), allowed), start, MOST + 1)
        if len(forms) > MOST:
            raise TooCostly(f"{call.type or 'The server'} has more than {MOST} different entries of meta.{name}.")
        known += [f"{start}{form}" for form in forms]
        read = _profile if name == "profile" else _coding
        found.setdefault(name, {}).update({form: item for form in forms if (item := read(form))})
    used = {name: [items[form] for form in sorted(items)] for name, items in found.items() if items}
    rows = env.store.concerned(both(In("t", tuple(known)), allowed), env.limits.page + 1) if known else ()
    concerned = tuple(map(disclosed, rows)) if len(rows) <= env.limits.page else ()
    return Result("ok", codec.dumps(write([("return", "Meta", used)])), concerned=concerned)


def _profile(form: str) -> str:
    return form if len(form) < LONGEST else ""


def _coding(form: str) -> dict[str, str] | None:
    """Return the coding that an index entry with a system was made of; the same code stands there without it as well."""
    *system, code = split(form, "|")
    if not system or len(form) >= LONGEST:
        return None
    parts = {"system": "|".join(system), "code": code.replace("\\|", "|")}
    return {name: part for name, part in parts.items() if part}


def _answer(row: Stored, **more: Any) -> Result:
    if row.body is None:
        raise gone(disclosed(row))
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
        raise gone(disclosed(row))
    tree = codec.loads_object(row.body)
    made = dict(tree["meta"])
    given = call.parameters.value("meta")
    change(made, {name: given[name] for name in _LISTS if name in given})
    plan = one_change(changed(row, tree, {**tree, "meta": made}, context, grant, env), row)

    def finish(stored: Sequence[Stored], _: Sequence[Act]) -> Result:
        return _answer(stored[0] if stored else row)

    return replace(plan, finish=finish)


def same(one: Any, other: Any) -> bool:
    """Tell whether two profiles, tags or labels are the same: a Coding is its system and its code."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.get("system") == other.get("system") and one.get("code") == other.get("code")
    return bool(one == other)

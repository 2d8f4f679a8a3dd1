"""FHIR $validate: would this be accepted? Nothing is changed. https://hl7.org/fhir/R4/resource-operation-validate.html.

With a mode it is the Plan of that write, made and not committed: what would refuse the write refuses it here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from msgspec.structs import replace

from fhir_dmp.access.rules import require_scope
from fhir_dmp.call import Call, Context, Entity, Env, Grant, Interaction, Result
from fhir_dmp.errors import Conflict, Invalid, Issue, NotFound, VersionMismatch
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.outcome import outcome
from fhir_dmp.fhir.reference import with_relative
from fhir_dmp.interactions.create import create
from fhir_dmp.interactions.delete import delete
from fhir_dmp.interactions.entities import disclosed, gone
from fhir_dmp.interactions.known import visible
from fhir_dmp.interactions.update import update
from fhir_dmp.store.change import Stored

_MODES: Mapping[str, Interaction] = {"create": create, "update": update, "delete": delete}
_BASE = "http://hl7.org/fhir/StructureDefinition/"
_JUDGED = (Invalid, Conflict, VersionMismatch)
"""What is wrong with the content, in the answer; any other refusal is one of the call itself."""


def validate(call: Call, context: Context, grant: Grant, env: Env) -> Result:
    """Return an OperationOutcome: each issue of the resource, or one line that says that there is none.

    It tells of what is there, and so its event names it: the version that it holds to the rules, or that the write would change.
    """
    mode = call.parameters.value("mode")
    if mode is not None and mode not in _MODES:
        raise Invalid(f"The mode is create, update or delete, not {mode[:20]!r}.", expression="mode")
    tree = call.parameters.resource("resource")
    if tree is None and call.id is None and mode != "delete":
        raise Invalid("There is nothing to validate: send a resource.", expression="resource")
    found: dict[Entity, None] = {}
    if tree is None and mode != "delete":
        row = visible(call.ref, env.store.find_current(call.ref), grant)
        tree = _stored(row)
        found[disclosed(row)] = None
    tree = with_relative(call.resource_type, tree, context.base_url) if tree is not None else None
    issues = _content(call, tree, env) if tree is not None else []
    if mode is not None:
        issues += _planned(mode, call, tree, context, grant, env)
        found |= dict.fromkeys(_changed(mode, call, grant, env))
    issues += _profile(call, call.parameters.value("profile"))
    if not any(issue.severity in ("error", "fatal") for issue in issues):
        issues.append(Issue("informational", "No problem was found.", severity="information"))
    return Result("ok", codec.dumps(outcome(dict.fromkeys(issues))), entities=tuple(found))


def _stored(row: Stored) -> Mapping[str, Any]:
    if row.body is None:
        raise gone(disclosed(row))
    return codec.loads_object(row.body)


def _content(call: Call, tree: Mapping[str, Any], env: Env) -> list[Issue]:
    return list(env.validate(call.resource_type, tree))


def _planned(
    mode: str, call: Call, tree: Mapping[str, Any] | None, context: Context, grant: Grant, env: Env
) -> list[Issue]:
    """Return what the Plan of the write would be refused for."""
    action: Any = mode
    require_scope(context.subject, call.type, action)
    if mode != "create" and call.id is None:
        return [Issue("processing", f"{mode} is of one resource: name it in the path, {call.type}/id/$validate.")]
    written = replace(call, name=mode, id=None if mode == "create" else call.id, body=tree)
    try:
        _MODES[mode](written, context, grant, env)
    except _JUDGED as error:
        return list(error.issues)
    return []


def _changed(mode: str, call: Call, grant: Grant, env: Env) -> Iterator[Entity]:
    """Yield what a write would change, as it is there now, whether it is refused or not; nothing of what the caller does not see."""
    if mode != "create" and call.id is not None:
        with suppress(NotFound):
            yield disclosed(visible(call.ref, env.store.find_current(call.ref), grant))


def _profile(call: Call, profile: str | None) -> list[Issue]:
    """Say of a profile that it was not checked, unless it is the base definition, by which everything is."""
    if profile is None or profile.partition("|")[0] == f"{_BASE}{call.type}":
        return []
    text = f"The profile {profile[:200]!r} was not checked: this server validates by the base definitions of R4."
    return [Issue("not-supported", text, severity="warning")]

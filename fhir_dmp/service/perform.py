"""The one door: every FHIR call of every interface passes here, is judged, and leaves its event before its answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial

import structlog

from fhir_dmp.access.decide import decide
from fhir_dmp.access.model import Action
from fhir_dmp.access.rules import require_scope, rules_for
from fhir_dmp.audit.event import describe
from fhir_dmp.call import Act, Call, Context, Env, Grant, Interaction, Plan, Result
from fhir_dmp.errors import (
    Conflict,
    FhirError,
    Invalid,
    MethodNotAllowed,
    Refused,
    Stale,
    Unavailable,
    Unrecorded,
    failed,
)
from fhir_dmp.interactions.bundle import batch, named, transaction
from fhir_dmp.interactions.create import create
from fhir_dmp.interactions.delete import delete
from fhir_dmp.interactions.history import history
from fhir_dmp.interactions.operation import given
from fhir_dmp.interactions.patch import patch
from fhir_dmp.interactions.read import read
from fhir_dmp.interactions.search import search_type
from fhir_dmp.interactions.update import update
from fhir_dmp.interactions.vread import vread
from fhir_dmp.interactions.write import entity
from fhir_dmp.service import audit_log
from fhir_dmp.service.operations import OPERATIONS
from fhir_dmp.store.change import Change, Commit, Event

INTERACTIONS: Mapping[str, tuple[Action | None, Interaction]] = {
    "read": ("read", read),
    "vread": ("read", vread),
    "create": ("create", create),
    "update": ("update", update),
    "patch": ("update", patch),
    "delete": ("delete", delete),
    "history-instance": ("read", history),
    "history-type": ("search", history),
    "history-system": ("search", history),
    "search-type": ("search", search_type),
    "transaction": (None, transaction),
}
"""What may be asked, the right it needs on its type (None: its parts are judged one by one), and who does it."""

_KINDS: Mapping[str, Action] = {"create": "create", "update": "update", "delete": "delete"}
_DONE_BEFORE = Result("not-modified")
ATTEMPTS = 3
_log = structlog.get_logger(__name__)


def perform(call: Call, context: Context, env: Env) -> Result:
    """Do what the call asks, if the rules permit it, and return the Result once its event is durable.

    Raises a ``FhirError`` whose event is durable too, and ``Unavailable`` if that cannot be had.
    """
    try:
        call = _read(call, env)
        return _carry_out(call, context, env)
    except Unrecorded:
        raise
    except RecursionError:
        error: FhirError = Invalid("The body is nested too deeply.")
    except FhirError as refusal:
        error = refusal
    except Exception:  # noqa: BLE001 - what was not foreseen says nothing outside and everything in the log
        _log.exception("fault", request_id=context.request_id, interaction=call.name, type=call.type)
        error = failed(context.request_id)
    turn_away(call, error, context, env)
    raise error


def turn_away(call: Call, error: FhirError, context: Context, env: Env) -> None:
    """Make a refusal or a fault durable before its answer leaves."""
    env.store.record(_described(Act(call, error=error), context, env))


def _read(call: Call, env: Env) -> Call:
    """Return the call with what its body says it is: a batch, a transaction, an operation with its parameters."""
    if call.name == "bundle":
        return named(call)
    return given(call, env) if call.name == "operation" else call


def _carry_out(call: Call, context: Context, env: Env) -> Result:
    if call.name == "batch":
        return _batch(call, context, env)
    grant = Grant(cache(partial(rules_for, context.subject)))
    action, interaction = _interaction(call)
    if action is not None:
        require_scope(grant.rules(action), call.type, action)
    for _ in range(ATTEMPTS):
        answer = interaction(call, context, grant, env)
        if isinstance(answer, Result):
            return _recorded(call, answer, context, env)
        _judge(answer.changes, grant)
        with suppress(Stale):
            return _committed(call, answer, context, env)
    raise Conflict("Others changed the same resources at the same time; read them again and repeat the request.")


def _batch(call: Call, context: Context, env: Env) -> Result:
    def refuse(entry: Call, error: FhirError) -> Act:
        turn_away(entry, error, context, env)
        return Act(entry, error=error)

    result = batch(call, context, env, partial(_entry, context=context, env=env), refuse)
    failed = any(entry.error is not None for entry in result.entries)
    told = replace(result, entries=tuple(entry for entry in result.entries if entry.result is not _DONE_BEFORE))
    _recorded(replace(call, mark=None) if failed else call, told, context, env)
    return result


def _entry(call: Call, context: Context, env: Env) -> Act:
    """Do one entry of a batch by the same door, unless its mark says that it was done; its failure is its own."""
    if call.mark and env.store.has_mark(call.mark):
        return Act(call, _DONE_BEFORE)
    try:
        return Act(call, perform(call, context, env))
    except Unavailable:
        raise
    except FhirError as error:
        return Act(call, error=error)


def _interaction(call: Call) -> tuple[Action | None, Interaction]:
    table = audit_log.INTERACTIONS if call.type == "AuditEvent" else INTERACTIONS
    found = OPERATIONS.get(call.operation) if call.operation else table.get(call.name)
    if found is None:
        raise MethodNotAllowed(f"{call.type or 'The server'} does not take the interaction {call.name}.")
    return found


def _judge(changes: Iterable[Change], grant: Grant) -> None:
    """Refuse the whole Plan unless each change is permitted on the state before it and on the state after it."""
    for change in changes:
        rules = grant.rules(_KINDS[change.kind])
        after = {**change.index, "_id": str(change.ref), "ty": change.ref.type}
        rows = [after] if change.before is None else [change.before.index, after]
        for row in rows:
            decision = decide(rules, row)
            if not decision.permit:
                raise Refused(
                    f"This token does not allow to {change.kind} {change.ref.type}.",
                    reasons=decision.reasons,
                    patients=entity(change).patients,
                )


def _committed(call: Call, plan: Plan, context: Context, env: Env) -> Result:
    planned = (
        Result("ok", ref=plan.entities[0].ref, version=plan.entities[0].version)
        if len(plan.changes) == 1
        else Result("ok")
    )
    described = replace(planned, entities=plan.entities, entries=plan.entries)
    event = _described(Act(call, described), context, env)
    if not plan.changes and not plan.events and not call.mark:
        env.store.record(event)
        return plan.finish((), _read_after(plan, context, env))
    events = (*plan.events, event)
    stored = env.store.commit(Commit(plan.changes, events, plan.locks, plan.relied_on, _marks(call)))
    return plan.finish(stored, _read_after(plan, context, env))


def _read_after(plan: Plan, context: Context, env: Env) -> Sequence[Act]:
    """Pass the reads of a transaction through the door, now that they see what it did.

    What it did is done: a read that fails now, and be it for want of the database, is an entry that failed.
    """

    def read(call: Call) -> Act:
        try:
            return _entry(call, context, env)
        except Unavailable as error:
            return Act(call, error=error)

    return [read(call) for call in plan.reads]


def _recorded(call: Call, result: Result, context: Context, env: Env) -> Result:
    event = _described(Act(call, result), context, env)
    if call.mark:
        env.store.commit(Commit(events=(event,), marks=_marks(call)))
    else:
        env.store.record(event)
    return result


def _marks(call: Call) -> tuple[str, ...]:
    return (call.mark,) if call.mark else ()


def _described(act: Act, context: Context, env: Env) -> Event:
    return describe(act, context, env.ids.new(), env.clock.micros(), env.ids.new)

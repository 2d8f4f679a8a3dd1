"""The one door: every FHIR call of every interface passes here, is judged, and leaves its event before its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

import structlog
from msgspec.structs import replace

from fhir_dmp.access.kinds import DIRECTORY
from fhir_dmp.access.model import Action
from fhir_dmp.access.rules import require_scope, shut
from fhir_dmp.call import Act, Call, Context, Env, Interaction, Plan, Result
from fhir_dmp.errors import (
    Conflict,
    FhirError,
    Invalid,
    MethodNotAllowed,
    NotFound,
    Stale,
    Unavailable,
    Unrecorded,
    failed,
)
from fhir_dmp.interactions.bundle import batch, named, transaction
from fhir_dmp.interactions.capabilities import capabilities
from fhir_dmp.interactions.create import create
from fhir_dmp.interactions.delete import delete
from fhir_dmp.interactions.entries import full, size_of
from fhir_dmp.interactions.history import history
from fhir_dmp.interactions.meeting import Referring
from fhir_dmp.interactions.operation import given
from fhir_dmp.interactions.options import options
from fhir_dmp.interactions.patch import patch
from fhir_dmp.interactions.provenance import with_provenance
from fhir_dmp.interactions.read import read
from fhir_dmp.interactions.search import search_system, search_type
from fhir_dmp.interactions.update import update
from fhir_dmp.interactions.vread import vread
from fhir_dmp.service import audit_log
from fhir_dmp.service.emergencies import owed_by, owed_by_failure
from fhir_dmp.service.evidence import described, is_event_hidden, is_frame_hidden
from fhir_dmp.service.granting import Granting, grant_of, shut_out
from fhir_dmp.service.identities import of_one_person
from fhir_dmp.service.judging import judge
from fhir_dmp.service.operations import OPERATIONS
from fhir_dmp.service.policies import policy_changes
from fhir_dmp.service.provenances import belonging
from fhir_dmp.store.change import Change, Commit, Event
from fhir_dmp.store.turns import Attempts

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
    "search-system": ("search", search_system),
    "transaction": (None, partial(transaction, OPERATIONS)),
    "options": (None, options),
    "capabilities": (None, capabilities),
}
"""What may be asked, the right it needs on its type (None: its parts are judged one by one), and who does it."""

_WRITES = frozenset({"create", "update", "patch", "delete", "transaction"})
_DONE_BEFORE = Result("not-modified")
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
    except _Told as told:
        raise told.error from None
    except RecursionError:
        error: FhirError = Invalid("The body is nested too deeply.")
    except FhirError as refusal:
        error = refusal
    except Exception:  # noqa: BLE001 - what was not foreseen says nothing outside and everything in the log
        _log.exception("fault", request_id=context.request_id, interaction=call.name, type=call.type)
        error = failed(context.request_id)
    turn_away(call, error, context, env)
    raise error


class _Told(Exception):
    """An error whose event is durable already."""

    def __init__(self, error: FhirError) -> None:
        super().__init__(str(error))
        self.error = error


def turn_away(call: Call, error: FhirError, context: Context, env: Env) -> None:
    """Make a refusal or a fault durable before its answer leaves."""
    env.store.record(_failed(call, error, context, env))


def _failed(call: Call, error: FhirError, context: Context, env: Env) -> Event:
    """Return the event of what failed; the error knows then whether representatives of the token's record are told."""
    event = described(Act(call, error=error), context, env)
    error.untold = is_event_hidden(event, context)
    return event


def record_once(event: Event, mark: str, env: Env) -> None:
    """Make durable an event that changes nothing and may be told once alone; raise ``Stale`` if one with the mark is."""
    env.store.commit(Commit(events=(event,), marks=(mark,)))


def _read(call: Call, env: Env) -> Call:
    """Return the call with what its body says it is: a batch, a transaction, an operation with its parameters."""
    if call.name == "bundle":
        return named(call)
    return given(call, env) if call.name == "operation" else call


def _carry_out(call: Call, context: Context, env: Env) -> Result:
    if call.name == "batch":
        return _batch(call, context, env)
    action, interaction = _interaction(call)
    if action is not None:
        require_scope(context.subject, call.type, action)
    with Attempts(env.turns) as attempts:
        for attempt in attempts:
            grant = grant_of(call, context, env, anew=attempt > 0, writes=call.name in _WRITES)
            with suppress(Stale):
                try:
                    return _attempted(call, interaction, context, grant, env, attempts)
                except FhirError as error:
                    grant.policies.confirm()
                    owed = owed_by_failure(error, call, context, grant, env)
                    if not owed:
                        raise
                    env.store.commit(Commit(owed, (_failed(call, error, context, env),)))
                    raise _Told(error) from None
    raise Conflict("Others changed the same resources at the same time; read them again and repeat the request.")


def _attempted(
    call: Call, interaction: Interaction, context: Context, grant: Granting, env: Env, attempts: Attempts
) -> Result:
    indexed_by = env.indexed_by()
    answer = _answered(call, interaction, context, grant, env)
    if isinstance(answer, Result) or not answer.changes:
        grant.policies.confirm()  # there is no commit that would
    if isinstance(answer, Result):
        answer = grant.documents.answered(answer)
        owed = owed_by(call, answer.entities, context, grant, env)
        return _recorded(Act(call, answer, reasons=grant.used), context, env, owed)
    with Referring(answer.referred):
        answer = belonging(with_provenance(answer, call, context, env), grant, grant.documents, env)
        judge(answer, context, grant)
        answer = grant.documents.planned(of_one_person(answer, context, env), call)
        attempts.about((*(str(change.ref) for change in answer.changes), *(lock.key for lock in answer.locks)))
        return _committed(call, answer, indexed_by, context, grant, env)


def _answered(call: Call, interaction: Interaction, context: Context, grant: Granting, env: Env) -> Result | Plan:
    """Return the interaction's answer; one that has nothing to tell of a record that is shut to its caller says so instead.

    Only the token's own record is told to be shut: of any other, nothing is said to be there at all.
    """
    try:
        answer = interaction(call, context, grant, env)
    except NotFound as absent:
        _require_open(call, context, grant, absent.reasons)
        raise
    if isinstance(answer, Result) and not answer.entities:
        _require_open(call, context, grant, ())
    return answer


def _require_open(call: Call, context: Context, grant: Granting, reasons: tuple[str, ...]) -> None:
    person = context.subject.person if context.subject else None
    if person is None or person.patient is None or call.type in (*DIRECTORY, "AuditEvent") or _of_a_type(call):
        return
    why = shut(grant.rules("read"))
    if why:
        raise shut_out(context, (*why, *reasons))


def _of_a_type(call: Call) -> bool:
    """Tell whether the call is an operation on no record, such as ``$validate``: it needs no right on its type."""
    return call.operation is not None and call.id is None and OPERATIONS[call.operation][0] is None


def _batch(call: Call, context: Context, env: Env) -> Result:
    do, refuse = partial(_entry, context=context, env=env), partial(_refused, context=context, env=env)
    result = batch(call, context, env, do, refuse)
    failed = any(entry.error is not None for entry in result.entries)
    told = replace(result, entries=tuple(entry for entry in result.entries if entry.result is not _DONE_BEFORE))
    frame = Act(replace(call, mark=None) if failed else call, told, hidden=is_frame_hidden(told.entries))
    _recorded(frame, context, env)
    return result


def _entry(call: Call, context: Context, env: Env) -> Act:
    """Do one entry of a batch by the same door, unless its mark says that it was done; its failure is its own."""
    if call.mark and env.store.has_mark(call.mark):
        return Act(call, _DONE_BEFORE)
    try:
        return Act(call, perform(call, _as_of_now(context, env), env))
    except Unavailable:
        raise
    except FhirError as error:
        return Act(call, error=error)


def _as_of_now(context: Context, env: Env) -> Context:
    """Return the context with the policy as the entries before have left it."""
    person = context.subject.person if context.subject else None
    if person is None or person.patient is None:
        return context
    return replace(context, policy=env.store.find_policies((person.patient,)).get(person.patient))


def _interaction(call: Call) -> tuple[Action | None, Interaction]:
    table = audit_log.INTERACTIONS if call.type == "AuditEvent" else INTERACTIONS
    found = OPERATIONS.get(call.operation) if call.operation else table.get(call.name)
    if found is None:
        raise MethodNotAllowed(f"{call.type or 'The server'} does not take the interaction {call.name}.")
    return found


def _committed(call: Call, plan: Plan, indexed_by: int, context: Context, grant: Granting, env: Env) -> Result:
    """Make the plan durable; raise ``Stale`` if it was indexed by other search parameters than rows are now (``indexed_by``)."""
    policies, compiled_from = policy_changes(plan, context.subject, grant, env, context.base_url)
    planned = (
        Result("ok", ref=plan.entities[0].ref, version=plan.entities[0].version)
        if len(plan.changes) == (2 if call.provenance else 1)
        else Result("ok")
    )
    made = replace(planned, entities=plan.entities, entries=plan.entries)
    why = (*grant.used, *(reason for act in plan.entries if act.error for reason in act.error.reasons))
    done = plan.told or call
    act = (
        Act(done, error=plan.withheld)
        if plan.withheld
        else Act(done, made, reasons=why, met=plan.met, referred=plan.referred)
    )
    if not plan.changes and not plan.events and not plan.erased:
        return _read_alone(call, plan, act, context, grant, env)
    owed = owed_by(call, plan.entities, context, grant, env)
    told = described(act, context, env)
    events = (*plan.events, told)
    relied_on = {**compiled_from, **plan.relied_on}
    decided_on = grant.policies.versions if plan.changes or plan.erased else {}
    changes = (*plan.changes, *owed)
    if changes and env.indexed_by() != indexed_by:
        raise Stale
    commit = Commit(changes, events, plan.locks, relied_on, _marks(call), policies, decided_on, plan.erased)
    stored = env.store.commit(commit)[: len(plan.changes)]
    return _finished(plan.finish(stored, _read_after(plan, context, env)), told, context)


def _read_alone(call: Call, plan: Plan, act: Act, context: Context, grant: Granting, env: Env) -> Result:
    """Answer a plan that changes nothing; where it only reads, representatives are told of it if they are of anything that it read."""
    read = _read_after(plan, context, env)
    told = described(replace(act, hidden=is_frame_hidden(read) and not plan.entities), context, env)
    _record(call, told, owed_by(call, plan.entities, context, grant, env), env)
    return _finished(plan.finish((), read), told, context)


def _finished(result: Result, event: Event, context: Context) -> Result:
    """Return the result, which knows whether representatives are told."""
    return replace(result, hidden=True) if is_event_hidden(event, context) else result


def _read_after(plan: Plan, context: Context, env: Env) -> Sequence[Act]:
    """Pass the reads of a transaction through the door, now that they see what it did.

    What it did is done: a read that fails now, and be it for want of the database, is an entry that failed.
    """
    acts: list[Act] = []
    room = env.limits.body
    for call in plan.reads:
        try:
            acts.append(_entry(call, context, env) if room > 0 else _refused(call, full(env), context, env))
        except Unavailable as error:
            acts.append(Act(call, error=error))
        room -= size_of(acts[-1])
    return acts


def _refused(call: Call, error: FhirError, context: Context, env: Env) -> Act:
    """Return the act of an entry that is refused, once its event is durable."""
    turn_away(call, error, context, env)
    return Act(call, error=error)


def _recorded(act: Act, context: Context, env: Env, owed: tuple[Change, ...] = ()) -> Result:
    """Make the event of what was read durable, with the notices that it owes, and only then hand it on."""
    told = described(act, context, env)
    _record(act.call, told, owed, env)
    return _finished(act.result or Result("ok"), told, context)


def _record(call: Call, event: Event, owed: tuple[Change, ...], env: Env) -> None:
    """Make the event of what changed nothing durable, with the notices that it owes."""
    if call.mark or owed:
        env.store.commit(Commit(owed, (event,), marks=_marks(call)))
    else:
        env.store.record(event)


def _marks(call: Call) -> tuple[str, ...]:
    return (call.mark,) if call.mark else ()

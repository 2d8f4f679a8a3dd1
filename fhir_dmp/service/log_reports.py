"""What clients report of their own: AuditEvents that the log takes in, for good. https://profiles.ihe.net/ITI/TF/Volume2/ITI-20.html."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from fhir_dmp.access.rules import shut
from fhir_dmp.audit.event import submit
from fhir_dmp.audit.render import render
from fhir_dmp.audit.scene import View
from fhir_dmp.audit.submitted import named_here
from fhir_dmp.call import Call, Context, Entity, Env, Grant, Plan, Result
from fhir_dmp.clock import DAY, SECOND, instant
from fhir_dmp.errors import Invalid, Refused, TooLong, Unprocessable
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.reference import Ref, below, parse_literal, with_relative
from fhir_dmp.interactions.write import require_valid, resource_of
from fhir_dmp.service.granting import shut_out
from fhir_dmp.service.log_views import TYPE, ref_of
from fhir_dmp.store.change import Event

MOST_BYTES = 64 * 1024
"""Of an AuditEvent that a client reports, as the log keeps it."""

MOST_SENT = 4 * MOST_BYTES
"""Bytes of one as it is sent, with blanks and ends of lines: nothing longer is looked at."""

AHEAD_MICROS = 5 * 60 * SECOND
"""How far a client's clock may be ahead of ours."""

YEARS = 10
_KEPT_MICROS = (YEARS * 365 + YEARS // 4 + 1) * DAY
"""How old an event may be when it is reported: as old as traces are that must be kept (R.1111-43), whatever outage was before."""


def create(call: Call, context: Context, grant: Grant, env: Env) -> Plan:
    """Return the Plan that takes an AuditEvent of a client's own into the log, for good (ITI-20)."""
    _require_short(call)
    sent = resource_of(call)
    require_valid(TYPE, sent, env)
    _require_own(sent, context)
    tree = with_relative(TYPE, sent, context.base_url)
    event = submit(tree, context, env.ids.new(), env.clock.micros(), env.ids.new)
    if len(event.body) + len(event.secret or b"") > MOST_BYTES:
        raise _too_long()
    _require_moment(event)
    _require_record(event.index["pt"], context, grant)
    _require_seen(tree, context, grant, env)
    ref = Ref(TYPE, event.id)
    body = codec.dumps(render(event, 1, context.base_url, View(context.language)))
    return Plan(
        changes=(),
        finish=lambda *_: Result("created", body, ref, 1, event.recorded),
        entities=(Entity(ref, 1, tuple(event.index["pt"])),),
        events=(event,),
    )


def _require_short(call: Call) -> None:
    body = call.body if isinstance(call.body, bytes) or call.body is None else codec.dumps(call.body)
    if len(body or b"") > MOST_SENT:
        raise _too_long()


def _too_long() -> TooLong:
    return TooLong(f"An AuditEvent may have {MOST_BYTES} bytes.")


def _require_own(tree: Mapping[str, Any], context: Context) -> None:
    """Refuse an event that says this server saw it: it is a client's word."""
    observer = tree["source"]["observer"]
    named = (observer.get("reference"), observer.get("display"), (observer.get("identifier") or {}).get("value"))
    if any(isinstance(each, str) and _is_us(each, context.base_url) for each in named):
        raise Unprocessable(
            "source.observer names this server: report what your own system saw.",
            expression="AuditEvent.source.observer",
        )


def _require_moment(event: Event) -> None:
    """Refuse an event of a time yet to come, or older than any log: it would stand on top of all searches, or where nobody looks."""
    age = event.recorded - event.index["at"]
    if age < -AHEAD_MICROS:
        raise Invalid(
            f"recorded is later than now ({instant(event.recorded)}): set your clock.", expression="AuditEvent.recorded"
        )
    if age > _KEPT_MICROS:
        raise Invalid(f"recorded is more than {YEARS} years ago: no log keeps that.", expression="AuditEvent.recorded")


def _require_seen(tree: Mapping[str, Any], context: Context, grant: Grant, env: Env) -> None:
    """Refuse a person's event about items that they do not see: whether it is masked later would tell if there is one."""
    if context.subject is None or context.subject.person is None:
        return
    named = [ref for name in named_here(tree, context.base_url) if (ref := ref_of(name))]
    refs = [ref for ref in dict.fromkeys(named) if ref.type != "Patient"]
    rows = env.store.find_many(refs) if refs else {}
    if any(ref not in rows or not grant.decide("read", rows[ref].index).permit for ref in refs):
        raise Unprocessable("It names what you do not see here.", expression="AuditEvent.entity")


def _require_record(patients: Collection[str], context: Context, grant: Grant) -> None:
    """Refuse a person's event about another record than the token's, or one that takes nothing of them: it would stand among its traces."""
    subject = context.subject
    if subject is None or subject.person is None or not patients:
        return
    if any(each != subject.record for each in patients):
        raise Refused("This token reports events of its own record alone.", reasons=("of another record",))
    why = shut(grant.rules("create"))
    if why:
        raise shut_out(context, why)


def _is_us(name: str, base_url: str) -> bool:
    if parse_literal(name) is not None:
        return below(name, base_url) != name
    return name.strip().lower() in ("fhir_dmp", "fhir-dmp") or base_url.partition("://")[2].partition("/")[0] in name

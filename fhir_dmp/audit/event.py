"""From an act to the row that proves it, before anybody hears of the result. https://hl7.org/fhir/R4/auditevent.html.

One row stands for one act: what was asked, by whom, for whom, from where, why, how it ended and what it touched. The row is
compact JSON with its keys in the order below; ``audit.render`` makes AuditEvents from it. The store chains rows when
it writes them.

=============  =======================================================================================================
``id``         the row's id, chosen before it is sent
``recorded``   FHIR instant, microseconds, UTC
``act``        code of http://hl7.org/fhir/restful-interaction, ``$name`` of an operation, or the name of an OAuth act (``token``)
``on``         ``Type``, ``Type/id`` or ``Type/id/version``; absent for the whole system
``outcome``    code of http://terminology.hl7.org/CodeSystem/audit-event-outcome: 0, 4, 8 or 12
``error``      issue code and HTTP status of what went wrong
``why``        reasons of a refusal: never sent to the caller
``agent``      client, role, organization, operator, jti of the token
``from``       network address
``request``    method and URL as sent, cut at 2,000 characters
``purpose``    code of http://terminology.hl7.org/CodeSystem/v3-ActReason
``requestId``  X-Request-Id
``touched``    by patient (``Patient/p``; empty for nobody's): the versions disclosed or changed
``account``    of a sign-in, or a change of an account: id, identifier of its owner, method
``entries``    the entries of a bundle: act, on, outcome
=============  =======================================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fhir_dmp.access.model import Subject
from fhir_dmp.call import Act, Call, Context, Entity, Result
from fhir_dmp.clock import instant
from fhir_dmp.errors import FhirError
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.reference import parse_literal
from fhir_dmp.store.change import Event

ACTIONS = {
    "read": "R",
    "vread": "R",
    "create": "C",
    "update": "U",
    "patch": "U",
    "delete": "D",
}
"""AuditEvent.action by interaction; whatever is not here executes: E. https://hl7.org/fhir/R4/valueset-audit-event-action.html."""

REQUEST_LENGTH = 2000
SUBMITTED = "submitted"
"""The act of rows that hold an AuditEvent of a client's own."""

LISTS = ("search-type", "search-system", "history-instance", "history-type", "history-system")
"""Acts whose event is found by patient and not by each row that they returned."""


def describe(act: Act, context: Context, event_id: str, recorded: int) -> Event:
    """Return the row for one FHIR act; ``recorded`` is microseconds since 1970."""
    call, result, error = act.call, act.result, act.error
    touched = _by_patient(result.entities if result else ())
    outcome = error.audit_outcome if error else "0"
    row: dict[str, Any] = {"id": event_id, "recorded": instant(recorded), "act": call.act}
    row.update(
        _given(
            on=_target(call, result),
            outcome=outcome,
            error=_error(error),
            why=list(act.reasons or (error.reasons if error else ())),
            agent=_agent(context),
            **{"from": context.address},
            request=context.url[:REQUEST_LENGTH],
            purpose=context.purpose,
            requestId=context.request_id,
            touched=touched,
            entries=[_entry(each) for each in (result.entries if result else ())],
        )
    )
    return Event(event_id, recorded, codec.dumps(row), _index(call, outcome, context, touched, result))


def describe_token(
    context: Context,
    event_id: str,
    recorded: int,
    *,
    act: str,
    client: str,
    subject: Subject | None,
    error: str | None,
    why: str,
    scopes: Sequence[str],
    account: Mapping[str, str],
) -> Event:
    """Return the row for one OAuth act (``token``, ``revoke``, ``client-add``...); ``error`` is the code of a refusal.

    ``account`` says by which account (``id``, ``identifier``, ``method``) somebody signed in, or which was changed.
    """
    outcome = "8" if error else "0"
    client = client[:64]
    who = replace(context, subject=subject) if subject else context
    row: dict[str, Any] = {"id": event_id, "recorded": instant(recorded), "act": act}
    row.update(
        _given(
            outcome=outcome,
            error={"code": error} if error else None,
            why=[why[:200]] if why else None,
            agent={**_given(client=client), **_agent(who)},
            **{"from": context.address},
            request=context.url[:REQUEST_LENGTH],
            account=_given(**account),
            scopes=list(scopes),
            requestId=context.request_id,
        )
    )
    tokens = ["AuditEvent.action=E", f"AuditEvent.outcome={outcome}", f"AuditEvent.subtype={act}"]
    tokens.extend(f"AuditEvent.agent={each}" for each in (client, account.get("id")) if each)
    return Event(event_id, recorded, codec.dumps(row), {"t": tokens, "pt": []})


def submit(tree: Mapping[str, Any], context: Context, event_id: str, recorded: int) -> Event:
    """Return the row for an AuditEvent that a client sends (ITI-20): its words, under our id and with its sender.

    https://profiles.ihe.net/ITI/TF/Volume2/ITI-20.html.
    """
    row = {
        "id": event_id,
        "recorded": instant(recorded),
        "act": SUBMITTED,
        "agent": _agent(context),
        "resource": tree,
    }
    entities = [_reference(entity.get("what")) for entity in tree.get("entity", ())]
    agents = [_reference(agent.get("who")) for agent in tree["agent"]]
    patients = sorted({ref for ref in (*entities, *agents) if ref and ref.startswith("Patient/")})
    codes = [f"AuditEvent.subtype={coding['code']}" for coding in tree.get("subtype", ()) if "code" in coding]
    tokens = [f"AuditEvent.{code}={tree[code]}" for code in ("action", "outcome") if code in tree]
    touched = [f"AuditEvent.entity={ref}" for ref in dict.fromkeys(entities) if ref]
    client = context.subject.client if context.subject else ""
    index = {"t": [*tokens, *codes, f"AuditEvent.agent={client}", *touched], "pt": patients}
    return Event(event_id, recorded, codec.dumps(row), index)


def _reference(what: Mapping[str, Any] | None) -> str | None:
    literal = parse_literal((what or {}).get("reference", ""))
    return str(literal.ref) if literal else None


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


def _target(call: Call, result: Result | None) -> str | None:
    if result is not None and result.ref is not None:
        return f"{result.ref}/{result.version}" if result.version else str(result.ref)
    if call.type is None:
        return None
    parts = [call.type, call.id, call.version]
    return "/".join(part[:64] for part in parts if part)


def _error(error: FhirError | None) -> Mapping[str, Any] | None:
    return {"code": error.issues[0].code, "status": error.status} if error else None


def _agent(context: Context) -> dict[str, str]:
    subject = context.subject
    if subject is None:
        return {}
    return _given(
        client=subject.client,
        role=subject.role,
        organization=subject.organization,
        operator=subject.operator,
        jti=subject.token_id,
    )


def _by_patient(entities: Iterable[Entity]) -> dict[str, list[str]]:
    touched: dict[str, list[str]] = {}
    for entity in entities:
        name = f"{entity.ref}/{entity.version}" if entity.version else str(entity.ref)
        for patient in entity.patients or ("",):
            touched.setdefault(patient, []).append(name)
    return touched


def _entry(act: Act) -> dict[str, Any]:
    outcome = act.error.audit_outcome if act.error else "0"
    return _given(act=act.call.act, on=_target(act.call, act.result), outcome=outcome)


def _index(
    call: Call, outcome: str, context: Context, touched: Mapping[str, Sequence[str]], result: Result | None
) -> dict[str, Any]:
    patients = [patient for patient in touched if patient]
    tokens = [
        f"AuditEvent.action={ACTIONS.get(call.name, 'E')}",
        f"AuditEvent.outcome={outcome}",
        f"AuditEvent.subtype={call.act}",
    ]
    if call.operation:
        tokens.append("AuditEvent.subtype=operation")
    if context.subject:
        tokens.append(f"AuditEvent.agent={context.subject.client}")
    entities = set(patients)
    if call.name not in LISTS:
        entities.update(name.rpartition("/")[0] for names in touched.values() for name in names)
        entities.add(
            f"{call.type}/{call.id[:64]}" if call.type and call.id else str(result.ref) if result and result.ref else ""
        )
    tokens.extend(f"AuditEvent.entity={entity}" for entity in sorted(entities) if entity)
    return {"t": tokens, "pt": patients}

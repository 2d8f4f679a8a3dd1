"""From an act to the row that proves it, before anybody hears of the result. https://hl7.org/fhir/R4/auditevent.html.

One row stands for one act: what was asked, by whom, for whom, from where, why, how it
ended and what it touched. A row is compact JSON in UTF-8, without what is empty, its keys in the order below. ``audit.parts`` says which
AuditEvents it holds, ``audit.render`` makes them, ``audit.index`` says what it is found by: pure functions of the row, so that whoever
has a row can check what was made of it. The store chains rows when it writes them.

=============  =======================================================================================================
``v``          the format of the row: 3; one of format 1 holds in ``touched`` a list of whole names for each patient
``id``         the row's id, chosen before it is sent
``recorded``   FHIR instant, microseconds, UTC
``act``        code of http://hl7.org/fhir/restful-interaction, ``$name`` of an operation, or a name of the table ``audit.kinds``
               (``token``); ``submitted`` for an AuditEvent of a client's own
``on``         ``Type``, ``Type/id`` or ``Type/id/version``, as far as these are a type and ids; absent for the whole system
``outcome``    code of http://terminology.hl7.org/CodeSystem/audit-event-outcome: 0, 4, 8 or 12
``error``      ``code`` of the issue (or of OAuth) and HTTP ``status`` of what went wrong
``why``        reasons of the decision: never sent to the caller
``consents``   ``Consent/id/version`` of each Consent that permitted or refused
``agent``      of the system that asked: ``client``, ``role``, ``organization`` (``system|value``), ``operator`` at the command line,
               ``jti`` of the token
``person``     who asked by it: ``kind``, ``id`` (``system|value``), ``resource``, ``name``, ``profession`` (TRE_G15), ``specialty``
               (TRE_R01), ``secret`` (true under a *connexion secrète*)
``from``       network address of the client; behind proxies that are trusted, the one they name
``request``    method and URL, clinical values cut out, and what of a path is no id; what a body, a header or a bundle's entry asked, on
               lines of its own; 2,000 characters at most, with a mark at the end (``…``) of what was longer
``sealed``     digest of what lies beside the row: the request as it was sent and the reason for breaking the glass (``audit.asked``), scopes and
               reasons as they are (``audit.scopes``), or what was cut out of a submitted AuditEvent
``purpose``    code of http://terminology.hl7.org/CodeSystem/v3-ActReason; absent where nobody known asked
``requestId``  X-Request-Id
``for``        ids (``Patient/p``) of the patients whom an act was about that touched nothing: who was named, whose rows were counted, whose
               events were told, whose item was not as it was asked for, or met by an error
``touched``    by patient (``Patient/p``; empty for nobody's), then by type: the versions disclosed or changed (``id/version``); no type for one
               of whom nothing but a number was told
``stayed``     of what was to be changed the versions (``Type/id/version``) in which nothing differed: each is still the present one
``account``    of a sign-in, or a change of an account: ``id``, ``identifier`` and ``name`` of its owner, ``method``; or whose ``token`` it was
``client``     of an OAuth act the client that it was about, where another asked: who was registered or removed, or whose ``token`` it was
``token``      of an OAuth act the ``jti`` of the token that it was about, where that is not the one that was asked with
``entries``    the entries of a transaction: ``act``, ``on``, ``outcome`` where it is not 0
``scopes``     what a token was asked or issued for, clinical values cut out, as in reasons
``hidden``     true where all that was touched, counted or met is hidden from representatives by its label, or that was asked for and is gone:
               so is the event
``hides``      what of it is, where not all is: versions, and patients (``Patient/p``) of whom all is
``base``       of a submitted AuditEvent: the URL of this endpoint, below which references name what is here; without it all are taken for ours
``resource``   of a submitted AuditEvent: as the client sent it, without what may be clinical (``audit.cut``); whole in formats 1 and 2
=============  =======================================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import takewhile
from typing import Any

from msgspec.structs import replace

from fhir_dmp.access.model import Person, Subject
from fhir_dmp.audit.asked import REASON_LENGTH, asked, cleaned, digest, enclose, kept_whole, shortened
from fhir_dmp.audit.concerned import about, by_patient, hidden_in
from fhir_dmp.audit.cut import cut
from fhir_dmp.audit.index import index_of
from fhir_dmp.audit.scopes import clean_form, clean_reasons, clean_scopes
from fhir_dmp.call import Act, Call, Context, Result
from fhir_dmp.clock import instant
from fhir_dmp.errors import FhirError
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.reference import ID
from fhir_dmp.store.change import Event
from fhir_dmp.token_act import TokenAct

FORMAT = 3
SUBMITTED = "submitted"
"""The act of rows that hold an AuditEvent of a client's own."""

EMERGENCIES = ("BTG", "ETREAT")
"""Purposes that open a record without its holder's word."""

_OVERRIDES = {"authorize": "break-glass-start", "revoke": "break-glass-end"}
MOST_REASONS = 20

_CONSENT = re.compile(r"Consent/([A-Za-z0-9\-.]{1,64}) v(\d{1,9})")
"""How a reason names the Consent that it stands on: ``Consent/42 v3, provision 2``."""

Salt = Callable[[], str]
"""Makes text that nobody can guess, for what is sealed."""


def describe(act: Act, context: Context, event_id: str, recorded: int, salt: Salt) -> Event:
    """Return the row for one FHIR act; ``recorded`` is microseconds since 1970."""
    call, result, error = act.call, act.result, act.error
    reasons = act.reasons or (error.reasons if error else ())
    why = list(dict.fromkeys(reasons))[:MOST_REASONS]
    told = clean_reasons(why)
    entities = result.entities if result else ()
    concerned = (*result.concerned, *act.met) if result else act.met
    touched = by_patient(entities, concerned)
    named = None if any(touched) else about(act, concerned, context)
    hides = hidden_in(act, (*entities, *concerned) if concerned else entities, named or touched, context)
    shown, sent = asked(call, context, result.query if result else None, error.referred if error else act.referred)
    secret = _secret(context, salt, request=(shown, sent), why=(told, why))
    row = _head(event_id, recorded, call.act)
    _put(
        row,
        on=_target(call, result),
        outcome=error.audit_outcome if error else "0",
        error=_error(error),
        why=told,
        consents=consents_in(reasons),
        **_who(context),
        request=shown,
        sealed=digest(secret) if secret else None,
        purpose=_purpose(context.subject, context.purpose),
        requestId=context.request_id,
        **{"for": named},
        touched=touched,
        stayed=[f"{each.ref}/{each.version}" for each in entities if each.stays],
        entries=[_entry(each) for each in result.entries] if result and call.name == "transaction" else None,
        hidden=hides is None,
        hides=hides,
    )
    return _event(event_id, recorded, row, secret)


def describe_token(act: TokenAct, context: Context, event_id: str, recorded: int, salt: Salt) -> Event:
    """Return the row for one OAuth act; ``recorded`` is microseconds since 1970.

    To be authorized with an emergency for a reason is to break the glass.
    """
    subject = act.subject
    who = _who(context, subject or context.subject)
    why, scopes = [act.why[:200]] if act.why else [], list(act.scopes)
    sent = "\n".join(part for part in (cleaned(context.url), act.asked) if part)
    shown, told, granted = clean_form(sent), clean_reasons(why), clean_scopes(scopes)
    known = replace(context, subject=subject)
    request = (shown, shown if shown == sent else kept_whole(sent, known))
    secret = _secret(known, salt, request=request, why=(told, why), scopes=(granted, scopes))
    who["agent"] = _given(client=act.client_id[:64]) | who["agent"]
    person = subject.person if subject else None
    emergency = person is not None and person.purpose in EMERGENCIES and not act.error
    row = _head(event_id, recorded, _OVERRIDES.get(act.kind, act.kind) if emergency else act.kind)
    _put(
        row,
        outcome="8" if act.error else "0",
        error={"code": act.error} if act.error else None,
        why=told,
        consents=consents_in((act.why,)),
        **who,
        request=shortened(shown),
        sealed=digest(secret) if secret else None,
        purpose=_purpose(subject, subject.purpose if subject else None),
        requestId=context.request_id,
        **{"for": list(dict.fromkeys((*([subject.record] if subject and subject.record else ()), *act.patients)))},
        account=_given(id=act.account, identifier=act.identifier, name=act.name[:200], method=act.method),
        client=_other(
            act.owner or (act.client_id if subject is None and context.subject else ""), who["agent"].get("client")
        ),
        token=_other(act.token, who["agent"].get("jti")),
        scopes=granted,
        hidden=act.hidden,
    )
    return _event(event_id, recorded, row, secret)


def _other(told: str, known: str | None) -> str | None:
    """Return what is told beside what is known of who asked, if it is another."""
    return told[:64] if told[:64] != known else None


def submit(tree: Mapping[str, Any], context: Context, event_id: str, recorded: int, salt: Salt) -> Event:
    """Return the row for an AuditEvent that a client sends (ITI-20): its words, under our id and with its sender.

    https://profiles.ihe.net/ITI/TF/Volume2/ITI-20.html. Members that hold something clinical lie sealed beside it, as they were sent.
    """
    shown = cut(tree)
    sent = {name: value for name, value in tree.items() if shown.get(name) != value}
    secret = enclose({"resource": sent}, salt()) if sent else None
    row = _head(event_id, recorded, SUBMITTED)
    _put(
        row,
        **_who(context),
        sealed=digest(secret) if secret else None,
        requestId=context.request_id,
        base=context.base_url,
        resource=shown,
    )
    return _event(event_id, recorded, row, secret)


def _head(event_id: str, recorded: int, act: str) -> dict[str, Any]:
    return {"v": FORMAT, "id": event_id, "recorded": instant(recorded), "act": act}


def _put(row: dict[str, Any], **values: Any) -> None:
    """Add what is there; who calls names it in the order of the format."""
    row |= {name: value for name, value in values.items() if value}


_WATCHING = ("auditor", "admin")


def _event(event_id: str, recorded: int, row: Mapping[str, Any], secret: bytes | None) -> Event:
    return Event(event_id, recorded, codec.dumps(row), index_of(row), secret)


def _secret(context: Context, salt: Salt, **told: tuple[Any, Any]) -> bytes | None:
    """Return what lies beside the row: the reason for breaking the glass, and whatever is told (first) otherwise than it was."""
    said = {name: whole for name, (shown, whole) in told.items() if shown != whole}
    person = context.subject.person if context.subject else None
    if person is not None and person.reason:
        said["reason"] = person.reason[:REASON_LENGTH]
    return enclose(said, salt()) if said else None


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


def _target(call: Call, result: Result | None) -> str | None:
    if result is not None and result.ref is not None:
        return f"{result.ref}/{result.version}" if result.version else str(result.ref)
    named = takewhile(lambda part: part is not None and ID.match(part), (call.type, call.id, call.version))
    return "/".join(map(str, named)) or None


def _error(error: FhirError | None) -> Mapping[str, Any] | None:
    return {"code": error.issues[0].code, "status": error.status} if error else None


def consents_in(why: Iterable[str]) -> list[str]:
    """Return the Consents that reasons name: ``Consent/id/version``."""
    named = [_CONSENT.match(reason) for reason in why if reason.startswith("Consent/")]
    return list(dict.fromkeys([f"Consent/{found[1]}/{found[2]}" for found in named if found]))[:MOST_REASONS]


def _who(context: Context, subject: Subject | None = None) -> dict[str, Any]:
    """Return agent, person and network address."""
    subject = subject or context.subject
    if subject is None:
        return {"agent": {}, "from": context.address}
    agent = _given(
        client=subject.client,
        role=subject.role,
        organization=subject.organization,
        operator=subject.operator,
        jti=subject.token_id,
    )
    return {"agent": agent, "person": _person(subject.person), "from": context.address}


def _purpose(subject: Subject | None, purpose: str | None) -> str | None:
    """Return why somebody asked: nobody unknown has said so, and who watches over the server treats no one."""
    if subject is None:
        return None
    watches = subject.person is None and subject.role in _WATCHING
    return "HSYSADMIN" if watches and purpose == "TREAT" else purpose


def _person(person: Person | None) -> dict[str, Any] | None:
    if person is None:
        return None
    return _given(
        kind=person.kind,
        id=person.identifier,
        resource=person.resource,
        name=person.name[:200],
        profession=person.profession,
        specialty=person.specialty,
        secret=person.secret,
    )


def _entry(act: Act) -> dict[str, Any]:
    outcome = act.error.audit_outcome if act.error else None
    return _given(act=act.call.act, on=_target(act.call, act.result), outcome=outcome)

"""Acts of every kind by callers of every kind, as rows of the log."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec.structs import replace

from fhir_dmp.access.model import Person, Subject
from fhir_dmp.audit.event import describe, describe_token
from fhir_dmp.audit.parts import parts_of
from fhir_dmp.audit.render import render
from fhir_dmp.call import Act, Call, Context, Entity, Result
from fhir_dmp.errors import NotFound, Refused
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.token_act import TokenAct

BASE = "https://dmp.example/fhir"
ROW = "0190a1b2-0000-7000-8000-000000000001"
RECORDED = 1_764_000_000_123_456
STRUCTURE = "urn:oid:1.2.250.1.71.4.2.2|1750000001"

EHR = Subject("ehr-one", "ehr", ("system/*.cruds",), STRUCTURE, "jti-1")
DOCTOR = Person(
    "professional",
    "account-1",
    "urn:oid:1.2.250.1.71.4.2.1|899700218896",
    "Practitioner/doc",
    name="Dr Anne Martin",
    profession="10",
    specialty="SM26",
    patient="Patient/p1",
)
HOLDER = Person(
    "holder",
    "account-2",
    "urn:oid:1.2.250.1.213.1.4.10|279035121518989",
    "Patient/p1",
    name="Jeanne",
    patient="Patient/p1",
    purpose="PATRQT",
)
CALLERS = {
    "system": EHR,
    "doctor": replace(EHR, person=DOCTOR),
    "doctor alone": replace(EHR, organization=None, person=replace(DOCTOR, specialty=None, name="")),
    "holder": Subject("portal", "app", ("patient/*.rs",), None, "jti-2", person=HOLDER),
    "glass breaker": replace(EHR, person=replace(DOCTOR, purpose="BTG", reason="patient inconscient")),
    "operator": Subject("command-line", "admin", (), operator="alice"),
}


def context(subject=EHR, url="GET /fhir/Patient/p1", **more):
    """Return where an act comes from."""
    given = {"purpose": subject.purpose if subject else "TREAT", **more}
    return Context(
        subject, datetime(2026, 11, 25, tzinfo=UTC), "request-1", BASE, address="192.0.2.7", url=url, **given
    )


def salt():
    """Return what nobody can guess, for a test."""
    return "salt"


def entity(name, *patients, version=1):
    """Return what an act touched."""
    kind, _, own = name.partition("/")
    return Entity(Ref(kind, own), version, patients)


def row(act, subject=EHR, url="GET /fhir/Patient/p1", **more):
    """Return the row of an act."""
    return describe(act, context(subject, url, **more), ROW, RECORDED, salt)


def events(event, view=None):
    """Return all AuditEvents of a row."""
    return [render(event, number, BASE, view) for number in range(1, len(parts_of(codec.loads_object(event.body))) + 1)]


def done(name, target=None, *entities, **more):
    """Return an act that succeeded."""
    kind, _, own = (target or "").partition("/")
    call = Call(name, kind or None, own or None, **more)
    first = entities[0] if entities and name in ("read", "vread", "create", "update", "patch", "delete") else None
    return Act(
        call,
        Result("ok", ref=first.ref if first else None, version=first.version if first else None, entities=entities),
    )


CONDITION = entity("Condition/c1", "Patient/p1", version=2)
SUCCESSES = {
    "read": done("read", "Condition/c1", CONDITION),
    "read of nobody's": done("read", "Organization/o", entity("Organization/o")),
    "read of two records": done("read", "Group/g", entity("Group/g", "Patient/p1", "Patient/p2")),
    "vread": done("vread", "Condition/c1", CONDITION, version="2"),
    "search": done(
        "search-type", "Condition", CONDITION, entity("Condition/c2", "Patient/p2"), params=(("code", "E11"),)
    ),
    "search that found nothing": done("search-type", "Condition", params=(("patient", "p1"), ("code", "E11"))),
    "search of nobody's": done("search-type", "Organization", params=(("name", "x"),)),
    "search of the system": done("search-system", None, CONDITION),
    "create": done("create", "Condition", CONDITION),
    "create of a patient": done("create", "Patient", entity("Patient/p1", "Patient/p1")),
    "update": done("update", "Condition/c1", CONDITION),
    "patch": done("patch", "Condition/c1", CONDITION),
    "delete": done("delete", "Condition/c1", CONDITION),
    "delete of nobody's": done("delete", "Organization/o", entity("Organization/o")),
    "everything": done(
        "operation", "Patient/p1", entity("Patient/p1", "Patient/p1"), CONDITION, operation="everything"
    ),
}
"""Acts that have a profile."""

WITH_PROVENANCE = {
    "create with its provenance": done("create", "Condition", CONDITION, entity("Provenance/v1", "Patient/p1")),
    "patch of two records with its provenance": done(
        "patch", "Group/g", *(entity(name, "Patient/p1", "Patient/p2") for name in ("Group/g", "Provenance/v1"))
    ),
    "delete of nobody's with its provenance": done(
        "delete", "Organization/o", entity("Organization/o"), entity("Provenance/v1")
    ),
    "update of a provenance with one of its own": done(
        "update",
        "Provenance/v0",
        entity("Provenance/v0", "Patient/p1", version=2),
        entity("Provenance/v1", "Patient/p1"),
    ),
}
"""Changes that were told with who stands behind them: rows of several AuditEvents, and of one in formats 1 and 2."""

UNPROFILED = {
    "history": done("history-instance", "Condition/c1", CONDITION),
    "history of the type": done("history-type", "Condition", CONDITION),
    "history of the system": done("history-system", None, CONDITION),
    "batch": done("batch"),
    "block": done("operation", "Patient/p1", entity("Consent/42", "Patient/p1"), operation="block"),
    "latest": done("operation", "Observation", CONDITION, operation="lastn"),
    "validate": done("operation", "Condition", operation="validate"),
    "meta": done("operation", "Condition/c1", CONDITION, operation="meta"),
    "unknown operation": done("operation", "Patient/p1", CONDITION, operation="docref"),
}
"""Acts that follow a pattern."""

FAILURES = {
    "absent": Act(Call("read", "Condition", "c9"), error=NotFound("no", reasons=("absent",))),
    "hidden": Act(Call("read", "Condition", "c1"), error=NotFound("no", reasons=("label",), patients=("Patient/p1",))),
    "refused": Act(Call("search-type", "Condition"), error=Refused("no", reasons=("scope",))),
    "refused by consent": Act(
        Call("read", "Patient", "p1"), error=Refused("no", reasons=("Consent/42 v3, provision 2",))
    ),
    "create": Act(Call("create", "Condition"), error=Refused("no")),
    "transaction": Act(Call("transaction"), error=Refused("no")),
    "never understood": Act(Call("get"), error=NotFound("no")),
}


def transaction():
    """Return a transaction of two patients and an organization."""
    made = (entity("Patient/p1", "Patient/p1"), entity("Condition/c1", "Patient/p1"), entity("Organization/o"))
    acts = tuple(Act(Call("create", each.ref.type), Result("ok", ref=each.ref, version=1)) for each in made)
    return Act(Call("transaction"), Result("ok", entities=made, entries=acts))


def hidden(each):
    """Return what was touched, hidden from representatives."""
    return replace(each, hidden=True)


def hiding(*touched):
    """Return a transaction that deletes each item which is hidden and makes each other."""
    acts = tuple(
        Act(
            Call("delete" if each.hidden else "create", each.ref.type), Result("ok", ref=each.ref, version=each.version)
        )
        for each in touched
    )
    return Act(Call("transaction"), Result("ok", entities=touched, entries=acts))


OTHERS = entity("Condition/c2", "Patient/p2")
HIDING = {
    "a page of two records": done("search-type", "Condition", hidden(CONDITION), OTHERS),
    "a page of one record": done("search-type", "Condition", hidden(CONDITION), entity("Condition/c3", "Patient/p1")),
    "an item of two records": done("read", "Group/g", hidden(entity("Group/g", "Patient/p1", "Patient/p2")), OTHERS),
    "a change that met another's": replace(done("create", "Condition", OTHERS), met=(hidden(CONDITION),)),
    "a transaction": hiding(hidden(CONDITION), OTHERS),
    "a transaction of one record": hiding(hidden(CONDITION), entity("Condition/c3", "Patient/p1")),
    "a transaction of nobody's": hiding(hidden(entity("Group/g")), OTHERS),
    "a change with its provenance": done(
        "create", "Condition", CONDITION, hidden(entity("Provenance/v1", "Patient/p1"))
    ),
    "an error about two": replace(
        Act(Call("search-type", "Condition"), error=NotFound("no", patients=("Patient/p2",))), met=(hidden(CONDITION),)
    ),
}
"""Acts of which something is hidden from representatives, and not all."""


def token(act="token", error=None, subject=EHR, **more):
    """Return the row of an OAuth act."""
    refusal = {"error": error, "why": "no"} if error else {"subject": subject}
    told = TokenAct(act, "ehr-one", scopes=("system/*.rs",), **refusal, **more)
    return describe_token(told, context(None, "POST /oauth/token"), ROW, RECORDED, salt)

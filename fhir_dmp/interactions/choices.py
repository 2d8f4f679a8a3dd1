"""What the operations on a record's access share: whose word it is, the Consent that says it, and what ends one.

The holder's choices are Consents in the shape of IHE PCF: https://profiles.ihe.net/ITI/PCF/volume-1.html. An operation needs no knowledge of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from msgspec.structs import replace

from fhir_dmp.access.model import Action, Person
from fhir_dmp.access.policy import Entry, Policy
from fhir_dmp.access.rules import require_scope
from fhir_dmp.call import Act, Call, Context, Env, Grant, Plan, Result
from fhir_dmp.errors import Invalid, Refused, Unprocessable
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.labels import HIDDEN_FROM_REPRESENTATIVES, with_flags
from fhir_dmp.fhir.parameters import write
from fhir_dmp.fhir.reference import Ref, local, parse_literal
from fhir_dmp.interactions.entities import entity, is_hidden
from fhir_dmp.interactions.write import prepare
from fhir_dmp.store.change import Change, Stored

ACT_REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
HOLDERS = ("holder", "representative")
_PCF = "https://profiles.ihe.net/ITI/PCF/StructureDefinition/IHE.PCF.consentBasic"
_SCOPE = {"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}
_CATEGORY = {"system": "http://loinc.org", "code": "59284-0", "display": "Consent Document"}
_RECIPIENT = {"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "IRCP"}


def asking(
    call: Call,
    context: Context,
    grant: Grant,
    env: Env,
    *,
    may: Sequence[str] = HOLDERS,
    scope: Action = "create",
    closed: bool = False,
) -> tuple[Person, Policy]:
    """Return who asks and what opens the record that the call names.

    Raises ``Refused`` unless the token has the ``scope`` on all Consents, is a person's, of a kind that may, and for this record; and for a
    record that is closed, unless the operation is about that (``closed``). What a minor has said in secret is kept from representatives.
    """
    require_scope(context.subject, "Consent", scope, whole=True)
    person = context.subject.person if context.subject else None
    if person is None or person.patient != str(call.ref) or person.kind not in may:
        raise Refused("This is for the patient to say, with a token for this record.", reasons=("not the holder",))
    policy, _ = grant.policy(str(call.ref))
    if policy.closing is not None and not closed:
        raise Refused("This record is closed.", reasons=(f"{policy.closing.name}: the record is closed",))
    return person, _open_part(policy, env) if person.kind == "representative" else policy


def _open_part(policy: Policy, env: Env) -> Policy:
    """Return the policy without what is hidden from representatives."""
    secret = hidden_from_representatives([entry.source for entry in policy.entries], env)
    return replace(policy, entries=tuple(entry for entry in policy.entries if entry.source not in secret))


def hidden_from_representatives(sources: Iterable[str], env: Env) -> frozenset[str]:
    """Return those of the resources (``Type/id``) whose label hides them from who represents the holder."""
    refs = [literal.ref for source in sources if (literal := parse_literal(source))]
    found = env.store.find_many(tuple(dict.fromkeys(refs))) if refs else {}
    return frozenset(str(ref) for ref, row in found.items() if is_hidden(row.index))


def actor_of(call: Call, context: Context) -> dict[str, Any]:
    """Return the reference that the parameter ``actor`` holds, as it is kept: literal, or identifier with its system."""
    given = call.parameters.value("actor")
    if not isinstance(given, dict):
        raise Invalid("actor must be a Reference.", expression="actor")
    if "reference" in given:
        ref = local(given["reference"], context.base_url)
        if ref is None:
            raise Invalid("actor must refer to somebody who is known here.", expression="actor")
        return {"reference": str(ref)}
    identifier = given.get("identifier") or {}
    if not identifier.get("system") or not identifier.get("value"):
        raise Invalid("actor names somebody by a reference, or by an identifier with its system.", expression="actor")
    return {"identifier": {"system": identifier["system"], "value": identifier["value"]}}


def name_of(actor: dict[str, Any]) -> str:
    """Return the name that a policy knows the actor by."""
    if "reference" in actor:
        return str(actor["reference"])
    return f"{actor['identifier']['system']}|{actor['identifier']['value']}"


def consent(
    call: Call,
    context: Context,
    env: Env,
    *,
    title: str,
    permit: bool,
    actor: dict[str, Any] | None = None,
    purpose: str | None = None,
    until: str | None = None,
) -> Change:
    """Return the Change that makes the Consent of one choice; ``title`` says it in words."""
    provision: dict[str, Any] = {"type": "permit" if permit else "deny"}
    if until is not None:
        provision["period"] = {"start": context.now.isoformat(timespec="seconds"), "end": until}
    if actor is not None:
        provision["actor"] = [{"role": {"coding": [_RECIPIENT]}, "reference": actor}]
    if purpose is not None:
        provision["purpose"] = [{"system": ACT_REASON, "code": purpose}]
    tree: dict[str, Any] = {
        "resourceType": "Consent",
        "meta": {"profile": [_PCF]},
        "status": "active",
        "scope": {"coding": [_SCOPE]},
        "category": [{"coding": [_CATEGORY]}],
        "patient": {"reference": str(call.ref)},
        "dateTime": context.now.isoformat(timespec="seconds"),
        "performer": [{"reference": str(call.ref)}],
        "organization": [{"display": "Dossier médical partagé"}],
        "sourceAttachment": {"title": title},
        "policy": [{"uri": f"urn:fhir-dmp:matrix:{env.definitions.matrix.version}"}],
        "provision": provision,
    }
    person = context.subject.person if context.subject else None
    if person is not None and person.secret:
        tree = with_flags(tree, frozenset((HIDDEN_FROM_REPRESENTATIVES,)))
    return prepare(Ref("Consent", env.ids.new()), None, tree, context, env)


def choices(policy: Policy, *, permit: bool, name: str | None = None, purpose: str | None = None) -> Iterator[Entry]:
    """Yield the entries that say one thing about one actor, or about everybody, and nothing else."""
    for entry in policy.entries:
        said = entry.provision
        if said is None or said.permit != permit or said.exceptions or said.data.named or said.data.labels:
            continue
        named = () if name is None else (name,)
        purposes = () if purpose is None else (f"{ACT_REASON}|{purpose}",)
        if entry.named == named and (purpose is None or said.purposes == purposes) and (name or said.purposes):
            yield entry


def ended(entries: Iterable[Entry], context: Context, env: Env) -> list[Change]:
    """Return the Changes that end these Consents: they stay, inactive."""
    refs = [literal.ref for entry in entries if (literal := parse_literal(entry.source))]
    found = env.store.find_many(refs) if refs else {}
    return [
        prepare(row.ref, row, {**codec.loads_object(row.body), "status": "inactive"}, context, env)
        for row in found.values()
        if row.body is not None
    ]


def answered(changes: Sequence[Change], *parameters: tuple[str, str, Any]) -> Plan:
    """Return the Plan of a choice: it answers with the parameters, and with each Consent that it made or ended."""

    def finish(stored: Sequence[Stored], _: Sequence[Act]) -> Result:
        told = [("consent", "Reference", {"reference": str(row.ref)}) for row in stored if row.ref.type == "Consent"]
        return Result("ok", codec.dumps(write([*parameters, *told])))

    return Plan(
        changes=tuple(changes),
        finish=finish,
        entities=tuple(map(entity, changes)),
        entitled=True,
    )


def require_unblocked(policy: Policy, name: str, env: Env) -> None:
    """Raise ``Unprocessable`` where the holder has blocked who is to be let in: the block is to be lifted first.

    Of one that was said in secret representatives are not told.
    """
    blocks = {entry.source for entry in choices(policy, permit=False, name=name)}
    if blocks:
        text = "The patient has blocked them: the patient lifts the block first."
        raise Unprocessable(text, expression="actor", hidden=blocks <= hidden_from_representatives(blocks, env))

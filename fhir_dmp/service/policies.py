"""From the changes of one commit to the policies that change with them.

A policy's sources are Consents, care teams, the attending doctor and the closing on the Patient, and representatives: where they are
written by who is entitled to open or shut the record. The same written by others is data and opens nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from msgspec.structs import replace

from fhir_dmp.access.consents import is_privacy
from fhir_dmp.access.datatypes import refused
from fhir_dmp.access.model import Action, Decision, Subject
from fhir_dmp.access.people import SOURCES, names_of
from fhir_dmp.access.policy import Entry, Policy, Provision, encode, names
from fhir_dmp.access.provisions import said_other
from fhir_dmp.access.sources import COMPILERS
from fhir_dmp.access.systems import INSURANCE, keeps_directory
from fhir_dmp.call import Env, Plan
from fhir_dmp.errors import Refused
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.reference import Ref, parse_literal
from fhir_dmp.service.compiled_anew import Known, Versioned, by_births, by_directory
from fhir_dmp.service.directory import Directory
from fhir_dmp.store.change import Change, PolicyChange
from fhir_dmp.store.query import Row

MOST_OF_ONE_ROW = 20
MOST_SHARED = 100
"""Records of one row, and records that share rows with one, that a list of one record of them looks at; rows of more are in no such list."""


class Policies(Protocol):
    """Where the policies of the records in question are known."""

    def policy(self, patient: str) -> tuple[Policy, int]:
        """Return what opens a record now, and its version."""
        ...

    def decide(self, action: Action, row: Row) -> Decision:
        """Return what the caller may do with a row."""
        ...


def policy_changes(
    plan: Plan, subject: Subject | None, policies: Policies, env: Env, base_url: str
) -> tuple[tuple[PolicyChange, ...], Mapping[Ref, int]]:
    """Return the policies that change with the plan, and the versions of what was read to compile them.

    Raises ``Unprocessable`` for a Consent that cannot be enforced exactly, ``Refused`` where someone who is not entitled would
    change what opens a record.
    """
    directory = Directory({change.ref: change for change in plan.changes}, env, base_url)
    changed: dict[str, Versioned] = {}

    def known(patient: str) -> Versioned:
        return changed.get(patient) or policies.policy(patient)

    for change in plan.changes:
        if change.ref.type in SOURCES and not change.stays:
            patients = _patients(change)
            if not patients:
                _require_no_choice(change, subject)
            for patient in patients:
                policy, version = known(patient)
                put = _applied(change, patient, policy, plan, subject, directory)
                said = put.entry(str(change.ref))
                if said is not None and said.version == change.version and change.kind != "relabel":
                    _require_in_record(said, patient, directory, policies)
                changed[patient] = (put, version)
    if keeps_directory(subject):
        changed.update(by_directory(known, directory))
    changed.update(by_births(known, directory))
    _note_shared(plan, changed, known)
    made = tuple(
        PolicyChange(patient, version, encode(policy), names(policy))
        for patient, (policy, version) in changed.items()
        if policy != policies.policy(patient)[0]
    )
    return made, directory.read


def _note_shared(plan: Plan, changed: dict[str, Versioned], known: Known) -> None:
    """Let each record of a row that is of several know of the others, so that a list of one finds their policies."""
    for change in plan.changes:
        patients: Sequence[str] = change.index.get("pt") or ()
        if not 1 < len(patients) <= MOST_OF_ONE_ROW:
            continue
        for patient in patients:
            policy, version = known(patient)
            shares = dict.fromkeys((*policy.shares, *(each for each in patients if each != patient)))
            if len(policy.shares) < len(shares) <= MOST_SHARED:
                changed[patient] = (replace(policy, shares=tuple(shares)), version)


def _require_no_choice(change: Change, subject: Subject | None) -> None:
    """Refuse the word about access of somebody who is entitled, where it is about nobody's record."""
    if change.ref.type != "Consent" or not change.body or not _is_entitled(subject, ""):
        return
    if is_privacy(codec.loads_object(change.body)):
        raise refused("it names no patient of this server", "Consent.patient")


def _require_in_record(entry: Entry, patient: str, directory: Directory, policies: Policies) -> None:
    """Refuse a Consent that names what its author does not see in the record: hidden, of another, and absent are one.

    It would hide or open nothing, or tell by being accepted that something is there.
    """
    provisions = (entry.provision, *entry.provision.exceptions) if entry.provision else ()
    named = dict.fromkeys(name for each in provisions for name in _in_record(each))
    refs = [literal.ref for name in named if (literal := parse_literal(name))]
    made = {ref for ref in refs if (change := directory.plan.get(ref)) and patient in (change.index.get("pt") or ())}
    rows = directory.env.store.find_many([ref for ref in refs if ref not in made]) if refs else {}
    for ref in refs:
        row = rows.get(ref)
        seen = row is not None and not row.deleted and patient in (row.index.get("pt") or ())
        if ref not in made and (row is None or not seen or not policies.decide("read", row.index).permit):
            raise refused(f"{ref} is nothing that you see in this record", "Consent.provision")


def _in_record(provision: Provision) -> Iterator[str]:
    yield from provision.data.instances
    yield from (name for actor in provision.actors for name in actor if name.startswith("RelatedPerson/"))


def _patients(change: Change) -> Sequence[str]:
    before = change.before.index.get("pt") if change.before else None
    return tuple(dict.fromkeys((*(change.index.get("pt") or ()), *(before or ()))))


def _is_entitled(subject: Subject | None, patient: str) -> bool:
    """Tell whether the caller may open or shut the record: the holder, who acts for the holder, the insurance."""
    if subject is None:
        return False
    person = subject.person
    if person is not None:
        return person.kind != "professional" and person.patient == patient
    return subject.role == INSURANCE


def _is_declared(subject: Subject | None) -> bool:
    return subject is not None and subject.person is not None and subject.person.kind == "professional"


def _applied(
    change: Change, patient: str, policy: Policy, plan: Plan, subject: Subject | None, directory: Directory
) -> Policy:
    """Return the policy with what the change makes of its source; of a Patient, what the plan ``states`` if that is not all."""
    source = str(change.ref)
    if not (plan.entitled or _is_entitled(subject, patient)):
        if change.ref.type != "Patient" and policy.entry(source) is not None:
            raise Refused(
                "What opens or shuts a record is changed by the patient.",
                reasons=(f"{source} is a source of its policy",),
            )
        return policy
    known = policy.entry(source)
    if change.kind == "relabel":  # to mask what others wrote of one's choices makes no choice of it
        return policy.put(source, replace(known, version=change.version) if known else None)
    tree = codec.loads_object(change.body) if change.body else None
    if tree is None or patient not in (change.index.get("pt") or ()):
        _require_of_others(subject, known, None)
        return policy.put(source, _told_once(change, known, None))
    registry = directory.registry(again=_may_be_of_others(change.ref.type, subject, plan.states))
    entry = COMPILERS[change.ref.type](tree, change, registry, subject)
    _require_of_others(subject, known, entry)
    if entry is not None and entry.closed is not None:
        since = known.closed if known is not None and known.closed is not None else directory.env.clock.micros()
        entry = replace(entry, closed=since)
    entry = replace(entry, rests_on=tuple(directory.names), declared=_is_declared(subject)) if entry else None
    entry = _told_once(change, known, entry)
    if plan.states:
        entry = _stated(Entry(source, change.version), entry, known, plan.states)
    return policy.put(source, entry)


def _told_once(change: Change, known: Entry | None, made: Entry | None) -> Entry | None:
    """Return the entry with the memory of what its source said of single rows before; one that says nothing any more is kept for that alone."""
    if not said_other(known, made):
        return made
    return replace(made or Entry(str(change.ref), change.version), untold=True)


def _may_be_of_others(resource_type: str, subject: Subject | None, states: Sequence[str]) -> bool:
    """Tell whether the source may name who is who as others wrote it, which says nothing then, without being refused.

    A feed refers to what it has; and a Patient may hold what was written by others, where it is not the word about that.
    """
    is_feed = subject is None or subject.person is None
    return (resource_type == "Patient" and (is_feed or "generalPractitioner" not in states)) or (
        resource_type == "CareTeam" and is_feed
    )


def _stated(nothing: Entry, made: Entry | None, known: Entry | None, states: Sequence[str]) -> Entry | None:
    """Return the entry of a Patient of which only some elements are somebody's word now; the others may be anybody's data."""
    made, known = made or nothing, known or nothing
    doctor = made if "generalPractitioner" in states else known
    closing = made if "active" in states else known
    whole = replace(
        nothing,
        doctors=doctor.doctors,
        about=doctor.about,
        rests_on=doctor.rests_on,
        closed=closing.closed,
        died=known.died,
    )
    return None if whole == nothing else whole


def _require_of_others(subject: Subject | None, known: Entry | None, made: Entry | None) -> None:
    """Refuse a representative who would say what representatives may: that is the holder's word, though who has it may give it back."""
    person = subject.person if subject else None
    if person is None or subject is None or person.kind != "representative":
        return
    opposed = known if known is not None and known.provision is not None and not known.provision.permit else None
    entries = tuple(each for each in (opposed, made) if each is not None and each.provision is not None)
    said = names(Policy(person.patient or "", entries))
    if names_of(subject).intersection(said) or any(name.startswith("RelatedPerson/") for name in said):
        raise Refused("A representative does not change what representatives may.", reasons=("of representatives",))

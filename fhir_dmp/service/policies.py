"""From the changes of one commit to the policies that change with them.

A policy's sources are Consents, care teams, the attending doctor and the closing on the Patient, and representatives: where they are
written by who is entitled to open or shut the record. The same written by others is data and opens nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from fhir_dmp.access.consents import (
    Registry,
    compile_consent,
    is_privacy,
    named_by,
    period_of,
    reference_of,
    refused,
    said_other,
    speaks_of_rows,
    written,
)
from fhir_dmp.access.effect import require_effect
from fhir_dmp.access.kinds import NAMING, is_national
from fhir_dmp.access.model import Action, Decision, Subject
from fhir_dmp.access.people import SOURCES, own
from fhir_dmp.access.policy import Entry, Member, Period, Policy, Provision, encode, names
from fhir_dmp.access.systems import keeps_directory
from fhir_dmp.call import Env, Plan
from fhir_dmp.definitions.model import Definitions
from fhir_dmp.errors import Refused, TooCostly, Unprocessable
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.dates import anniversary, interval
from fhir_dmp.fhir.reference import Ref, local, parse_literal
from fhir_dmp.search.names import homes
from fhir_dmp.store.change import Change, PolicyChange, Stored
from fhir_dmp.store.query import Row

RESOLVED = ("Organization", "PractitionerRole", "Group")
"""Types that are read to know whom a source means."""

AUTHORS = (
    "author",
    "performer",
    "asserter",
    "recorder",
    "requester",
    "source",
    "sender",
    "informationsource",
    "enterer",
)
"""Search parameters that name who made a resource's statement; a Consent may restrict by them (``authoredby``)."""

GUARDIANS = ("GUARD", "POWATT", "DPOWATT", "HPOWATT", "SPOWATT")
"""Relationships (v3-RoleCode) of who acts for a protected adult: https://terminology.hl7.org/CodeSystem-v3-RoleCode.html."""

MOST_NUMBERS = 5
"""National numbers of an entry that are looked up among the accounts."""

MOST_OF_ONE_ROW = 20
MOST_SHARED = 100
"""Records of one row, and records that share rows with one, that a list of one record of them looks at; rows of more are in no such list."""

_ENTITLED_SYSTEMS = ("insurance-feed",)
_LEGAL = ("insurance-feed",)


class Policies(Protocol):
    """Where the policies of the records in question are known."""

    def policy(self, patient: str) -> tuple[Policy, int]:
        """Return what opens a record now, and its version."""
        ...

    def decide(self, action: Action, row: Row) -> Decision:
        """Return what the caller may do with a row."""
        ...


class _Sources(Struct):
    """The resources that compiling reads: those of the plan itself first, then the store's."""

    plan: Mapping[Ref, Change]
    env: Env
    base_url: str
    read: dict[Ref, int] = field(default_factory=dict)
    found: dict[Ref, Stored | None] = field(default_factory=dict)
    names: dict[str, None] = field(default_factory=dict)
    believed: dict[Ref, bool] = field(default_factory=dict)

    def registry(self, *, again: bool = False) -> Registry:
        """Return what compiling needs; what it looks at is named from now on."""
        self.names.clear()
        env = self.env
        several = env.readings.several_doctors
        return Registry(
            self.find, authored(env.definitions), self.base_url, env.majority, env.zone, again, several, self.others
        )

    def find(self, ref: Ref) -> Mapping[str, Any] | None:
        """Return the resource; who is who is told by the keeper of the directory, a structure of itself, and who registers accounts."""
        return self._told(ref, kept=True)

    def others(self, ref: Ref) -> Mapping[str, Any] | None:
        """Return who is who where others wrote it."""
        return self._told(ref, kept=False) if ref.type in NAMING else None

    def is_of_others(self, name: str) -> bool:
        """Tell whether what is named (``Type/id``) says who is who, and others wrote it."""
        literal = parse_literal(name)
        return literal is not None and self.others(literal.ref) is not None

    def _told(self, ref: Ref, *, kept: bool) -> Mapping[str, Any] | None:
        self.names[str(ref)] = None
        there = self.plan.get(ref) or self._stored(ref)
        if there is None or there.body is None:
            return None
        tree = codec.loads_object(there.body)
        if ref not in self.believed:
            stamped = ref.type not in NAMING or bool(there.index.get("kept"))
            self.believed[ref] = stamped or self._vouched(ref, tree, there.index)
        return tree if self.believed[ref] is kept else None

    def _vouched(self, ref: Ref, tree: Mapping[str, Any], index: Row) -> bool:
        """Tell whether all numbers of an entry are so: a structure's own, as its system was registered, or of an account tied to this entry."""
        numbers = [f"{each.get('system')}|{each.get('value')}" for each in tree.get("identifier") or ()]
        if ref.type == "Organization":
            return bool(numbers) and set(numbers) <= set(index.get("au") or ())
        national = [number for number in numbers if is_national(number)]
        if ref.type != "Practitioner" or not national or len(national) > MOST_NUMBERS:
            return False
        return all(self.env.tied(ref.type, number) == str(ref) for number in national)

    def _stored(self, ref: Ref) -> Stored | None:
        if ref not in self.found:
            self.found[ref] = self.env.store.find_current(ref)
        stored = self.found[ref]
        self.read[ref] = stored.version if stored else 0
        return stored


def policy_changes(
    plan: Plan, subject: Subject | None, policies: Policies, env: Env, base_url: str
) -> tuple[tuple[PolicyChange, ...], Mapping[Ref, int]]:
    """Return the policies that change with the plan, and the versions of what was read to compile them.

    Raises ``Unprocessable`` for a Consent that cannot be enforced exactly, ``Refused`` where someone who is not entitled would
    change what opens a record.
    """
    sources = _Sources({change.ref: change for change in plan.changes}, env, base_url)
    changed: dict[str, tuple[Policy, int]] = {}
    for change in plan.changes:
        if change.ref.type in SOURCES and not change.stays:
            patients = _patients(change)
            if not patients:
                _require_no_choice(change, subject)
            for patient in patients:
                policy, version = changed.get(patient) or policies.policy(patient)
                put = _applied(change, patient, policy, plan, subject, sources)
                said = put.entry(str(change.ref))
                if said is not None and said.version == change.version and change.kind != "relabel":
                    _require_in_record(said, patient, sources, policies)
                changed[patient] = (put, version)
    if keeps_directory(subject):
        _compile_anew(changed, policies, sources)
    _compile_births(changed, policies, sources)
    _note_shared(plan, changed, policies)
    made = tuple(
        PolicyChange(patient, version, encode(policy), names(policy))
        for patient, (policy, version) in changed.items()
        if policy != policies.policy(patient)[0]
    )
    return made, sources.read


def _compile_anew(changed: dict[str, tuple[Policy, int]], policies: Policies, sources: _Sources) -> None:
    """Compile again what rests on a group, a structure or a role that their keeper changes: whoever leaves it leaves the records."""
    changes = (change for change in sources.plan.values() if change.before is not None and not change.stays)
    moved = {str(change.ref) for change in changes if change.ref.type in RESOLVED}
    most = sources.env.limits.policies
    rows = sources.env.store.policies_naming(sorted(moved), most + 1) if moved else ()
    if len(rows) > most:
        raise TooCostly(f"More than {most} records name it: name a new one in their stead.")
    for row in rows:
        policy, version = changed.get(row.patient) or policies.policy(row.patient)
        changed[row.patient] = (_resting_on(moved, policy, sources), version)


def _compile_births(changed: dict[str, tuple[Policy, int]], policies: Policies, sources: _Sources) -> None:
    """Compile again what rests on a date of birth that the plan changes: until when parents act for the holder."""
    for ref, change in sources.plan.items():
        before = change.before.body if ref.type == "Patient" and change.before else None
        if before and change.body and _born(before) != _born(change.body):
            policy, version = changed.get(str(ref)) or policies.policy(str(ref))
            changed[str(ref)] = (_resting_on({str(ref)}, policy, sources), version)


def _note_shared(plan: Plan, changed: dict[str, tuple[Policy, int]], policies: Policies) -> None:
    """Let each record of a row that is of several know of the others, so that a list of one finds their policies."""
    for change in plan.changes:
        patients: Sequence[str] = change.index.get("pt") or ()
        if not 1 < len(patients) <= MOST_OF_ONE_ROW:
            continue
        for patient in patients:
            policy, version = changed.get(patient) or policies.policy(patient)
            shares = dict.fromkeys((*policy.shares, *(each for each in patients if each != patient)))
            if len(policy.shares) < len(shares) <= MOST_SHARED:
                changed[patient] = (replace(policy, shares=tuple(shares)), version)


def _born(body: bytes) -> Any:
    return codec.loads_object(body).get("birthDate")


def _resting_on(moved: AbstractSet[str], policy: Policy, sources: _Sources) -> Policy:
    """Return the policy with what rests on these resources compiled anew."""
    for entry in policy.entries:
        if not moved.isdisjoint(entry.rests_on):
            policy = policy.put(entry.source, _again(entry, policy.patient, sources))
    return policy


def _again(entry: Entry, patient: str, sources: _Sources) -> Entry:
    """Return what the same version of the source says now; what cannot be told any more stays as it was.

    Of a Patient the doctors alone, by the words that named them: another version may hold what others wrote down since.
    """
    registry = sources.registry(again=True)
    if entry.source == patient:
        doctors = tuple(Member(actors) for each in entry.about if (actors := named_by(reference_of(each), registry)))
        return replace(entry, doctors=doctors, rests_on=tuple(sources.names))
    literal = parse_literal(entry.source)
    stored = sources.env.store.find_version(literal.ref, entry.version) if literal else None
    if literal is None or stored is None or stored.body is None or literal.ref in sources.plan:
        return entry
    origin = Change(literal.ref, entry.version, None, stored.body)
    try:
        made = _COMPILERS[literal.type](codec.loads_object(stored.body), origin, registry, None)
    except Unprocessable:
        return entry
    if made is None:
        return entry
    rests_on = tuple(sources.names)
    if made.provision and entry.provision and any(map(sources.is_of_others, rests_on)):
        made = replace(made, provision=_still_denied(made.provision, entry.provision))
    return replace(made, rests_on=rests_on, declared=entry.declared, untold=entry.untold)


def _still_denied(made: Provision, before: Provision) -> Provision:
    """Return the provision with its denials for all whom they named before as well.

    Whoever is shut out by an entry of their own, and writes another number into it, stays shut out.
    """
    within = tuple(_still_denied(*each) for each in zip(made.exceptions, before.exceptions, strict=False))
    actors = made.actors if made.permit else tuple(dict.fromkeys((*made.actors, *before.actors)))
    return replace(made, actors=actors, exceptions=within)


def _require_no_choice(change: Change, subject: Subject | None) -> None:
    """Refuse the word about access of somebody who is entitled, where it is about nobody's record."""
    if change.ref.type != "Consent" or not change.body or not _is_entitled(subject, ""):
        return
    if is_privacy(codec.loads_object(change.body)):
        raise refused("it names no patient of this server", "Consent.patient")


def _require_in_record(entry: Entry, patient: str, sources: _Sources, policies: Policies) -> None:
    """Refuse a Consent that names what its author does not see in the record: hidden, of another, and absent are one.

    It would hide or open nothing, or tell by being accepted that something is there.
    """
    provisions = (entry.provision, *entry.provision.exceptions) if entry.provision else ()
    named = dict.fromkeys(name for each in provisions for name in _in_record(each))
    refs = [literal.ref for name in named if (literal := parse_literal(name))]
    made = {ref for ref in refs if (change := sources.plan.get(ref)) and patient in (change.index.get("pt") or ())}
    rows = sources.env.store.find_many([ref for ref in refs if ref not in made]) if refs else {}
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
    return subject.role in _ENTITLED_SYSTEMS


def _is_declared(subject: Subject | None) -> bool:
    return subject is not None and subject.person is not None and subject.person.kind == "professional"


def _applied(
    change: Change, patient: str, policy: Policy, plan: Plan, subject: Subject | None, sources: _Sources
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
    registry = sources.registry(again=_may_be_of_others(change.ref.type, subject, plan.states))
    entry = _COMPILERS[change.ref.type](tree, change, registry, subject)
    _require_of_others(subject, known, entry)
    if entry is not None and entry.closed is not None:
        since = known.closed if known is not None and known.closed is not None else sources.env.clock.micros()
        entry = replace(entry, closed=since)
    entry = replace(entry, rests_on=tuple(sources.names), declared=_is_declared(subject)) if entry else None
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
    if own(subject).intersection(said) or any(name.startswith("RelatedPerson/") for name in said):
        raise Refused("A representative does not change what representatives may.", reasons=("of representatives",))


def _consent(tree: Mapping[str, Any], change: Change, registry: Registry, _: Subject | None) -> Entry | None:
    if not is_privacy(tree):
        return Entry(str(change.ref), change.version, untold=True) if speaks_of_rows(tree) else None
    entry = compile_consent(tree, str(change.ref), change.version, registry)
    if entry.provision is not None and not registry.again:
        require_effect(entry.provision)
    return entry


def _care_team(tree: Mapping[str, Any], change: Change, registry: Registry, _: Subject | None) -> Entry | None:
    if tree.get("status", "active") != "active":
        return None
    whole = _period(tree.get("period"), registry, "CareTeam.period")
    members = tuple(
        Member(actors, within)
        for each in tree.get("participant") or ()
        if (actors := named_by(each.get("member") or {}, registry))
        and (within := whole.within(_period(each.get("period"), registry, "CareTeam.participant.period")))
    )
    return Entry(str(change.ref), change.version, members=members) if members else None


def _related_person(
    tree: Mapping[str, Any], change: Change, registry: Registry, subject: Subject | None
) -> Entry | None:
    """Return the representation that the insurance states; of the holder's own making it is a Consent.

    Parents act for a minor, and nobody knows a minor without a date of birth; a guardian acts for as long as is stated.
    """
    stated = subject is None or (subject.person is None and subject.role in _LEGAL)
    if not stated or not tree.get("active", True):
        return None
    period: Period | None = _period(tree.get("period"), registry, "RelatedPerson.period")
    if period is not None and not _is_guardian(tree):
        ends = _majority(tree.get("patient") or {}, registry)
        period = None if ends is None else period.within(Period(end=ends))
    members = () if period is None or period.is_empty else (Member(((str(change.ref),),), period),)
    return Entry(str(change.ref), change.version, representatives=members)


def _is_guardian(tree: Mapping[str, Any]) -> bool:
    concepts = tree.get("relationship") or ()
    return any(each.get("code") in GUARDIANS for concept in concepts for each in concept.get("coding") or ())


def _majority(reference: Mapping[str, Any], registry: Registry) -> int | None:
    """Return when the Patient comes of age; None if nobody knows."""
    ref = local(reference.get("reference") or "", registry.base_url)
    born = (registry.find(ref) or {}).get("birthDate") if ref else None
    return anniversary(born, registry.majority, registry.zone) if born else None


def _patient(tree: Mapping[str, Any], change: Change, registry: Registry, _: Subject | None) -> Entry | None:
    named = [(each, named_by(each, registry)) for each in tree.get("generalPractitioner") or ()]
    known = [(each, actors) for each, actors in named if actors][: None if registry.several else 1]
    doctors = tuple(Member(actors) for _, actors in known)
    about = tuple(written(each, registry) for each, _ in known)
    closed = 0 if tree.get("active") is False else None
    died = _died(tree)
    if not doctors and closed is None and died is None:
        return None
    return Entry(str(change.ref), change.version, doctors=doctors, about=about, closed=closed, died=died)


def _died(tree: Mapping[str, Any]) -> int | None:
    """Return when the patient died, as soon as it may have been; 0 for no day that is told."""
    day = tree.get("deceasedDateTime")
    return interval(day)[0] if isinstance(day, str) else 0 if tree.get("deceasedBoolean") is True else None


_COMPILERS: Mapping[str, Callable[[Mapping[str, Any], Change, Registry, Subject | None], Entry | None]] = {
    "Consent": _consent,
    "CareTeam": _care_team,
    "RelatedPerson": _related_person,
    "Patient": _patient,
}


def _period(tree: Mapping[str, Any] | None, registry: Registry, path: str) -> Period:
    return period_of(tree, registry.zone, path) if tree else Period()


def authored(definitions: Definitions) -> Callable[[str], tuple[str, ...]]:
    """Return the function from a reference to the tokens of resources that say it is their author."""
    return lambda ref: tuple(dict.fromkeys(f"{name}={ref}" for name in _author_names(definitions)))


def _author_names(definitions: Definitions) -> Iterator[str]:
    members = definitions.compartments["Patient"].members
    for resource_type in members:
        params = definitions.search_params.get(resource_type, {})
        for code in AUTHORS:
            if code in params and params[code].type == "reference":
                yield from homes(params, resource_type, params[code])

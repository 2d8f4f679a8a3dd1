"""Rules for a human being, whose token reaches one record: the holder, a representative, a professional.

The order is that of the law: closed, blocked, opposed, authorised, matrix, labels. What refuses wins, whatever permits.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterable, Iterator
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from fhir_dmp.access.kinds import IS_DIRECTORY
from fhir_dmp.access.model import Action, Person, Rule, Subject
from fhir_dmp.access.numbers import equal_numbers
from fhir_dmp.access.policy import Data, Entry, Member, Policy
from fhir_dmp.access.provisions import consent_rules, ended_rules, meets, untold_rules
from fhir_dmp.clock import micros_of, moment
from fhir_dmp.definitions.model import Matrix
from fhir_dmp.fhir.labels import HIDDEN_FROM_HOLDER, HIDDEN_FROM_REPRESENTATIVES, MASKED
from fhir_dmp.settings import Readings
from fhir_dmp.store.query import EVERYTHING, Among, Between, Eq, In, Not, Query, both

ACT_REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
BREAK_GLASS, CENTRE_15 = "BTG", "ETREAT"
EMERGENCIES = (BREAK_GLASS, CENTRE_15)
ENTERING = ("TREAT", *EMERGENCIES)
"""The purposes that professionals have; structures have the first."""

REPRESENTING = ("FAMRQT", "PWATRNY")
"""The purposes by which a Consent names who acts for the holder."""

READS: tuple[Action, ...] = ("read", "search")
WRITES: tuple[Action, ...] = ("create", "update", "delete", "govern")
_TRACES = Eq("ty", "AuditEvent")
SOURCES = ("Consent", "CareTeam", "RelatedPerson", "Patient")
"""What opens or shuts a record, where it is written by who is entitled to."""

_INSTRUMENTS = ("Consent", "CareTeam")
"""What the holder changes whoever wrote it: it says who enters the record."""


class _Asked(Struct, frozen=True):
    """Who asks for what of which record, and when: what a person's rules follow from.

    ``names`` are those under which the person writes and is named, ``at`` is ``now`` in microseconds since 1970.
    """

    subject: Subject
    person: Person
    action: Action
    policy: Policy
    now: datetime
    at: int
    names: frozenset[str]
    mine: Query

    @property
    def purpose(self) -> str:
        """Why they ask, as a Consent says it."""
        return f"{ACT_REASON}|{self.person.purpose}"

    def is_among(self, members: tuple[Member, ...]) -> bool:
        """Tell whether the person is one of them now."""
        return any(member.period.holds(self.at) and meets(member.actors, self.names) for member in members)


def person_rules(
    subject: Subject,
    person: Person,
    action: Action,
    policy: Policy | None,
    now: datetime,
    matrix: Matrix,
    readings: Readings,
    *,
    copies: bool = False,
) -> Iterator[Rule]:
    """Yield the rules for a person; ``policy`` is that of the record which the token names, ``copies``: they ask for a copy of it whole."""
    if action in READS:
        yield Rule(permit=True, where=IS_DIRECTORY, reason="directory: open to whoever is known")
    if person.patient is None:
        return
    record, policy, names = Among("pt", (person.patient,)), policy or Policy(person.patient), names_of(subject)
    mine = In("au", tuple(sorted(names)))
    asked = _Asked(subject, person, action, policy, now, micros_of(now), names, mine)
    rules = _professional(asked, matrix, readings) if person.kind == "professional" else _holder_side(asked)
    for rule in rules:
        yield Rule(rule.permit, both(record, rule.where), rule.reason, rule.record)
    if policy.closing is not None and not _left(person, action, copies=copies):
        where = both(record, Not(_TRACES))
        yield Rule(permit=False, where=where, reason=f"{policy.closing.name}: the record is closed", record=True)


def _left(person: Person, action: Action, *, copies: bool) -> bool:
    """Tell whether closing the record leaves it: reopening to the holder's side, and a copy to the holder alone."""
    if action == "govern":
        return person.kind != "professional"
    return copies and person.kind == "holder" and action in READS


def names_of(subject: Subject) -> frozenset[str]:
    """Return the names under which the person writes and is named."""
    person = subject.person
    if person is None:
        return frozenset()
    structure = subject.organization if person.kind == "professional" else None
    numbers = equal_numbers(person.identifier)
    return frozenset(name for name in (*numbers, person.resource, structure) if name)


def _holder_side(asked: _Asked) -> Iterator[Rule]:
    """Yield the rules of the holder, and of who acts for the holder: nobody, once the holder has died."""
    dead = asked.policy.dead(asked.at)
    if dead is not None:
        yield Rule(permit=False, where=EVERYTHING, reason=f"{dead.name}: the holder has died", record=True)
    if asked.person.kind == "holder":
        yield from _permits_of_holder(asked, "the holder's own record", EVERYTHING)
    else:
        for opened in _representing(asked):
            if opened.permit:
                yield from _permits_of_holder(asked, opened.reason, opened.where)
            else:
                yield opened
        if asked.action != "create":
            reason = "INVISIBLE_REPRESENTANTS_LEGAUX"
            yield Rule(permit=False, where=Eq("sec", HIDDEN_FROM_REPRESENTATIVES), reason=reason)
    if asked.action != "create":
        hidden = both(Eq("sec", HIDDEN_FROM_HOLDER), Between("co", _month_before(asked.now)))
        yield Rule(permit=False, where=hidden, reason="INVISIBLE_PATIENT, not yet a month old")


def _permits_of_holder(asked: _Asked, reason: str, where: Query) -> Iterator[Rule]:
    if asked.action == "govern":
        yield Rule(permit=True, where=both(where, In("ty", SOURCES)), reason=reason)
    elif asked.action in ("update", "delete"):
        yield Rule(permit=True, where=both(where, asked.mine), reason="author")
        if asked.action == "update":
            yield Rule(permit=True, where=both(where, In("ty", _INSTRUMENTS)), reason=reason)
    else:
        yield Rule(permit=True, where=where, reason=reason, record=True)


def _representing(asked: _Asked) -> Iterator[Rule]:
    for entry in asked.policy.entries:
        if asked.is_among(entry.representatives):
            yield Rule(permit=True, where=EVERYTHING, reason=f"{entry.name}: legal representative")
        for purpose in REPRESENTING:
            yield from consent_rules(entry, asked.names, f"{ACT_REASON}|{purpose}", asked.now, named_only=True)
            told = untold_rules(entry, asked.names, f"{ACT_REASON}|{purpose}", asked.now, named_only=True)
            yield from _but_of_authors(told, asked)
    yield from _but_of_authors(ended_rules(asked.policy.entries), asked)


def _professional(asked: _Asked, matrix: Matrix, readings: Readings) -> Iterator[Rule]:
    person, action = asked.person, asked.action
    yield from _permits(asked, matrix, readings)
    for entry in asked.policy.entries:
        if not _passed_over(entry, person, readings):
            yield from _refusals(entry, asked)
    if action not in WRITES:
        yield from _but_of_authors(ended_rules(asked.policy.entries), asked)
    urgent = person.purpose in EMERGENCIES and action in READS
    if not person.strong and action in (*READS, "govern"):
        where = EVERYTHING if action == "govern" else Not(asked.mine)
        yield Rule(permit=False, where=where, reason="not strongly authenticated: feeds alone", record=True)
    rights = matrix.professions.get(person.profession or "")
    allowed = () if rights is None else rights.read if action in READS else rights.write
    reason = f"matrix {matrix.version}: profession {person.profession or 'unknown'}"
    if action != "govern" and not (urgent and not readings.emergency_matrix):
        yield Rule(permit=False, where=Not(Among("ca", allowed)), reason=reason)
    attends = any(asked.is_among(entry.doctors) for entry in asked.policy.entries)
    if not attends and action != "create" and not (urgent and readings.emergency_masked):
        yield Rule(permit=False, where=both(Eq("sec", MASKED), Not(asked.mine)), reason="MASQUE_PS")


def _passed_over(entry: Entry, person: Person, readings: Readings) -> bool:
    """Tell whether who breaks the glass passes over what a Consent says: a block by name, if that is read as being about care alone.

    What is said for this purpose, or against everybody, is an opposition and stands.
    """
    said = entry.provision
    if said is None or readings.block_in_break_glass or person.purpose != BREAK_GLASS:
        return False
    return not said.permit and bool(said.actors) and not said.purposes and said.data == Data()


def _permits(asked: _Asked, matrix: Matrix, readings: Readings) -> Iterator[Rule]:
    person, action = asked.person, asked.action
    mine = Rule(permit=True, where=asked.mine, reason="author")
    names = [name for name in (person.specialty, asked.subject.organization) if name is not None]
    express = [matrix.explicit[name] for name in names if name in matrix.explicit]
    if person.purpose == CENTRE_15 and action not in READS:
        return
    if action in ("update", "delete"):
        yield mine
    elif action == "govern":
        yield Rule(permit=True, where=Eq("ty", "Consent"), reason="the patient's consent, declared")
    elif action == "create" and not express:
        yield Rule(permit=True, where=EVERYTHING, reason="feeding needs no authorisation", record=True)
    else:
        if action != "create":
            yield mine
        yield from _openings(asked, explicit=bool(express))
        if action in READS and person.reason and all(express):
            yield from _emergency(asked, readings)


def _openings(asked: _Asked, *, explicit: bool) -> Iterator[Rule]:
    """Yield what opens the record to a professional: a Consent, the care team, being the attending doctor.

    For those who enter by an ``explicit`` Consent alone there is nothing but the first.
    """
    for entry in asked.policy.entries:
        said = consent_rules(entry, asked.names, asked.purpose, asked.now, named_only=explicit)
        yield from (rule for rule in said if rule.permit)
        if explicit:
            continue
        if asked.is_among(entry.members):
            yield Rule(permit=True, where=EVERYTHING, reason=f"{entry.name}: care team", record=True)
        if asked.is_among(entry.doctors):
            yield Rule(permit=True, where=EVERYTHING, reason=f"{entry.name}: attending doctor", record=True)


def _emergency(asked: _Asked, readings: Readings) -> Iterator[Rule]:
    """Yield what opens the record to a professional who has said why it is an emergency."""
    person = asked.person
    if person.purpose == BREAK_GLASS and may_break_glass(person.profession, readings):
        yield Rule(permit=True, where=EVERYTHING, reason="break-glass", record=True)
    if person.purpose == CENTRE_15 and asked.subject.role == "samu":
        yield Rule(permit=True, where=EVERYTHING, reason="centre 15", record=True)


def may_break_glass(profession: str | None, readings: Readings) -> bool:
    """Tell whether a professional of this profession may break the glass."""
    named = readings.break_glass_professions.replace(",", " ").split()
    return not named or profession in named


def _refusals(entry: Entry, asked: _Asked) -> Iterator[Rule]:
    """Yield what a Consent refuses. Writing is refused to those whom it names; what hides single items hides none from its author."""
    writes = asked.action in WRITES
    for rule in consent_rules(entry, asked.names, asked.purpose, asked.now, named_only=writes):
        if not rule.permit:
            where = rule.where if rule.record else both(rule.where, Not(asked.mine))
            yield Rule(permit=False, where=where, reason=rule.reason, record=rule.record)
    if not writes:
        yield from _but_of_authors(untold_rules(entry, asked.names, asked.purpose, asked.now), asked)


def _but_of_authors(rules: Iterable[Rule], asked: _Asked) -> Iterator[Rule]:
    """Yield the rules for what the person has not written."""
    return (replace(rule, where=both(rule.where, Not(asked.mine))) for rule in rules)


def _month_before(now: datetime) -> str:
    """Return the ``co`` of one calendar month ago: what was deposited earlier has waited long enough."""
    year, month = (now.year, now.month - 1) if now.month > 1 else (now.year - 1, 12)
    day = min(now.day, monthrange(year, month)[1])
    return moment(micros_of(now.replace(year=year, month=month, day=day)))

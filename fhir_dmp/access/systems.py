"""Rules for a system that acts by itself: an EHR for its structure, a laboratory, the insurance feed, an auditor.

A system has its own writings, and of other records what the holder's Consents open to its structure by name or to everybody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache

from msgspec.structs import replace

from fhir_dmp.access.kinds import IS_DIRECTORY
from fhir_dmp.access.model import Action, Rule, Subject
from fhir_dmp.access.people import ACT_REASON, READS
from fhir_dmp.access.policy import Policy
from fhir_dmp.access.provisions import consent_rules, ended_rules, untold_rules
from fhir_dmp.definitions.model import Matrix
from fhir_dmp.fhir.labels import MASKED
from fhir_dmp.settings import Readings
from fhir_dmp.store.query import EVERYTHING, Among, Between, Eq, In, Not, Query, both, either

TASKS = "urn:fhir-dmp:task"
REVIEW = "emergency-review"
"""The tasks of the record administrator: each access in an emergency is looked at by somebody."""

SERVER = "server"
"""The role of what the server writes of its own accord; no client is registered for it."""

INSURANCE = "insurance-feed"
"""The insurance keeps identities: it closes a record and opens it again, and what it writes of who is who in the directory is taken for so."""

WRITERS = ("ehr", "lab", INSURANCE)
PURPOSES = ("TREAT", "PATADMIN", "HSYSADMIN")
"""Why a system may ask. An emergency is a person's to claim, and what is not care or its administration is nobody's."""


def keeps_directory(subject: Subject | None) -> bool:
    """Tell whether it is so what the caller writes of who is known by which number: to write that of oneself or of others opens no record."""
    return subject is not None and subject.person is None and subject.role == INSURANCE


def names_of(subject: Subject) -> tuple[str, ...]:
    """Return the names under which the system writes: its structure, and itself."""
    return tuple(name for name in (f"client|{subject.client}", subject.organization) if name)


def system_rules(
    subject: Subject, action: Action, policies: Mapping[str, Policy], now: datetime, matrix: Matrix, readings: Readings
) -> Iterator[Rule]:
    """Yield the rules for a system; ``policies`` are those of all records that could open or shut something to it."""
    if subject.role == "auditor":
        if action in READS:
            yield Rule(permit=True, where=Eq("ty", "AuditEvent"), reason="auditor")
        return
    if subject.role == "admin":
        yield from _administers(action)
    if subject.role not in WRITERS:
        return
    names = names_of(subject)
    yield from _permits(subject.role, names, action)
    if policies:
        mine = In("au", names)
        opens = readings.structures_consult and subject.role == "ehr" and bool(subject.organization)
        shared: dict[str, list[Query]] = {}
        for policy in policies.values():
            own_record = Among("pt", (policy.patient,))
            for rule in _of_record(subject, action, policy, now, mine, opens=opens):
                if rule.permit and policy.shares:
                    shared.setdefault(policy.patient, []).append(rule.where)
                yield replace(rule, where=both(own_record, rule.where)) if rule.permit else rule
        yield from _of_several(shared)
    rights = matrix.systems[subject.role]
    yield from _refusals(matrix.version, subject.role, rights.read if action in READS else rights.write, names, action)


def _administers(action: Action) -> Iterator[Rule]:
    """Yield what an administrator of records reaches: the reviews of emergencies, and no clinical content."""
    if action in (*READS, "update"):
        yield Rule(permit=True, where=Eq("t", f"Task.code={TASKS}|{REVIEW}"), reason="reviews of emergencies")
    if action == "govern":
        yield Rule(permit=True, where=Eq("ty", "Communication"), reason="notices that fall due")


@lru_cache(maxsize=1024)
def _permits(role: str, names: tuple[str, ...], action: Action) -> tuple[Rule, ...]:
    if action == "create":
        return (Rule(permit=True, where=EVERYTHING, reason="feeding needs no authorisation"),)
    found = [Rule(permit=True, where=In("au", names), reason="author")]
    if action in READS:
        found.append(Rule(permit=True, where=IS_DIRECTORY, reason="directory: open to whoever is known"))
    if action == "update" and role == INSURANCE:
        found.append(Rule(permit=True, where=Eq("ty", "Patient"), reason="the insurance keeps identities"))
    return tuple(found)


@lru_cache(maxsize=1024)
def _refusals(
    version: str, role: str, categories: tuple[str, ...], names: tuple[str, ...], action: Action
) -> tuple[Rule, ...]:
    """Return what is refused whatever a record's policy says: other categories than the matrix's, and what is masked."""
    beyond = both(Between("ca"), Not(Among("ca", categories)))
    found = [Rule(permit=False, where=beyond, reason=f"matrix {version}: {role}")]
    if action != "create":
        masked = both(Eq("sec", MASKED), Not(In("au", names)))
        found.append(Rule(permit=False, where=masked, reason="MASQUE_PS"))
    return tuple(found)


def _of_several(opened: Mapping[str, Sequence[Query]]) -> Iterator[Rule]:
    """Yield the permission for rows of several records: each of these lets the system see it (``opened``: what each record permits)."""
    if len(opened) > 1:
        each = (either([Not(Eq("pt", patient)), *wheres]) for patient, wheres in opened.items())
        where = both(Among("pt", tuple(opened)), *each)
        yield Rule(permit=True, where=where, reason="open by each of its records", record=True)


def _of_record(
    subject: Subject, action: Action, policy: Policy, now: datetime, mine: Query, *, opens: bool
) -> Iterator[Rule]:
    """Yield what one record's policy says to the system: what shuts it out, and, if a Consent ``opens`` records to such, what that lets it see.

    Where something is permitted is told for a row of this record; whose else it is is not looked at.
    """
    within = Eq("pt", policy.patient)
    if policy.closing is not None:
        shut = both(within, Not(Eq("ty", "Patient"))) if subject.role == INSURANCE else within
        yield Rule(permit=False, where=shut, reason=f"{policy.closing.name}: the record is closed", record=True)
    names = frozenset({subject.organization} if subject.organization else ())
    writes = action not in READS
    purpose = f"{ACT_REASON}|{subject.purpose}"
    said = [rule for entry in policy.entries for rule in consent_rules(entry, names, purpose, now, named_only=writes)]
    if not writes:
        said += [rule for entry in policy.entries for rule in untold_rules(entry, names, purpose, now)]
        said += ended_rules(policy.entries)
    for rule in said:
        if rule.permit and not writes and opens:
            yield Rule(permit=True, where=rule.where, reason=rule.reason, record=True)
        elif not rule.permit:
            where = rule.where if rule.record else both(rule.where, Not(mine))
            yield Rule(permit=False, where=both(within, where), reason=rule.reason, record=rule.record)

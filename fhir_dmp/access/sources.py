"""From what opens or shuts a record to what it says: Consents, care teams, who acts for the holder, the Patient itself.

That who wrote it is entitled to open and shut the record was judged before; whom the law has act for the holder, the insurance states alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fhir_dmp.access.actors import Registry, named_by, written
from fhir_dmp.access.consents import compile_consent, is_privacy, speaks_of_rows
from fhir_dmp.access.datatypes import period_of
from fhir_dmp.access.effect import require_effect
from fhir_dmp.access.model import Subject
from fhir_dmp.access.policy import Entry, Member, Period
from fhir_dmp.access.systems import INSURANCE
from fhir_dmp.fhir.dates import anniversary, interval
from fhir_dmp.fhir.reference import local
from fhir_dmp.store.change import Change

GUARDIANS = ("GUARD", "POWATT", "DPOWATT", "HPOWATT", "SPOWATT")
"""Relationships (v3-RoleCode) of who acts for a protected adult: https://terminology.hl7.org/CodeSystem-v3-RoleCode.html."""


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
    stated = subject is None or (subject.person is None and subject.role == INSURANCE)
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


def _period(tree: Mapping[str, Any] | None, registry: Registry, path: str) -> Period:
    return period_of(tree, registry.zone, path) if tree else Period()


COMPILERS: Mapping[str, Callable[[Mapping[str, Any], Change, Registry, Subject | None], Entry | None]] = {
    "Consent": _consent,
    "CareTeam": _care_team,
    "RelatedPerson": _related_person,
    "Patient": _patient,
}
"""By the type of a source: from the resource, its Change and who says it to what it says; None for nothing.

They raise ``Unprocessable`` for what cannot be enforced exactly.
"""

"""From what others rest on to the policies that are compiled anew when it changes: a group, a structure, a role, a date of birth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from msgspec.structs import replace

from fhir_dmp.access.actors import named_by, reference_of
from fhir_dmp.access.policy import Entry, Member, Policy, Provision
from fhir_dmp.access.sources import COMPILERS
from fhir_dmp.errors import TooCostly, Unprocessable
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.reference import parse_literal
from fhir_dmp.service.directory import Directory
from fhir_dmp.store.change import Change

Versioned = tuple[Policy, int]
"""What opens a record, and the version of it that is stored."""

Known = Callable[[str], Versioned]
"""Gives what opens a record (``Patient/p``) as the plan has left it so far."""

RESOLVED = ("Organization", "PractitionerRole", "Group")
"""Types that are read to know whom a source means."""


def by_directory(known: Known, directory: Directory) -> Mapping[str, Versioned]:
    """Return anew what rests on a group, a structure or a role that their keeper changes: whoever leaves it leaves the records.

    Raises ``TooCostly`` where too many records name it.
    """
    changes = (change for change in directory.plan.values() if change.before is not None and not change.stays)
    moved = {str(change.ref) for change in changes if change.ref.type in RESOLVED}
    most = directory.env.limits.policies
    rows = directory.env.store.policies_naming(sorted(moved), most + 1) if moved else ()
    if len(rows) > most:
        raise TooCostly(f"More than {most} records name it: name a new one in their stead.")
    return {row.patient: _resting_on(moved, known(row.patient), directory) for row in rows}


def by_births(known: Known, directory: Directory) -> Mapping[str, Versioned]:
    """Return anew what rests on a date of birth that the plan changes: until when parents act for the holder."""
    born = [str(ref) for ref, change in directory.plan.items() if ref.type == "Patient" and _moves_birth(change)]
    return {patient: _resting_on({patient}, known(patient), directory) for patient in born}


def _moves_birth(change: Change) -> bool:
    before = change.before.body if change.before else None
    return bool(before and change.body and _born(before) != _born(change.body))


def _born(body: bytes) -> Any:
    return codec.loads_object(body).get("birthDate")


def _resting_on(moved: AbstractSet[str], found: Versioned, directory: Directory) -> Versioned:
    """Return the policy with what rests on these resources compiled anew."""
    policy, version = found
    for entry in policy.entries:
        if not moved.isdisjoint(entry.rests_on):
            policy = policy.put(entry.source, _again(entry, policy.patient, directory))
    return policy, version


def _again(entry: Entry, patient: str, directory: Directory) -> Entry:
    """Return what the same version of the source says now; what cannot be told any more stays as it was.

    Of a Patient the doctors alone, by the words that named them: another version may hold what others wrote down since.
    """
    registry = directory.registry(again=True)
    if entry.source == patient:
        doctors = tuple(Member(actors) for each in entry.about if (actors := named_by(reference_of(each), registry)))
        return replace(entry, doctors=doctors, rests_on=tuple(directory.names))
    literal = parse_literal(entry.source)
    stored = directory.env.store.find_version(literal.ref, entry.version) if literal else None
    if literal is None or stored is None or stored.body is None or literal.ref in directory.plan:
        return entry
    origin = Change(literal.ref, entry.version, None, stored.body)
    try:
        made = COMPILERS[literal.type](codec.loads_object(stored.body), origin, registry, None)
    except Unprocessable:
        return entry
    if made is None:
        return entry
    rests_on = tuple(directory.names)
    if made.provision and entry.provision and any(map(directory.is_of_others, rests_on)):
        made = replace(made, provision=_still_denied(made.provision, entry.provision))
    return replace(made, rests_on=rests_on, declared=entry.declared, untold=entry.untold)


def _still_denied(made: Provision, before: Provision) -> Provision:
    """Return the provision with its denials for all whom they named before as well.

    Whoever is shut out by an entry of their own, and writes another number into it, stays shut out.
    """
    within = tuple(_still_denied(*each) for each in zip(made.exceptions, before.exceptions, strict=False))
    actors = made.actors if made.permit else tuple(dict.fromkeys((*made.actors, *before.actors)))
    return replace(made, actors=actors, exceptions=within)

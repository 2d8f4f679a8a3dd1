"""Whom a reference names, by the names that subjects have. https://hl7.org/fhir/R4/consent-definitions.html#Consent.provision.actor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, tzinfo
from typing import Any

from msgspec import Struct

from fhir_dmp.access.datatypes import is_whole, refused
from fhir_dmp.access.kinds import DIRECTORY
from fhir_dmp.access.numbers import is_national, rpps
from fhir_dmp.access.policy import Actors
from fhir_dmp.fhir.reference import Ref, local

MOST_ACTORS = 200
"""Alternatives that one actor of a provision may stand for: the members of a group, the numbers of a person in each of a structure."""

_TWO = 2
"""Numbers of the national register that no single person has: who wrote down both would let in one by the name of the other."""


def _nobody(_: Ref) -> None:
    return None


class Registry(Struct, frozen=True):
    """What compiling needs to know of other resources.

    ``find`` returns a resource of this server (parsed), or None, as it does for who is who where others wrote that than the keeper of the
    directory, a structure of itself, or who is tied to it by an account: these ``others`` returns, and their numbers name nobody.
    ``authored`` gives the index tokens by which a resource is told to be authored by a reference (``Observation.performer=Practitioner/x``);
    ``base_url`` that of the FHIR endpoint. At ``majority`` years parents act for nobody; days, of this and of periods, are those of ``zone``.
    ``again``: it was compiled before, and who cannot be told any more is nobody, instead of being refused. ``several``: all doctors that a
    Patient names are attending, not the first alone.
    """

    find: Callable[[Ref], Mapping[str, Any] | None]
    authored: Callable[[str], tuple[str, ...]]
    base_url: str
    majority: int = 18
    zone: tzinfo = UTC
    again: bool = False
    several: bool = True
    others: Callable[[Ref], Mapping[str, Any] | None] = _nobody


def written(reference: Mapping[str, Any], registry: Registry) -> str:
    """Return the name that a reference writes: ``Type/id``, or ``system|value``."""
    ref = local(reference.get("reference") or "", registry.base_url)
    identifier = reference.get("identifier") or {}
    return str(ref) if ref else f"{identifier.get('system')}|{identifier.get('value')}"


def reference_of(name: str) -> Mapping[str, Any]:
    """Return the reference that writes this name."""
    system, bar, value = name.partition("|")
    return {"identifier": {"system": system, "value": value}} if bar else {"reference": name}


def named_by(reference: Mapping[str, Any], registry: Registry) -> Actors:
    """Return whom a reference names, by the names that subjects have; nobody for what cannot be told.

    Of a Practitioner they are the national numbers too, for an account need not be tied to that very resource.
    """
    identifier = reference.get("identifier") or {}
    if "reference" not in reference:
        return ((f"{identifier['system']}|{identifier['value']}",),) if {"system", "value"} <= identifier.keys() else ()
    ref = local(reference["reference"], registry.base_url)
    return _resolved(ref, registry) if ref else ()


def stamps(ref: Ref, registry: Registry) -> tuple[str, ...]:
    """Return the names under which an author is stamped on what they write; a role is no author of its own.

    A Practitioner without national numbers, whoever wrote it, is the author of what refers to it and of nothing else.
    """
    if ref.type == "Practitioner" and not _national(registry.find(ref) or registry.others(ref)):
        return (str(ref),)
    names = _resolved(ref, registry) if ref.type in ("Practitioner", "Organization") else ()
    return tuple(dict.fromkeys((str(ref), *(name for each in names for name in each))))


def _resolved(ref: Ref, registry: Registry) -> Actors:
    if ref.type in ("RelatedPerson", "Patient"):
        return ((str(ref),),)
    told = registry.others(ref) if ref.type in DIRECTORY and not registry.again else None
    if told is not None and (ref.type != "Practitioner" or _national(told)):
        raise refused(f"{ref} was not written by who keeps the directory: name them by their number", str(ref))
    if ref.type == "Practitioner":
        national = _national(registry.find(ref))
        return (
            ((str(ref),), *((each,) for each in national)) if len(set(filter(None, map(rpps, national)))) < _TWO else ()
        )
    tree = registry.find(ref) if ref.type in ("Organization", "PractitionerRole", "Group") else None
    if tree is None:
        return ()
    if ref.type == "Organization":
        names = [f"{each['system']}|{each['value']}" for each in tree.get("identifier") or () if is_whole(each)]
        return tuple((name,) for name in (str(ref), *names))
    return _role(tree, registry) if ref.type == "PractitionerRole" else _members(tree, registry)


def _role(tree: Mapping[str, Any], registry: Registry) -> Actors:
    """Return the person in the structure; nobody for a role that ends, for a name holds or does not."""
    if tree.get("active") is False or "end" in (tree.get("period") or {}):
        return ()
    people = _named_as(tree.get("practitioner") or {}, "Practitioner", registry)
    places = _named_as(tree["organization"], "Organization", registry) if "organization" in tree else ((),)
    if len(people) * len(places) > MOST_ACTORS:
        raise refused(f"a role stands for more than {MOST_ACTORS} names", "PractitionerRole")
    return tuple((*person, *place) for person in people for place in places)


def _members(tree: Mapping[str, Any], registry: Registry) -> Actors:
    """Return the professionals of a group that lists them; nobody for one of others, or one whose members come and go by themselves."""
    members = [each for each in tree.get("member") or () if not each.get("inactive")]
    if (
        tree.get("type") != "practitioner"
        or not tree.get("actual")
        or tree.get("active") is False
        or "characteristic" in tree
        or len(members) > MOST_ACTORS
        or any("period" in each for each in members)
    ):
        return ()
    return tuple(each for member in members for each in _member(member.get("entity") or {}, registry))


def _member(reference: Mapping[str, Any], registry: Registry) -> Actors:
    ref = local(reference.get("reference") or "", registry.base_url)
    return named_by(reference, registry) if ref is None or ref.type in ("Practitioner", "PractitionerRole") else ()


def _named_as(reference: Mapping[str, Any], kind: str, registry: Registry) -> Actors:
    """Return whom a reference names where only one type can be meant."""
    ref = local(reference.get("reference") or "", registry.base_url)
    return named_by(reference, registry) if ref is None or ref.type == kind else ()


def _national(tree: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return the numbers of the whole country that a Practitioner has."""
    numbers = (f"{each['system']}|{each['value']}" for each in (tree or {}).get("identifier") or () if is_whole(each))
    return tuple(each for each in dict.fromkeys(numbers) if is_national(each))

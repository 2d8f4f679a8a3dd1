"""From a Consent to what it says. https://profiles.ihe.net/ITI/PCF/volume-1.html.

A Consent is enforced exactly or refused: ``compile_consent`` raises ``Unprocessable`` for whatever the rules could not mean.
A root ``deny`` opposes, a root ``permit`` opens; the provisions within are exceptions to it and to nothing else. Purposes
are compared by exact code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, tzinfo
from typing import Any

from msgspec.structs import replace

from fhir_dmp.access.actors import MOST_ACTORS, Registry, named_by, stamps, written
from fhir_dmp.access.datatypes import coded, period_of, refused, require_plain
from fhir_dmp.access.policy import Actors, Data, Entry, Period, Provision
from fhir_dmp.fhir.reference import local

SCOPE = "patient-privacy"
_NOT_ENFORCED = ("action", "class", "code")

_OF_ACCESS = ("action", "class", "purpose", "securityLabel", "data", "dataPeriod")
"""Elements of a provision that speak of who sees what, and of nothing else."""

_OF_ROWS = ("data", "dataPeriod", "securityLabel")
"""Those of them that tell single rows of a record apart."""

_SAYING_MORE = ("OPTIN", "OPTINR", "EMRGONLY")
"""Base policies of v3-ActCode that open more than the provision beside them says."""

_RECIPIENT = "IRCP"


def is_privacy(tree: Mapping[str, Any]) -> bool:
    """Tell whether a Consent is about access to the record and in force; any other is data.

    Raises ``Unprocessable`` for one in force that leaves open which it is, or says of access under another scope what
    would be stored and never looked at.
    """
    if tree.get("status") != "active":
        return False
    codes = [coding.get("code") for coding in (tree.get("scope") or {}).get("coding") or ()]
    if SCOPE in codes:
        return True
    if not any(codes):
        raise refused("its scope is not coded, and access is told by patient-privacy alone", "Consent.scope")
    if _speaks_of_access(tree.get("provision") or {}):
        raise refused(f"its provision is about access and its scope ({codes[0]}) is not", "Consent.scope")
    return False


def _speaks_of_access(provision: Mapping[str, Any]) -> bool:
    """Tell whether a provision under another scope says who sees what: a bare denial, too, for it names nothing else that is denied."""
    roles = [coding for item in provision.get("actor") or () for coding in (item.get("role") or {}).get("coding") or ()]
    return (
        any(name in provision for name in _OF_ACCESS)
        or any(coding.get("code") == _RECIPIENT for coding in roles)
        or (provision.get("type") == "deny" and "code" not in provision)
        or any(map(_speaks_of_access, provision.get("provision") or ()))
    )


def speaks_of_rows(tree: Mapping[str, Any]) -> bool:
    """Tell whether a Consent, in force or not, speaks of single rows of the record."""
    return any(name in each for each in _nested(tree.get("provision") or {}) for name in _OF_ROWS)


def _nested(provision: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield provision
    for each in provision.get("provision") or ():
        yield from _nested(each)


def compile_consent(tree: Mapping[str, Any], source: str, version: int, registry: Registry) -> Entry:
    """Return what the Consent says; raise ``Unprocessable`` if it says what cannot be enforced exactly."""
    if "patient" not in tree:
        raise refused("it names no patient", "Consent.patient")
    provision = tree.get("provision")
    if not isinstance(provision, Mapping):
        raise refused("it has no provision", "Consent.provision")
    if "implicitRules" in tree or _has_modifiers({name: tree[name] for name in tree if name != "contained"}):
        raise refused("its modifiers are not known here", "Consent")
    if any(each.get("verified") is False for each in tree.get("verification") or ()):
        raise refused("it says of itself that it was not verified", "Consent.verification")
    base = [coding.get("code") for coding in (tree.get("policyRule") or {}).get("coding") or ()]
    if any(code in _SAYING_MORE for code in base):
        raise refused("its policyRule opens more than its provision says", "Consent.policyRule")
    root = _provision(provision, registry, "Consent.provision")
    if not root.permit and any(not each.permit for each in root.exceptions):
        raise refused("a deny within a deny adds nothing", "Consent.provision.provision")
    if any(_is_whole(each, root) for each in root.exceptions):
        raise refused("an exception takes back all that is said around it", "Consent.provision.provision")
    return Entry(source, version, provision=root, about=_about(provision, registry))


def _has_modifiers(part: Any) -> bool:
    if isinstance(part, Mapping):
        return "modifierExtension" in part or any(map(_has_modifiers, part.values()))
    return isinstance(part, list) and any(map(_has_modifiers, part))


def _is_whole(exception: Provision, root: Provision) -> bool:
    return exception.permit is not root.permit and replace(exception, permit=root.permit) == replace(
        root, exceptions=()
    )


def _about(provision: Mapping[str, Any], registry: Registry) -> tuple[str, ...]:
    """Return whom the root names, in the words of the Consent: several names of one actor are one actor."""
    references = (item.get("reference") or {} for item in provision.get("actor") or ())
    return tuple(dict.fromkeys(written(each, registry) for each in references))


def _provision(tree: Mapping[str, Any], registry: Registry, path: str, within: Provision | None = None) -> Provision:
    for name in _NOT_ENFORCED:
        if name in tree:
            raise refused(f"provision.{name} is not enforced", f"{path}.{name}")
    if tree.get("type") not in ("permit", "deny"):
        raise refused("a provision permits or denies", f"{path}.type")
    inner = tree.get("provision") or ()
    if inner and within is not None:
        raise refused("provisions are enforced two levels deep", f"{path}.provision")
    actors = tuple(each for item in tree.get("actor") or () for each in _actor(item, registry, f"{path}.actor"))
    if tree.get("actor") and not actors:
        raise refused("its actors name nobody", f"{path}.actor")
    purposes = tuple(coded(item, f"{path}.purpose") for item in tree.get("purpose") or ())
    own = Provision(
        permit=tree["type"] == "permit",
        actors=actors or (within.actors if within else ()),
        purposes=purposes or (within.purposes if within else ()),
        period=_valid(tree.get("period"), registry.zone, f"{path}.period", within.period if within else Period()),
        data=_data(tree, registry, path, within.data if within else Data()),
    )
    exceptions = tuple(_provision(each, registry, f"{path}.provision", own) for each in inner)
    return Provision(own.permit, own.actors, own.purposes, own.period, own.data, exceptions)


def _valid(tree: Mapping[str, Any] | None, zone: tzinfo, path: str, around: Period) -> Period:
    """Return when a provision holds: never longer than the one around it."""
    period = around.within(period_of(tree, zone, path) if tree else Period())
    if period.is_empty:
        raise refused("it holds at no time that the provision around it does", path)
    return period


def _data(tree: Mapping[str, Any], registry: Registry, path: str, within: Data) -> Data:
    """Return which rows are meant; what is not stated is as in the provision around it."""
    instances: list[str] = []
    tokens: list[str] = []
    authors: list[str] = []
    for item in tree.get("data") or ():
        ref = local((item.get("reference") or {}).get("reference") or "", registry.base_url)
        if ref is None:
            raise refused("its data must be references to resources here", f"{path}.data.reference")
        match item.get("meaning"):
            case "instance":
                instances.append(str(ref))
            case "related" if ref.type == "Encounter":
                instances.append(str(ref))
                tokens.append(f"@{ref}")
            case "authoredby":
                authors.extend(stamps(ref, registry))
                tokens.extend(registry.authored(str(ref)))
            case meaning:
                raise refused(f"data that is {meaning!r} of a {ref.type} is not told apart", f"{path}.data.meaning")
    named = bool(instances or tokens or authors)
    labels = tuple(coded(item, f"{path}.securityLabel") for item in tree.get("securityLabel") or ())
    return Data(
        instances=tuple(instances) if named else within.instances,
        tokens=tuple(tokens) if named else within.tokens,
        authors=tuple(authors) if named else within.authors,
        labels=labels or within.labels,
        period=period_of(tree["dataPeriod"], UTC, f"{path}.dataPeriod") if tree.get("dataPeriod") else within.period,
    )


def _actor(item: Mapping[str, Any], registry: Registry, path: str) -> Actors:
    codings = (item.get("role") or {}).get("coding") or ()
    if not any(coding.get("code") == _RECIPIENT for coding in codings):
        raise refused("an actor is a recipient of information (IRCP)", f"{path}.role")
    reference = item.get("reference") or {}
    if "reference" not in reference:
        require_plain(reference.get("identifier") or {}, f"{path}.reference.identifier")
    found = named_by(reference, registry)
    if not found and registry.again:
        return ((written(reference, registry),),)
    if not found:
        raise refused("an actor is a known professional, structure or representative", f"{path}.reference")
    if len(found) > MOST_ACTORS:
        raise refused(f"an actor stands for more than {MOST_ACTORS} names", f"{path}.reference")
    return found

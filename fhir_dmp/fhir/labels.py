"""Labels that say who does not see an item, on any resource.

TRE_A07-StatutVisibiliteDocument: https://mos.esante.gouv.fr/NOS/TRE_A07-StatutVisibiliteDocument/FHIR/TRE-A07-StatutVisibiliteDocument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

SYSTEM = "https://mos.esante.gouv.fr/NOS/TRE_A07-StatutVisibiliteDocument/FHIR/TRE-A07-StatutVisibiliteDocument"
MASKED = f"{SYSTEM}|MASQUE_PS"
HIDDEN_FROM_HOLDER = f"{SYSTEM}|INVISIBLE_PATIENT"
HIDDEN_FROM_REPRESENTATIVES = f"{SYSTEM}|INVISIBLE_REPRESENTANTS_LEGAUX"
FLAGS = frozenset({MASKED, HIDDEN_FROM_HOLDER, HIDDEN_FROM_REPRESENTATIVES})
_KNOWN = frozenset(("MASQUE_PS", "INVISIBLE_PATIENT", "INVISIBLE_REPRESENTANTS_LEGAUX", "MASQUE_PSOCIAL", "MASQUE_PT"))
"""The codes of the system; the DMP uses the first three."""

_Codings = Sequence[Mapping[str, Any]]


def codings_of(tree: Mapping[str, Any]) -> _Codings:
    """Return the security labels of a resource; a DocumentReference has them in ``securityLabel`` as well.

    https://hl7.org/fhir/R4/documentreference.html.
    """
    codings = [*_security(tree), *(coding for concept in _concepts(tree) for coding in concept.get("coding") or ())]
    return [coding for coding in codings if isinstance(coding, Mapping)]


def flags_of(tree: Mapping[str, Any]) -> frozenset[str]:
    """Return the visibility labels of a resource, whatever system a sender gave their codes."""
    return FLAGS & {f"{SYSTEM}|{coding.get('code')}" for coding in codings_of(tree)}


def misspelt(tree: Mapping[str, Any]) -> str | None:
    """Return a code that was meant as a visibility label and is none: whoever sent it would believe that the item is hidden."""
    codes = ((coding.get("system"), str(coding.get("code", ""))) for coding in codings_of(tree))
    meant = (code for system, code in codes if code not in _KNOWN and (system == SYSTEM or code.upper() in _KNOWN))
    return next(meant, None)


def with_flags(tree: Mapping[str, Any], flags: frozenset[str]) -> dict[str, Any]:
    """Return the resource with exactly these visibility labels; its other labels stay."""
    made = dict(tree)
    security = [*_others(_security(tree)), *_codings(flags)]
    meta = {key: value for key, value in (tree.get("meta") or {}).items() if key != "security"}
    made["meta"] = {**meta, "security": security} if security else meta
    if "securityLabel" in tree or (tree.get("resourceType") == "DocumentReference" and flags):
        concepts = [kept for concept in _concepts(tree) if (kept := _without_flags(concept))]
        concepts += [{"coding": [coding]} for coding in _codings(flags)]
        made.pop("securityLabel", None)
        if concepts:
            made["securityLabel"] = concepts
    return made


def without_labels(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a resource is neither label nor the server's own: two versions that agree in it differ in labels alone."""
    bare = with_flags({**tree, "meta": dict(tree.get("meta") or {})}, frozenset())
    meta = {key: value for key, value in bare["meta"].items() if key.lstrip("_") not in ("versionId", "lastUpdated")}
    bare["meta"] = meta
    return bare


def _security(tree: Mapping[str, Any]) -> _Codings:
    return (tree.get("meta") or {}).get("security") or ()


def _concepts(tree: Mapping[str, Any]) -> _Codings:
    return tree.get("securityLabel") or () if tree.get("resourceType") == "DocumentReference" else ()


def _others(codings: _Codings) -> list[Mapping[str, Any]]:
    return [coding for coding in codings if f"{SYSTEM}|{coding.get('code')}" not in FLAGS]


def _without_flags(concept: Mapping[str, Any]) -> dict[str, Any]:
    coding = _others(concept.get("coding") or ())
    rest = {key: value for key, value in concept.items() if key != "coding"}
    return {**rest, "coding": coding} if coding else rest if "text" in rest and not concept.get("coding") else {}


def _codings(flags: Iterable[str]) -> list[Mapping[str, Any]]:
    return [{"system": SYSTEM, "code": flag.rpartition("|")[2]} for flag in sorted(flags)]

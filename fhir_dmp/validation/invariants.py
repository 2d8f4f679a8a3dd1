"""Rules that the structure alone does not say, by type: each is a small function. https://hl7.org/fhir/R4/conformance-rules.html#constraints.

The expressions of the definitions are evaluated in general elsewhere; these are the ones that a shared record is most often broken by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fhir_dmp.fhir.dates import interval

Rule = Callable[[Mapping[str, Any]], Iterator[str]]


def att_1(value: Mapping[str, Any]) -> Iterator[str]:
    """Attachment: data needs a contentType."""
    if "data" in value and "contentType" not in value:
        yield "att-1: an attachment with data needs a contentType"


def ext_1(value: Mapping[str, Any]) -> Iterator[str]:
    """Extension: a value or extensions, not both and not neither."""
    has_value = any(name.startswith(("value", "_value")) for name in value)
    if has_value == ("extension" in value):
        yield "ext-1: an extension has either a value or extensions"


def per_1(value: Mapping[str, Any]) -> Iterator[str]:
    """Period: it does not end before it starts."""
    start, end = value.get("start"), value.get("end")
    if isinstance(start, str) and isinstance(end, str) and _starts_after(start, end):
        yield "per-1: the period ends before it starts"


def _starts_after(start: str, end: str) -> bool:
    try:
        return interval(start)[0] >= interval(end)[1]
    except ValueError:
        return False


def qty_3(value: Mapping[str, Any]) -> Iterator[str]:
    """Quantity: a code needs its system."""
    if "code" in value and "system" not in value:
        yield "qty-3: a unit's code needs its system"


def obs_6_7(value: Mapping[str, Any]) -> Iterator[str]:
    """Observation: no reason for an absent value that is there; no value beside a component of the same code."""
    values = [name for name in value if name.startswith("value")]
    if values and "dataAbsentReason" in value:
        yield "obs-6: dataAbsentReason stands only where there is no value"
    if values and any(_codings(part) & _codings(value) for part in value.get("component", ())):
        yield "obs-7: a component has the code of the observation, which has a value"


def _codings(value: Any) -> set[tuple[Any, Any]]:
    code = value.get("code") if isinstance(value, Mapping) else None
    codings = code.get("coding") if isinstance(code, Mapping) else None
    return {
        (each.get("system"), each.get("code")) for each in codings or () if isinstance(each, Mapping) and "code" in each
    }


def org_1_2_3(value: Mapping[str, Any]) -> Iterator[str]:
    """Organization: a name or identifier, and no home address or telecom."""
    if not any(name in value for name in ("name", "_name", "identifier")):
        yield "org-1: an organization needs a name or an identifier"
    for name, rule in (("address", "org-2"), ("telecom", "org-3")):
        if any(isinstance(each, Mapping) and each.get("use") == "home" for each in value.get(name, ())):
            yield f"{rule}: an organization has no home {name}"


def imm_1(value: Mapping[str, Any]) -> Iterator[str]:
    """Immunization.education: a document type or a reference."""
    if not any(name.lstrip("_") in ("documentType", "reference") for name in value):
        yield "imm-1: education needs a documentType or a reference"


def sev_1(value: Mapping[str, Any]) -> Iterator[str]:
    """AuditEvent.entity: a name or a query."""
    if "name" in value and "query" in value:
        yield "sev-1: an entity has a name or a query, not both"


def bdl(value: Mapping[str, Any]) -> Iterator[str]:
    """Bundle: requests where something is asked, fullUrls once, a Composition or MessageHeader first."""
    kind = value.get("type")
    entries = [each for each in value.get("entry", ()) if isinstance(each, Mapping)]
    if kind in ("batch", "transaction", "history") and not all("request" in each for each in entries):
        yield f"bdl-3: every entry of a {kind} needs a request"
    if kind not in ("batch", "transaction", "history") and any("request" in each for each in entries):
        yield f"bdl-3: no entry of a {kind} has a request"
    named = [_identity(each) for each in entries if "fullUrl" in each]
    if kind != "history" and len(set(named)) < len(named):
        yield "bdl-7: two entries have the same fullUrl"
    first = entries[0].get("resource") if entries else None
    leader = {"document": "Composition", "message": "MessageHeader"}.get(str(kind))
    if leader and (not isinstance(first, Mapping) or first.get("resourceType") != leader):
        yield f"bdl-11: the first entry of a {kind} is a {leader}"
    if kind == "document" and not ("identifier" in value and "timestamp" in value):
        yield "bdl-9: a document needs an identifier and a timestamp"


def _identity(entry: Mapping[str, Any]) -> tuple[str, str]:
    resource = entry.get("resource")
    meta = resource.get("meta") if isinstance(resource, Mapping) else None
    version = meta.get("versionId") if isinstance(meta, Mapping) else None
    return str(entry["fullUrl"]), str(version)


RULES: Mapping[str, Rule] = {
    "Age": qty_3,
    "Attachment": att_1,
    "AuditEvent.entity": sev_1,
    "Bundle": bdl,
    "Count": qty_3,
    "Distance": qty_3,
    "Duration": qty_3,
    "Extension": ext_1,
    "Immunization.education": imm_1,
    "Observation": obs_6_7,
    "Organization": org_1_2_3,
    "Period": per_1,
    "Quantity": qty_3,
}

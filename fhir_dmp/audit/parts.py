"""Which AuditEvents a row holds: one for each patient, and of a transaction one more for each entry and patient.

A Provenance that was made with a change (``X-Provenance``) has one of its own, as each resource that is made; not in rows of format 1 and 2,
which tell of it beside what it is about. A token is told to the record that it opens, whoever got it; in rows of these to a holder alone.

https://profiles.ihe.net/ITI/BALP/volume-1.html. The first has the id of the row, the others ``<row>-2``, ``<row>-3`` and so on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from fhir_dmp.audit.kinds import DECISION, kind_of

PROVENANCE_APART = 3
"""The first format whose rows tell of a Provenance in an AuditEvent of its own."""

TOKEN_OF_A_RECORD = 3
"""The first format whose rows put a token into the journal of the record that it opens."""

_CHANGES = frozenset(("create", "update", "patch", "delete"))
_CONDITION = "search-type"
"""What a change was to whom its condition was about, and of whom nothing was touched: a question."""

_ID = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:-([1-9]\d{0,8}))?\Z")
Row = Mapping[str, Any]


class Part(NamedTuple):
    """One AuditEvent of a row: ``patient`` is empty for nobody's, ``names`` are versions (``Type/id/version``) or targets.

    One that is ``hidden`` is so from representatives, as others of its row are not.
    """

    act: str
    outcome: str
    patient: str = ""
    names: tuple[str, ...] = ()
    hidden: bool = False


def parts_of(row: Row) -> list[Part]:
    """Return the AuditEvents of a row of the server's own, in their order: those that are hidden come last, so that no number tells of them."""
    parts = _parts(row)
    if "hides" not in row:
        return parts
    hides = frozenset(row["hides"])
    parts = [part._replace(hidden=part.patient in hides or _all_in(hides, part, row)) for part in parts]
    return sorted(parts, key=lambda part: part.hidden)


def _all_in(hides: frozenset[str], part: Part, row: Row) -> bool:
    """Tell whether all is hidden that an AuditEvent is about: versions that it has for itself, or the Consents that made a decision.

    One of all that was found of a patient's is about what was counted, too: where all of that is hidden, the patient is.
    """
    if part.act == DECISION:
        return hides.issuperset(row["consents"])
    apart = not part.patient or row["act"] in _CHANGES or kind_of(row["act"]).shape == "bundle"
    return apart and bool(part.names) and hides.issuperset(part.names)


def hidden_names(row: Row) -> frozenset[str]:
    """Return all versions of which representatives are not told: by themselves, or since all is hidden of whose they are."""
    hides = row.get("hides", ())
    touched = row.get("touched", {})
    return frozenset((*hides, *(name for patient in hides for name in _names(touched.get(patient, ())))))


def _parts(row: Row) -> list[Part]:
    act, outcome = row["act"], row.get("outcome", "0")
    shape = kind_of(act).shape
    if shape == "token" and outcome == "0":
        return [Part(act, outcome, patient) for patient in _opened(row)]
    touched = {patient: _names(found) for patient, found in row.get("touched", {}).items()}
    touched = touched or dict.fromkeys(row.get("for") or ("",), ())
    if shape == "bundle":
        patients = [patient for patient in touched if patient] or [""]
        return [Part(act, outcome, patient) for patient in patients] + list(_entries(row, touched))
    on = (row["on"],) if "on" in row else ()
    if act in _CHANGES and "touched" in row and row["v"] >= PROVENANCE_APART:
        told = ((patient, name) for patient, names in touched.items() for name in names)
        asked = [Part(_CONDITION, outcome, patient) for patient, names in touched.items() if not names]
        return [*(Part(_changed(act, name, on), outcome, patient, (name,)) for patient, name in told), *asked]
    parts = [Part(act, outcome, patient, names or on) for patient, names in touched.items()]
    if outcome == "8" and "consents" in row and "person" in row and "organization" in row.get("agent", {}):
        parts.extend([Part(DECISION, outcome, part.patient) for part in parts if part.patient])
    return parts


def _opened(row: Row) -> Sequence[str]:
    """Return whose record a token opens, whoever got it; of rows of format 1 and 2 the holder who got it, and otherwise nobody."""
    if row["v"] >= TOKEN_OF_A_RECORD:
        return row.get("for") or ("",)
    holder = row.get("person", {}).get("resource", "")
    return (holder if holder.startswith("Patient/") else "",)


def _names(found: Mapping[str, Sequence[str]] | Sequence[str]) -> tuple[str, ...]:
    """Return what was touched of one patient's: by type, or in a list as format 1 has it."""
    if isinstance(found, dict):
        return tuple([f"{kind}/{name}" for kind, names in found.items() for name in names])
    return tuple(found)


def _changed(act: str, name: str, on: tuple[str, ...]) -> str:
    """Return what was done to a version that a change made: what was asked, but for the Provenance that it was told with."""
    return "create" if _is_beside(name) and name not in on else act


def _is_beside(name: str) -> bool:
    return name.startswith("Provenance/")


def _entries(row: Row, touched: Mapping[str, Sequence[str]]) -> Iterator[Part]:
    owners: dict[str, list[str]] = {}
    for patient, names in touched.items():
        for name in names:
            owners.setdefault(name, []).append(patient)
    for entry in row.get("entries", ()):
        on = (entry["on"],) if "on" in entry else ()
        for patient in owners.get(entry.get("on", ""), [""]):
            yield Part(entry["act"], entry.get("outcome", "0"), patient, on)
    if row["v"] >= PROVENANCE_APART:
        told = {entry.get("on") for entry in row.get("entries", ())}
        beside = [name for name in owners if _is_beside(name) and name not in told]
        yield from (Part("create", "0", patient, (name,)) for name in beside for patient in owners[name])


def event_id(row_id: str, number: int) -> str:
    """Return the id of the AuditEvent that stands at ``number`` (from 1) in its row."""
    return row_id if number == 1 else f"{row_id}-{number}"


def row_of(audit_event_id: str) -> tuple[str, int] | None:
    """Return row and number of an AuditEvent's id, or None for an id that none can have."""
    found = _ID.match(audit_event_id)
    if found is None or found[2] == "1":
        return None
    return found[1], int(found[2] or 1)

"""From a stored row to the AuditEvents that FHIR readers see. https://profiles.ihe.net/ITI/BALP/content.html.

A pure function: the same row, number, base URL and view give the same resource. The view says what of it a reader may see; without
one all is told, what lies sealed beside the row too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from fhir_dmp.audit import codes
from fhir_dmp.audit.agents import agents, purpose, server
from fhir_dmp.audit.asked import unseal
from fhir_dmp.audit.codes import Coding
from fhir_dmp.audit.entities import entities
from fhir_dmp.audit.event import SUBMITTED, consents_in
from fhir_dmp.audit.kinds import kind_of
from fhir_dmp.audit.parts import Part, Row, event_id, parts_of
from fhir_dmp.audit.scene import Scene, View, unversioned
from fhir_dmp.audit.submitted import named_here, submitted
from fhir_dmp.audit.words import narrative
from fhir_dmp.fhir import codec
from fhir_dmp.store.change import Event

_PROFILES = f"{codes.BALP}/StructureDefinition"
_ABSENT = 404
_REFUSED = "8"


class Opened(Struct, frozen=True):
    """A row read once, for all the AuditEvents that are rendered from it."""

    row: Row
    parts: Sequence[Part]
    secret: bytes | None

    @classmethod
    def of(cls, event: Event) -> Opened:
        """Read the row."""
        row = codec.loads_object(event.body)
        if row["act"] != SUBMITTED:
            return cls(row, parts_of(row), event.secret)
        tree = row["resource"]
        return cls(
            row, [Part(SUBMITTED, tree.get("outcome", "0"), names=named_here(tree, row.get("base")))], event.secret
        )


def render(event: Event | Opened, number: int, base_url: str, view: View | None = None) -> dict[str, Any]:
    """Return the AuditEvent at ``number`` (from 1) of the row.

    Raises ``IndexError`` where the row holds fewer.
    """
    view = view or View()
    opened = event if isinstance(event, Opened) else Opened.of(event)
    row, part = opened.row, opened.parts[number - 1]
    said = unseal(opened.secret, row.get("sealed")) if view.sealed or view.reason else {}
    if row["act"] == SUBMITTED:
        return submitted(row, part, view, said)
    kind = kind_of(part.act, of_log=row.get("on", "").partition("/")[0] == "AuditEvent")
    if not view.sealed:
        said = {name: said[name] for name in ("reason",) if name in said}
    scene = Scene(row, part, kind, base_url, view, said)
    rendered: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "id": event_id(row["id"], number),
        "meta": _meta(scene),
        "language": view.language,
        "text": narrative(row, part, view.language, scene.shown, scene.said.get("reason")),
        "type": kind.type,
        "subtype": list(kind.subtypes),
        "action": kind.action,
        "period": {"start": row["recorded"], "end": row["recorded"]},
        "recorded": row["recorded"],
        "outcome": part.outcome,
    }
    described = _described(scene)
    if described:
        rendered["outcomeDesc"] = described
    if "purpose" in row:
        rendered["purposeOfEvent"] = [purpose(row["purpose"])]
    rendered["agent"] = list(agents(scene))
    rendered["source"] = {
        "observer": server(base_url),
        "type": [{"system": codes.SOURCE, "code": "4", "display": "Application Server"}],
    }
    about = list(entities(scene))
    if about:
        rendered["entity"] = about
    return rendered


def _meta(scene: Scene) -> dict[str, Any]:
    meta: dict[str, Any] = {"versionId": "1", "lastUpdated": scene.row["recorded"]}
    profiles = _profiles(scene)
    if profiles:
        meta["profile"] = profiles
    labels: list[Coding] = []
    if scene.part.hidden or scene.row.get("hidden") or scene.person.get("secret"):
        system, _, code = codes.HIDDEN_FROM_REPRESENTATIVES.partition("|")
        labels.append({"system": system, "code": code})
    if scene.hides:
        labels.append(codes.REDACTED)
    if labels:
        meta["security"] = labels
    return meta


def _profiles(scene: Scene) -> list[str]:
    """Return the profiles that the event meets: those of IHE are for success, but for a Consent's decision."""
    kind, part = scene.kind, scene.part
    if kind.profile is None or (part.outcome != "0" and kind.shape != "decision"):
        return []
    if kind.shape == "data" and len(part.names) != 1:
        return []
    if kind.shape == "export" and not part.patient:
        return []
    if kind.per_patient:
        name = f"IHE.BasicAudit.{'Patient' if part.patient else ''}{kind.profile}"
    else:
        name = kind.profile if kind.shape == "token" else f"IHE.BasicAudit.{kind.profile}"
    profiles = [f"{_PROFILES}/{name}"]
    if kind.type == codes.REST and "jti" in scene.agent:
        profiles.append(f"{_PROFILES}/IHE.BasicAudit.OAUTHaccessTokenUse.Comprehensive")
    return profiles


def _described(scene: Scene) -> str:
    row, part = scene.row, scene.part
    words = []
    if "error" in row and (part.outcome != "0" or scene.kind.shape == "decision"):
        words.append(" ".join(str(value) for value in row["error"].values()))
    told_apart = scene.view.values or scene.names  # by what is named it is known below whether this reader sees it
    absent = (scene.in_vain or not told_apart) and row.get("error", {}).get("status") == _ABSENT
    if part.outcome != "0" and not absent:
        words.extend(_why(scene))
    if "reason" in scene.said:
        words.append(f"motif: {scene.said['reason']}")
    return "; ".join(words)


def _why(scene: Scene) -> Sequence[str]:
    """Return the reasons of what failed, if the reader may know all that they are about.

    Of a bundle nothing says which item these are about, and to a representative other reasons of a refusal may tell that there is a Consent
    which they may not know of: persons are told then of the Consents alone that decided.
    """
    named = scene.decided_by
    if not all(scene.view.sees(unversioned(name)) for name in (*scene.names, *named)):
        return ()
    why: Sequence[str] = scene.said.get("why", scene.row.get("why", ()))
    of_bundle = scene.kind.shape == "bundle" and not scene.view.values
    if not of_bundle and (scene.view.hidden or scene.part.outcome != _REFUSED):
        return why
    return [reason for reason in why if (decided := consents_in((reason,))) and set(named).issuperset(decided)]

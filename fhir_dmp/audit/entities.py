"""What an act was about, as the entities of its AuditEvent, by the shape of its kind (``audit.kinds``)."""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Iterator
from typing import Any
from urllib.parse import parse_qsl

from fhir_dmp.audit import codes
from fhir_dmp.audit.agents import identifier, token_policy
from fhir_dmp.audit.asked import bare, without_page
from fhir_dmp.audit.kinds import Kind
from fhir_dmp.audit.scene import MASKED, Scene, versioned
from fhir_dmp.redaction import CUT

_ITEM = re.compile(r"(?<![^/\s])([A-Z][A-Za-z]{1,63})/+[A-Za-z0-9\-.]{1,64}(?=/|\s|\Z)")
_REPORTS = ("DiagnosticReport", "Composition", "MeasureReport")


def entities(scene: Scene) -> Iterator[dict[str, Any]]:
    """Yield the entities: the patient first, the request id last."""
    kind, part = scene.kind, scene.part
    if part.patient and not (kind.shape == "token" and part.outcome == "0"):
        yield _patient(scene)
    if kind.shape == "data":
        yield from (_data(name, kind, scene.row.get("stayed", ())) for name in scene.shown or ("",))
    elif kind.shape == "export":
        yield _data(scene.row.get("on", ""), kind, ())
    elif kind.shape == "query":
        yield _query(scene)
    elif kind.shape == "bundle":
        job = f"{part.act}: {scene.entries} entries" if scene.entries else part.act
        yield {"what": {"display": job}, "type": codes.OBJECT, "role": codes.JOB}
    elif kind.shape == "token":
        yield _token_request(scene)
        yield from _whose(scene)
    elif kind.shape == "decision":
        for name in scene.decided_by:
            what = {"reference": versioned(name)} if name in scene.consents else MASKED
            yield {"what": what, "type": codes.CONSENT}
    else:
        yield from _told(scene)
    if "requestId" in scene.row and kind.shape not in ("token", "decision"):
        yield {"what": {"identifier": {"value": scene.row["requestId"]}}, "type": codes.REQUEST_ID}


def _told(scene: Scene) -> Iterator[dict[str, Any]]:
    """Yield what an act of an operator or a sign-in was about, and what was asked."""
    yield from _whose(scene)
    if "request" in scene.row:
        yield {"type": codes.OBJECT, "role": codes.JOB, "name": _shown(scene)}


def _whose(scene: Scene) -> Iterator[dict[str, Any]]:
    """Yield whose account it was, and which token."""
    account = scene.account
    if account:
        what: dict[str, Any] = {"identifier": identifier(account.get("identifier") or account.get("id") or "unknown")}
        if "name" in account:
            what["display"] = account["name"]
        detail = [{"type": name, "valueString": account[name]} for name in ("id", "method") if name in account]
        entity = {"what": what, "type": codes.PERSON, "role": codes.USER}
        yield {**entity, "detail": detail} if detail else entity
    if "token" in scene.row:
        named = {"identifier": {"value": token_policy(scene.row["token"])}}
        yield {"what": named, "type": codes.OBJECT, "role": codes.SECURITY_RESOURCE}


def _patient(scene: Scene) -> dict[str, Any]:
    """Return the patient; of a list of theirs, the versions that were found are told as details."""
    patient: dict[str, Any] = {"what": {"reference": scene.part.patient}, "type": codes.PERSON, "role": codes.PATIENT}
    if scene.kind.shape in ("query", "export"):
        found = [name for name in scene.shown if name.count("/") == 2]
        details = [{"type": name.partition("/")[0], "valueString": versioned(name)} for name in found]
        if details:
            patient["detail"] = details
    return patient


def _data(name: str, kind: Kind, stayed: Collection[str]) -> dict[str, Any]:
    """Return a resource that was touched; nothing but that there was one, if the reader may not know which.

    One in which nothing differed from what was sent was not amended: it says so.
    """
    resource_type, _, rest = name.partition("/")
    what: dict[str, Any]
    if rest:
        what = {"reference": versioned(name)}
    elif resource_type:
        what = {"display": resource_type}
    else:
        what = MASKED
    role = codes.REPORT if resource_type in _REPORTS else codes.RESOURCE
    data: dict[str, Any] = {"what": what, "type": codes.OBJECT, "role": role}
    if name in stayed:
        data["detail"] = [{"type": "unchanged", "valueString": "true"}]
    elif kind.lifecycle:
        data["lifecycle"] = {"system": codes.LIFECYCLE, "code": kind.lifecycle}
    return data


def _query(scene: Scene) -> dict[str, Any]:
    shown = _shown(scene)
    sent = scene.said.get("request", shown)
    return {
        "type": codes.OBJECT,
        "role": codes.QUERY,
        "description": shown,
        "query": base64.b64encode(sent.encode()).decode(),
    }


def _shown(scene: Scene) -> str:
    """Return what was asked, as this reader may know it: to others than who asked it no value is told, and no id that they may not know."""
    shown: str = scene.row.get("request", "")
    if scene.view.values:
        return shown
    shown = _path_of(bare(shown), scene) if len(scene.shown) == len(scene.names) else shown.partition(" ")[0]
    return shown if scene.view.hidden else without_page(shown)


def _path_of(shown: str, scene: Scene) -> str:
    """Return a request without the ids of its paths, but of the record itself: whoever asks for one would have others' journals tell of it."""

    def cut(found: re.Match[str]) -> str:
        return found[0] if found[0] == scene.part.patient else f"{found[1]}/{CUT}"

    lines = (line.partition("?") for line in shown.split("\n"))
    return "\n".join(f"{_ITEM.sub(cut, path)}{mark}{query}" for path, mark, query in lines)


def _token_request(scene: Scene) -> dict[str, Any]:
    """Return what was asked of the authorization server, without what proved it, and what it was answered."""
    row = scene.row
    asked: str = scene.said.get("request") or row.get("request") or row["act"]
    grant_type = dict(parse_qsl(asked.partition("\n")[2])).get("grant_type")
    entity: dict[str, Any] = {
        "type": codes.OBJECT,
        "role": codes.QUERY,
        "query": base64.b64encode(asked.encode()).decode(),
    }
    details = [
        ("X-Request-Id", row.get("requestId")),
        ("jti", scene.agent.get("jti")),
        ("grant_type", grant_type),
        ("scope", " ".join(scene.said.get("scopes", row.get("scopes", ())))),
    ]
    entity["detail"] = [{"type": name, "valueString": value} for name, value in details if value]
    return entity

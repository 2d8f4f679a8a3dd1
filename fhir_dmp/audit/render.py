"""From a stored row to the AuditEvents that FHIR readers see. https://profiles.ihe.net/ITI/BALP/content.html.

A pure function: the same row, number, base URL and view give the same resource. The view says what of it a reader may see; without
one all is told, what lies sealed beside the row too.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fhir_dmp.audit import codes
from fhir_dmp.audit.asked import CUT, bare, cleaned, unseal
from fhir_dmp.audit.codes import Coding
from fhir_dmp.audit.event import SUBMITTED
from fhir_dmp.audit.kinds import Kind, kind_of
from fhir_dmp.audit.parts import Part, Row, event_id, parts_of
from fhir_dmp.audit.words import narrative
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.reference import parse_literal
from fhir_dmp.store.change import Event

Language = Literal["fr", "en"]
_PROFILES = f"{codes.BALP}/StructureDefinition"
_ADDRESS = re.compile(r"[0-9a-fA-F:.]+\Z")
_MASKED: dict[str, Any] = {
    "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"}]
}
_REPORTS = ("DiagnosticReport", "Composition", "MeasureReport")


@dataclass(frozen=True, slots=True)
class View:
    """What a reader may see of an AuditEvent.

    ``sees`` tells of a resource (``Type/id``) whether the reader may know that it was touched; ``values`` whether what a request asked
    for is told, ``sealed`` whether what lies beside the row is (clinical values of the request, the reason for breaking the glass),
    ``reason`` whether the reason alone is.
    """

    language: Language = "fr"
    sees: Callable[[str], bool] = lambda _: True
    values: bool = True
    sealed: bool = True
    reason: bool = False


@dataclass(frozen=True, slots=True)
class _Scene:
    """What the parts of one AuditEvent are made from."""

    row: Row
    part: Part
    kind: Kind
    base_url: str
    view: View
    said: Mapping[str, Any]

    @property
    def agent(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self.row.get("agent", {})
        return found

    @property
    def account(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self.row.get("account", {})
        return found

    @property
    def person(self) -> Mapping[str, Any]:
        """Return who asked; of a sign-in, whose account was named."""
        account = self.account
        if account and "person" not in self.row and self.part.act in ("login", "logout"):
            return {"id": account.get("identifier") or account.get("id") or "unknown"}
        found: Mapping[str, Any] = self.row.get("person", {})
        return found

    @property
    def has_user(self) -> bool:
        return bool(self.person) or "operator" in self.agent

    @property
    def hides(self) -> bool:
        """Tell whether something is left out that the row or what lies beside it tells."""
        sealed = "sealed" in self.row and not self.said
        return sealed or not all(self.view.sees(_unversioned(name)) for name in self.part.names)


@dataclass(frozen=True, slots=True)
class Opened:
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
        names = tuple(ref for entity in tree.get("entity", ()) if (ref := _referred(entity)))
        return cls(row, [Part(SUBMITTED, tree.get("outcome", "0"), names=names)], event.secret)


def render(event: Event | Opened, number: int, base_url: str, view: View | None = None) -> dict[str, Any]:
    """Return the AuditEvent at ``number`` (from 1) of the row.

    Raises ``IndexError`` where the row holds fewer.
    """
    view = view or View()
    opened = event if isinstance(event, Opened) else Opened.of(event)
    row, part = opened.row, opened.parts[number - 1]
    if row["act"] == SUBMITTED:
        return _submitted(row, part, view)
    kind = kind_of(part.act, of_log=row.get("on", "").partition("/")[0] == "AuditEvent")
    said = unseal(opened.secret, row.get("sealed")) if view.sealed or view.reason else {}
    if not view.sealed:
        said = {name: said[name] for name in ("reason",) if name in said}
    scene = _Scene(row, part, kind, base_url, view, said)
    rendered: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "id": event_id(row["id"], number),
        "meta": _meta(scene),
        "language": view.language,
        "text": narrative(row, part, view.language, _shown(scene), scene.said.get("reason")),
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
        rendered["purposeOfEvent"] = [_purpose(row["purpose"])]
    rendered["agent"] = list(_agents(scene))
    rendered["source"] = {
        "observer": _server(base_url),
        "type": [{"system": codes.SOURCE, "code": "4", "display": "Application Server"}],
    }
    entities = list(_entities(scene))
    if entities:
        rendered["entity"] = entities
    return rendered


def _submitted(row: Row, part: Part, view: View) -> dict[str, Any]:
    """Return what a client wrote, marked as the client's: it cannot pose as an event of the server's own.

    The same is cut out of it as of one of ours.
    """
    resource = row["resource"]
    client = row.get("agent", {}).get("client", "")
    meta = {**resource.get("meta", {}), "versionId": "1", "lastUpdated": row["recorded"]}
    meta["source"] = f"{codes.CLIENT_EVENT}{client}"
    entities = [_as_seen(entity, view) for entity in resource.get("entity", ())]
    if entities != resource.get("entity", []):
        meta["security"] = [*meta.get("security", ()), codes.REDACTED]
        resource = {**resource, "entity": entities}
    return {
        "resourceType": "AuditEvent",
        "id": row["id"],
        "meta": meta,
        "text": narrative(row, part, view.language, (), None),
        **{key: value for key, value in resource.items() if key not in ("id", "meta", "resourceType", "text")},
    }


def _referred(entity: Mapping[str, Any]) -> str | None:
    literal = parse_literal((entity.get("what") or {}).get("reference", ""))
    return str(literal.ref) if literal else None


def _as_seen(entity: Mapping[str, Any], view: View) -> Mapping[str, Any]:
    """Return an entity of a client's own event without what this reader may not know."""
    ref = _referred(entity)
    seen = dict(entity)
    if ref is not None and not view.sees(ref):
        seen = {name: entity[name] for name in ("type", "role", "lifecycle") if name in entity} | {"what": _MASKED}
    if "query" in seen and not view.sealed:
        seen = {name: value for name, value in seen.items() if name not in ("description", "detail")}
        seen["query"] = base64.b64encode(_cleaned(entity["query"]).encode()).decode()
    return seen


def _cleaned(query: str) -> str:
    """Return the first line of a request in base64, its clinical values cut out."""
    try:
        sent = base64.b64decode(query).decode()
    except ValueError:
        return CUT
    return cleaned(sent.partition("\n")[0].strip())


def _meta(scene: _Scene) -> dict[str, Any]:
    meta: dict[str, Any] = {"versionId": "1", "lastUpdated": scene.row["recorded"]}
    profiles = _profiles(scene)
    if profiles:
        meta["profile"] = profiles
    labels: list[Coding] = []
    if scene.person.get("secret"):
        system, _, code = codes.HIDDEN_FROM_REPRESENTATIVES.partition("|")
        labels.append({"system": system, "code": code})
    if scene.hides:
        labels.append(codes.REDACTED)
    if labels:
        meta["security"] = labels
    return meta


def _profiles(scene: _Scene) -> list[str]:
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


def _described(scene: _Scene) -> str:
    row, part = scene.row, scene.part
    words = []
    if "error" in row and (part.outcome != "0" or scene.kind.shape == "decision"):
        words.append(" ".join(str(value) for value in row["error"].values()))
    if part.outcome != "0" and all(scene.view.sees(_unversioned(name)) for name in part.names):
        words.extend(row.get("why", ()))
    if "reason" in scene.said:
        words.append(f"motif: {scene.said['reason']}")
    return "; ".join(words)


def _purpose(code: str) -> dict[str, Any]:
    """Return the purpose of HL7 and, of a professional's access, its French mode."""
    coding = [{"system": codes.REASON, "code": code}]
    if code in codes.ACCESS_MODES:
        coding.append({"system": codes.ACCESS_MODE, "code": codes.ACCESS_MODES[code]})
    return {"coding": coding}


def _server(base_url: str) -> dict[str, Any]:
    return {"identifier": {"system": "urn:ietf:rfc:3986", "value": base_url}, "display": "fhir_dmp"}


def _identifier(text: str) -> dict[str, Any]:
    system, _, value = text.rpartition("|")
    return {"system": system, "value": value} if system else {"value": value}


def _agents(scene: _Scene) -> Iterator[dict[str, Any]]:
    kind, agent = scene.kind, scene.agent
    yield _client(scene, kind.client, requestor=not scene.has_user)
    yield _host(scene)
    if scene.has_user:
        yield _user(scene)
    if "organization" in agent and kind.shape != "token":
        structure = {"type": {"coding": [codes.STRUCTURE]}, "who": {"identifier": _identifier(agent["organization"])}}
        yield {**structure, "requestor": False}
    if kind.type == codes.REST and "jti" in agent and kind.client != codes.APPLICATION:
        yield _client(scene, codes.APPLICATION, requestor=False)


def _client(scene: _Scene, role: Coding, *, requestor: bool) -> dict[str, Any]:
    agent = scene.agent
    client: dict[str, Any] = {
        "type": {"coding": [role]},
        "who": {"identifier": {"value": agent.get("client", "anonymous")}},
        "requestor": requestor,
    }
    if "role" in agent and scene.kind.shape != "decision":
        client["role"] = [{"coding": [{"system": codes.CLIENT_ROLE, "code": agent["role"]}]}]
    if "jti" in agent and not scene.has_user:
        client["policy"] = [_token(agent["jti"])]
    address = scene.row.get("from") or "unknown"
    client["network"] = {"address": address, "type": "2" if _ADDRESS.match(address) else "1"}
    return client


def _token(jti: str) -> str:
    return f"urn:ietf:params:oauth:jti:{jti}"


def _host(scene: _Scene) -> dict[str, Any]:
    """Return the server's part; it is the one that decides, so that the Consents are its policies."""
    host: dict[str, Any] = {
        "type": {"coding": [scene.kind.server]},
        "who": _server(scene.base_url),
        "requestor": False,
    }
    if scene.kind.shape == "decision":
        return host
    consents = [f"{scene.base_url}/{_reference(name)}" for name in scene.row.get("consents", ())]
    if consents:
        host["policy"] = consents
    return {**host, "network": {"address": scene.base_url, "type": "5"}}


def _user(scene: _Scene) -> dict[str, Any]:
    agent, person = scene.agent, scene.person
    user: dict[str, Any] = {"type": {"coding": [scene.kind.user]}}
    roles = [
        {"coding": [{"system": system, "code": person[name]}]}
        for name, system in (("profession", codes.PROFESSION), ("specialty", codes.SPECIALTY))
        if name in person
    ]
    if roles:
        user["role"] = roles
    user["who"] = _who(scene)
    if "name" in person:
        user["name"] = person["name"]
    user["requestor"] = True
    if "jti" in agent:
        user["policy"] = [_token(agent["jti"])]
    if "purpose" in scene.row:
        user["purposeOfUse"] = [_purpose(scene.row["purpose"])]
    return user


def _who(scene: _Scene) -> dict[str, Any]:
    person = scene.person
    if not person:
        return {"identifier": {"system": codes.OPERATOR, "value": scene.agent["operator"]}}
    who: dict[str, Any] = {}
    if "resource" in person:
        who["reference"] = person["resource"]
    who["identifier"] = _identifier(person.get("id") or person.get("resource") or "unknown")
    if "name" in person:
        who["display"] = person["name"]
    return who


def _shown(scene: _Scene) -> tuple[str, ...]:
    """Return the versions that this reader may know of."""
    return tuple(name for name in scene.part.names if scene.view.sees(_unversioned(name)))


def _entities(scene: _Scene) -> Iterator[dict[str, Any]]:
    kind, part = scene.kind, scene.part
    if part.patient and kind.shape != "token":
        yield _patient(scene)
    if kind.shape == "data":
        yield from (_data(name, kind) for name in _shown(scene) or ("",))
    elif kind.shape == "export":
        yield _data(scene.row.get("on", ""), kind)
    elif kind.shape == "query":
        yield _query(scene)
    elif kind.shape == "bundle":
        job: dict[str, Any] = {"display": f"{part.act}: {len(scene.row.get('entries', ()))} entries"}
        yield {"what": job, "type": codes.OBJECT, "role": codes.JOB}
    elif kind.shape == "token":
        yield _token_request(scene)
    elif kind.shape == "decision":
        for name in scene.row.get("consents", ()):
            yield {"what": {"reference": _reference(name)}, "type": codes.CONSENT}
    else:
        yield from _told(scene)
    if "requestId" in scene.row and kind.shape not in ("token", "decision"):
        yield {"what": {"identifier": {"value": scene.row["requestId"]}}, "type": codes.REQUEST_ID}


def _told(scene: _Scene) -> Iterator[dict[str, Any]]:
    """Yield what an act of an operator or a sign-in was about."""
    account = scene.account
    if account:
        what = {"identifier": _identifier(account.get("identifier") or account.get("id") or "unknown")}
        detail = [{"type": name, "valueString": account[name]} for name in ("id", "method") if name in account]
        entity = {"what": what, "type": codes.PERSON, "role": codes.USER}
        yield {**entity, "detail": detail} if detail else entity
    if "request" in scene.row:
        yield {"type": codes.OBJECT, "role": codes.JOB, "name": scene.row["request"]}


def _patient(scene: _Scene) -> dict[str, Any]:
    """Return the patient; of a list of theirs, the versions that were found are told as details."""
    patient: dict[str, Any] = {"what": {"reference": scene.part.patient}, "type": codes.PERSON, "role": codes.PATIENT}
    if scene.kind.shape in ("query", "export"):
        found = [name for name in _shown(scene) if name.count("/") == 2]
        details = [{"type": name.partition("/")[0], "valueString": _reference(name)} for name in found]
        if details:
            patient["detail"] = details
    return patient


def _data(name: str, kind: Kind) -> dict[str, Any]:
    """Return a resource that was touched; nothing but that there was one, if the reader may not know which."""
    resource_type, _, rest = name.partition("/")
    what: dict[str, Any]
    if rest:
        what = {"reference": _reference(name)}
    elif resource_type:
        what = {"display": resource_type}
    else:
        what = _MASKED
    role = codes.REPORT if resource_type in _REPORTS else codes.RESOURCE
    data: dict[str, Any] = {"what": what, "type": codes.OBJECT, "role": role}
    if kind.lifecycle:
        data["lifecycle"] = {"system": codes.LIFECYCLE, "code": kind.lifecycle}
    return data


def _query(scene: _Scene) -> dict[str, Any]:
    shown: str = scene.row.get("request", "")
    if not scene.view.values:
        shown = bare(shown) if len(_shown(scene)) == len(scene.part.names) else shown.partition(" ")[0]
    sent = scene.said.get("request", shown)
    return {
        "type": codes.OBJECT,
        "role": codes.QUERY,
        "description": shown,
        "query": base64.b64encode(sent.encode()).decode(),
    }


def _token_request(scene: _Scene) -> dict[str, Any]:
    """Return what was asked of the authorization server, without what proved it."""
    row = scene.row
    asked = (
        f"{row.get('request', '')}\nclient_id={scene.agent.get('client', '')}&scope={' '.join(row.get('scopes', ()))}"
    )
    entity: dict[str, Any] = {
        "type": codes.OBJECT,
        "role": codes.QUERY,
        "query": base64.b64encode(asked.encode()).decode(),
    }
    details = [("X-Request-Id", row.get("requestId")), ("jti", scene.agent.get("jti"))]
    entity["detail"] = [{"type": name, "valueString": value} for name, value in details if value]
    return entity


def _unversioned(name: str) -> str:
    return "/".join(name.split("/")[:2])


def _reference(name: str) -> str:
    parts = name.split("/")
    return f"{parts[0]}/{parts[1]}/_history/{parts[2]}" if len(parts) == 3 else name

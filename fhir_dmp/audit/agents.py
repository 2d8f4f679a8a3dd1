"""Who took part in an act, as the agents of its AuditEvent. https://profiles.ihe.net/ITI/BALP/content.html.

The client that asked, this server, the human being behind the client, the structure it acts for, and once more the client by its token;
of an act about another client (its registration) that one, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from fhir_dmp.audit import codes
from fhir_dmp.audit.codes import Coding
from fhir_dmp.audit.scene import Scene, versioned

_ADDRESS = re.compile(r"[0-9a-fA-F:.]+\Z")


def agents(scene: Scene) -> Iterator[dict[str, Any]]:
    """Yield the agents, in the order in which they are told."""
    kind, agent = scene.kind, scene.agent
    yield _client(scene, kind.client, requestor=not scene.has_user)
    yield _host(scene)
    if scene.has_user:
        yield _user(scene)
    if "organization" in agent and kind.shape != "token":
        structure = {"type": {"coding": [codes.STRUCTURE]}, "who": {"identifier": identifier(agent["organization"])}}
        yield {**structure, "requestor": False}
    if kind.type == codes.REST and "jti" in agent and kind.client != codes.APPLICATION:
        yield _client(scene, codes.APPLICATION, requestor=False)
    if "client" in scene.row:
        concerned = {"type": {"coding": [codes.APPLICATION]}, "who": {"identifier": {"value": scene.row["client"]}}}
        yield {**concerned, "requestor": False}


def _client(scene: Scene, role: Coding, *, requestor: bool) -> dict[str, Any]:
    agent = scene.agent
    client: dict[str, Any] = {
        "type": {"coding": [role]},
        "who": {"identifier": {"value": agent.get("client", "anonymous")}},
        "requestor": requestor,
    }
    if "role" in agent and scene.kind.shape != "decision":
        client["role"] = [{"coding": [{"system": codes.CLIENT_ROLE, "code": agent["role"]}]}]
    if "jti" in agent and not scene.has_user:
        client["policy"] = [token_policy(agent["jti"])]
    address = scene.row.get("from") or "unknown"
    client["network"] = {"address": address, "type": "2" if _ADDRESS.match(address) else "1"}
    return client


def token_policy(jti: str) -> str:
    """Return how IHE names a token by its ``jti``."""
    return f"{codes.JTI}{jti}"


def _host(scene: Scene) -> dict[str, Any]:
    """Return the server's part; it is the one that decides, so that the Consents are its policies."""
    host: dict[str, Any] = {
        "type": {"coding": [scene.kind.server]},
        "who": server(scene.base_url),
        "requestor": False,
    }
    if scene.kind.shape == "decision":
        return host
    consents = [f"{scene.base_url}/{versioned(name)}" for name in scene.consents]
    if consents:
        host["policy"] = consents
    return {**host, "network": {"address": scene.base_url, "type": "5"}}


def _user(scene: Scene) -> dict[str, Any]:
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
        user["policy"] = [token_policy(agent["jti"])]
    if "purpose" in scene.row:
        user["purposeOfUse"] = [purpose(scene.row["purpose"])]
    return user


def _who(scene: Scene) -> dict[str, Any]:
    person = scene.person
    if not person:
        return {"identifier": {"system": codes.OPERATOR, "value": scene.agent["operator"]}}
    who: dict[str, Any] = {}
    if "resource" in person:
        who["reference"] = person["resource"]
    who["identifier"] = identifier(person.get("id") or person.get("resource") or "unknown")
    if "name" in person:
        who["display"] = person["name"]
    return who


def identifier(text: str) -> dict[str, Any]:
    """Return an Identifier from ``system|value``, or a value alone."""
    system, _, value = text.rpartition("|")
    return {"system": system, "value": value} if system else {"value": value}


def server(base_url: str) -> dict[str, Any]:
    """Return what names this server, as an agent and as the observer."""
    return {"identifier": {"system": "urn:ietf:rfc:3986", "value": base_url}, "display": "fhir_dmp"}


def purpose(code: str) -> dict[str, Any]:
    """Return the purpose of HL7 and, of a professional's access, its French mode."""
    coding = [{"system": codes.REASON, "code": code}]
    if code in codes.ACCESS_MODES:
        coding.append({"system": codes.ACCESS_MODE, "code": codes.ACCESS_MODES[code]})
    return {"coding": coding}

"""What the BALP 1.1.5 profiles ask that this server's events claim, written down from the profiles by hand.

https://profiles.ihe.net/ITI/BALP/artifacts.html; ``tests.balp`` says what the words mean.
"""

from __future__ import annotations

_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_INTERACTION = "http://hl7.org/fhir/restful-interaction"
_PARTICIPATION = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
_ENTITY = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_ROLE = "http://terminology.hl7.org/CodeSystem/object-role"
_AGENTS = "https://profiles.ihe.net/ITI/BALP/CodeSystem/UserAgentTypes"


def _coding(system, code):
    return {"code": code, "system": system}


def _concept(system, code):
    return {"coding": [_coding(system, code)]}


_RECIPIENT = {"min": 1, "is": _concept(_PARTICIPATION, "IRCP")}
_DATA_SOURCES = {"min": 1, "in": [[_PARTICIPATION, ["AUT", "INF", "CST"]]]}
_PERSON = {"min": 1, "is": _coding(_ENTITY, "1")}
_OBJECT = {"min": 1, "is": _coding(_ENTITY, "2")}
_RESOURCE_ROLES = [[_ROLE, ["4", "3", "20"]]]


def _rest(kind, subtype, action, client, server, user, last):
    """Return what the profiles of RESTful acts have in common."""
    return {
        "base": None,
        "type": {"is": _coding("http://terminology.hl7.org/CodeSystem/audit-event-type", "rest")},
        "subtype": {"min": 1, "by": "$this", "closed": False},
        f"subtype:any{kind}": {"min": 1, "max": 1, **subtype},
        "action": {"is": action},
        "outcome": {"min": 1, "is": "0"},
        "agent": {"min": 2, "by": "type", "closed": False},
        "agent:client": {"min": 1, "max": 1},
        "agent:client.type": {"min": 1, "is": client},
        "agent:client.who": {"min": 1},
        "agent:client.media": {"max": 0},
        "agent:client.network": {"min": 1},
        "agent:server": {"min": 1, "max": 1},
        "agent:server.type": {"min": 1, "is": server},
        "agent:server.who": {"min": 1},
        "agent:server.media": {"max": 0},
        "agent:server.network": {"min": 1},
        "agent:user": {"max": 1},
        "agent:user.type": user,
        "agent:user.who": {"min": 1},
        "agent:user.requestor": {"is": True},
        "agent:user.media": {"max": 0},
        "agent:user.network": {"max": 0},
        "entity": {"min": 1, "by": "type", "closed": False},
        "entity:transaction": {"max": 1},
        "entity:transaction.what.identifier.value": {"min": 1},
        "entity:transaction.type": {
            "min": 1,
            "is": _coding("https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType", "XrequestId"),
        },
        **last,
    }


def _data(role):
    return {
        "entity:data": {"min": 1, "max": 1},
        "entity:data.what": {"min": 1},
        "entity:data.type": _OBJECT,
        "entity:data.role": {**role, "in": _RESOURCE_ROLES},
    }


_QUERY = {
    "entity:query": {"min": 1, "max": 1},
    "entity:query.what": {"max": 0},
    "entity:query.type": _OBJECT,
    "entity:query.role": {"min": 1, "is": _coding(_ROLE, "24")},
    "entity:query.lifecycle": {"max": 0},
    "entity:query.query": {"min": 1},
    "entity:query.detail": {"max": 0},
}

_DESTINATION, _SOURCE = _concept(_DCM, "110152"), _concept(_DCM, "110153")
_APPLICATION = _concept(_DCM, "110150")
_CUSTODIAN = _concept("http://terminology.hl7.org/CodeSystem/provenance-participant-type", "custodian")


def _codes(*codes):
    return {"in": [[_INTERACTION, list(codes)]]}


_PATIENT = {
    "entity:patient": {"min": 1, "max": 1},
    "entity:patient.what": {"min": 1},
    "entity:patient.type": _PERSON,
    "entity:patient.role": {"min": 1, "is": _coding(_ROLE, "1")},
}


def _of_patient(name):
    return {"base": f"IHE.BasicAudit.{name}", "entity": {"min": 2}, **_PATIENT}


def _none(*names):
    return {name: {"max": 0} for name in names}


FACTS = {
    "IHE.BasicAudit.Read": _rest("Read", _codes("read", "vread"), "R", _DESTINATION, _SOURCE, _RECIPIENT, _data({})),
    "IHE.BasicAudit.Query": _rest(
        "Search", _codes("search", "search-type", "search-system"), "E", _SOURCE, _DESTINATION, _RECIPIENT, _QUERY
    ),
    "IHE.BasicAudit.Create": _rest(
        "Create", {"is": _coding(_INTERACTION, "create")}, "C", _SOURCE, _DESTINATION, _DATA_SOURCES, _data({"min": 1})
    ),
    "IHE.BasicAudit.Update": _rest(
        "Update", _codes("update", "patch"), "U", _SOURCE, _DESTINATION, _DATA_SOURCES, _data({"min": 1})
    ),
    "IHE.BasicAudit.Delete": _rest(
        "Delete",
        {"is": _coding(_INTERACTION, "delete")},
        "D",
        _APPLICATION,
        _CUSTODIAN,
        _DATA_SOURCES,
        _data({"min": 1}),
    ),
    **{f"IHE.BasicAudit.Patient{name}": _of_patient(name) for name in ("Read", "Query", "Create", "Update", "Delete")},
    "IHE.BasicAudit.OAUTHaccessTokenUse.Comprehensive": {
        "base": None,
        "agent": {"by": "type", "closed": False},
        "agent:oClient": {"min": 1, "max": 1},
        "agent:oClient.type": {"min": 1, "is": _APPLICATION},
        "agent:oClient.who": {"min": 1},
        "agent:oClient.who.identifier": {"min": 1},
        "agent:oClient.who.identifier.value": {"min": 1},
        "agent:oClient.media": {"max": 0},
        "agent:oUser": {"max": 1},
        "agent:oUser.type": _RECIPIENT,
        "agent:oUser.who": {"min": 1},
        "agent:oUser.who.identifier": {"min": 1},
        "agent:oUser.requestor": {"is": True},
        "agent:oUser.policy": {"min": 1, "max": 1},
        "agent:oUser.media": {"max": 0},
        "agent:oUser.network": {"max": 0},
    },
    "IHE.IUA.71": {
        "base": None,
        "type": {"is": _coding(_DCM, "110114")},
        "subtype": {"min": 1, "max": 1, "is": _coding("urn:ihe:event-type-code", "ITI-71")},
        "action": {"is": "E"},
        "outcome": {"min": 1, "is": "0"},
        "agent": {"min": 2, "max": 3, "by": "type", "closed": True},
        "agent:client": {"min": 1, "max": 1},
        "agent:client.type": {"min": 1, "is": _APPLICATION},
        "agent:client.who": {"min": 1},
        "agent:client.media": {"max": 0},
        "agent:client.network": {"min": 1},
        "agent:auth-server": {"min": 1, "max": 1},
        "agent:auth-server.type": {"min": 1, "is": _concept(_AGENTS, "AuthzOauthService")},
        "agent:auth-server.who": {"min": 1},
        "agent:auth-server.media": {"max": 0},
        "agent:auth-server.network": {"min": 1},
        "agent:user": {"max": 1},
        "agent:user.type": _RECIPIENT,
        "agent:user.who": {"min": 1},
        "agent:user.requestor": {"is": True},
        **_none("agent:user.altId", "agent:user.media", "agent:user.network"),
        "entity": {"min": 1, "max": 1, "by": "role", "closed": True},
        "entity:token-request": {"min": 1, "max": 1},
        "entity:token-request.what": {"max": 0},
        "entity:token-request.type": _OBJECT,
        "entity:token-request.role": {"min": 1, "is": _coding(_ROLE, "24")},
        "entity:token-request.query": {"min": 1},
        "entity:token-response": {"max": 1},
        "entity:token-response.what": {"min": 1},
        "entity:token-response.type": _OBJECT,
        "entity:token-response.role": {"min": 1, "is": _coding(_ROLE, "13")},
        "entity:token-response.detail": {"min": 1},
    },
    "IHE.BasicAudit.AuthZconsent": {
        "base": None,
        "modifierExtension": {"max": 0},
        "type": {"is": _coding(_DCM, "110113")},
        "subtype": {"min": 1, "in": [["https://profiles.ihe.net/ITI/BALP/CodeSystem/AuthZsubType", []]]},
        "action": {"is": "E"},
        "outcome": {"min": 1},
        "agent": {"min": 4, "by": "type", "closed": False},
        "agent:client": {"min": 1, "max": 1},
        "agent:client.type": {"min": 1, "is": _APPLICATION},
        "agent:client.who": {"min": 1},
        "agent:client.network": {"min": 1},
        **_none(*(f"agent:client.{name}" for name in ("role", "altId", "name", "location", "media", "purposeOfUse"))),
        "agent:user": {"min": 1, "max": 1},
        "agent:user.type": _RECIPIENT,
        "agent:user.who": {"min": 1},
        "agent:user.requestor": {"is": True},
        **_none(*(f"agent:user.{name}" for name in ("altId", "location", "media", "network"))),
        "agent:userorg": {"min": 1, "max": 1},
        "agent:userorg.type": {"min": 1, "is": _concept("http://terminology.hl7.org/CodeSystem/v3-RoleClass", "PROV")},
        "agent:userorg.who": {"min": 1},
        "agent:userorg.requestor": {"is": False},
        **_none(
            *(f"agent:userorg.{name}" for name in ("role", "altId", "name", "location", "policy", "media", "network"))
        ),
        "agent:authorizer": {"min": 1, "max": 1, "observer": True},
        "agent:authorizer.type": {
            "min": 1,
            "is": _concept("http://terminology.hl7.org/CodeSystem/extra-security-role-type", "authserver"),
        },
        "agent:authorizer.who": {"min": 1},
        "agent:authorizer.requestor": {"is": False},
        **_none(
            *(
                f"agent:authorizer.{name}"
                for name in ("role", "altId", "name", "location", "policy", "media", "network", "purposeOfUse")
            )
        ),
        "entity": {"min": 2, "by": "type", "closed": True},
        **_PATIENT,
        "entity:consent": {"min": 1},
        "entity:consent.what": {"min": 1},
        "entity:consent.type": {"min": 1, "is": _coding("http://hl7.org/fhir/resource-types", "Consent")},
        "entity:token": {"max": 1},
        "entity:token.what": {"min": 1},
        "entity:token.what.identifier": {"min": 1},
        "entity:token.what.identifier.value": {"min": 1},
        "entity:token.type": {"min": 1, "is": _coding(_AGENTS, "UserOauthAgent")},
    },
    "IHE.BasicAudit.PrivacyDisclosure.Source": {
        "base": None,
        "modifierExtension": {"max": 0},
        "type": {"is": _coding(_DCM, "110106")},
        "subtype": {"min": 1, "by": "$this", "closed": False},
        "subtype:disclosure": {
            "min": 1,
            "max": 1,
            "is": _coding("http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle", "disclose"),
        },
        "action": {"is": "R"},
        "outcome": {"min": 1},
        "agent": {"min": 2, "by": "type", "closed": False},
        "agent:source": {"min": 1, "max": 1, "observer": True},
        "agent:source.type": {"min": 1, "is": _SOURCE},
        "agent:source.who": {"min": 1},
        "agent:source.network": {"min": 1},
        "agent:recipient": {"min": 1, "max": 1},
        "agent:recipient.type": {"min": 1, "is": _DESTINATION},
        "agent:recipient.who": {"min": 1},
        "agent:recipient.network": {"min": 1},
        "agent:custodian": {"max": 1},
        "agent:custodian.type": {"min": 1, "is": _concept("http://snomed.info/sct", "159541003")},
        "agent:custodian.who": {"min": 1},
        "agent:authorizer": {"max": 1},
        "agent:authorizer.type": {"min": 1, "is": _concept("http://snomed.info/sct", "429577009")},
        "agent:authorizer.who": {"min": 1},
        "entity": {"min": 2, "by": "type", "closed": False},
        **_PATIENT,
    },
}

"""Codings that AuditEvents are made of: DICOM, HL7, IHE and French ones. https://profiles.ihe.net/ITI/BALP/terminology.html."""

from __future__ import annotations

Coding = dict[str, str]

DCM = "http://dicom.nema.org/resources/ontology/DCM"
INTERACTION = "http://hl7.org/fhir/restful-interaction"
RESOURCE_TYPES = "http://hl7.org/fhir/resource-types"
LIFECYCLE = "http://terminology.hl7.org/CodeSystem/dicom-audit-lifecycle"
ENTITY = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
ROLE = "http://terminology.hl7.org/CodeSystem/object-role"
OUTCOME = "http://terminology.hl7.org/CodeSystem/audit-event-outcome"
EVENT_TYPE = "http://terminology.hl7.org/CodeSystem/audit-event-type"
ACTION = "http://hl7.org/fhir/audit-event-action"
PARTICIPATION = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
SOURCE = "http://terminology.hl7.org/CodeSystem/security-source-type"
BALP = "https://profiles.ihe.net/ITI/BALP"
ACCESS_MODE = "https://mos.esante.gouv.fr/NOS/TRE_R248-ModeAcces/FHIR/TRE-R248-ModeAcces"
PROFESSION = "https://mos.esante.gouv.fr/NOS/TRE_G15-ProfessionSante/FHIR/TRE-G15-ProfessionSante"
SPECIALTY = "https://mos.esante.gouv.fr/NOS/TRE_R01-EnsembleSavoirFaire-CISIS/FHIR/TRE-R01-EnsembleSavoirFaire-CISIS"
VISIBILITY = "https://mos.esante.gouv.fr/NOS/TRE_A07-StatutVisibiliteDocument/FHIR/TRE-A07-StatutVisibiliteDocument"
ACT = "urn:fhir-dmp:act"
"""Acts that no other code system names: what an operator does, an operation's name, a request that was never understood."""
CLIENT_ROLE = "urn:fhir-dmp:client-role"
OPERATOR = "urn:fhir-dmp:operator"
JTI = "urn:ietf:params:oauth:jti:"
"""Before the ``jti`` of the token that somebody acted by, as IHE names it among the policies of an agent."""
CLIENT_EVENT = "urn:fhir-dmp:client:"
"""``meta.source`` of what a client reports: never that of an event of ours."""

REST: Coding = {"system": EVENT_TYPE, "code": "rest", "display": "RESTful Operation"}
SECURITY: Coding = {"system": DCM, "code": "110113", "display": "Security Alert"}
AUTHENTICATION: Coding = {"system": DCM, "code": "110114", "display": "User Authentication"}
EXPORT: Coding = {"system": DCM, "code": "110106", "display": "Export"}

LOG_USED: Coding = {"system": DCM, "code": "110101", "display": "Audit Log Used"}
LOGIN: Coding = {"system": DCM, "code": "110122", "display": "Login"}
LOGOUT: Coding = {"system": DCM, "code": "110123", "display": "Logout"}
GLASS_BROKEN: Coding = {"system": DCM, "code": "110127", "display": "Emergency Override Started"}
GLASS_WHOLE: Coding = {"system": DCM, "code": "110138", "display": "Emergency Override Stopped"}
ROLES_CHANGED: Coding = {"system": DCM, "code": "110136", "display": "Security Roles Changed"}
USER_CHANGED: Coding = {"system": DCM, "code": "110137", "display": "User Security Attributes Changed"}
TOKEN_ISSUED: Coding = {"system": "urn:ihe:event-type-code", "code": "ITI-71", "display": "Get Access Token"}
BY_CONSENT: Coding = {"system": f"{BALP}/CodeSystem/AuthZsubType", "code": "AuthZ-Consent"}
DISCLOSED: Coding = {"system": "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle", "code": "disclose"}

APPLICATION: Coding = {"system": DCM, "code": "110150", "display": "Application"}
DESTINATION: Coding = {"system": DCM, "code": "110152", "display": "Destination Role ID"}
ORIGIN: Coding = {"system": DCM, "code": "110153", "display": "Source Role ID"}
CUSTODIAN: Coding = {
    "system": "http://terminology.hl7.org/CodeSystem/provenance-participant-type",
    "code": "custodian",
    "display": "Custodian",
}
AUTHORIZER: Coding = {"system": "http://terminology.hl7.org/CodeSystem/extra-security-role-type", "code": "authserver"}
TOKEN_SERVER: Coding = {"system": f"{BALP}/CodeSystem/UserAgentTypes", "code": "AuthzOauthService"}
RECIPIENT: Coding = {"system": PARTICIPATION, "code": "IRCP", "display": "information recipient"}
AUTHOR: Coding = {"system": PARTICIPATION, "code": "AUT", "display": "author (originator)"}
STRUCTURE: Coding = {"system": "http://terminology.hl7.org/CodeSystem/v3-RoleClass", "code": "PROV"}

PERSON: Coding = {"system": ENTITY, "code": "1", "display": "Person"}
OBJECT: Coding = {"system": ENTITY, "code": "2", "display": "System Object"}
CONSENT: Coding = {"system": RESOURCE_TYPES, "code": "Consent"}
REQUEST_ID: Coding = {"system": f"{BALP}/CodeSystem/BasicAuditEntityType", "code": "XrequestId"}
PATIENT: Coding = {"system": ROLE, "code": "1", "display": "Patient"}
REPORT: Coding = {"system": ROLE, "code": "3", "display": "Report"}
RESOURCE: Coding = {"system": ROLE, "code": "4", "display": "Domain Resource"}
USER: Coding = {"system": ROLE, "code": "11", "display": "Security User Entity"}
SECURITY_RESOURCE: Coding = {"system": ROLE, "code": "13", "display": "Security Resource"}
JOB: Coding = {"system": ROLE, "code": "20", "display": "Job"}
QUERY: Coding = {"system": ROLE, "code": "24", "display": "Query"}

HIDDEN_FROM_REPRESENTATIVES = f"{VISIBILITY}|INVISIBLE_REPRESENTANTS_LEGAUX"
"""The label of what was done under a minor's *connexion secrète*, as ``sec`` holds it."""
REDACTED: Coding = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
    "code": "REDACTED",
    "display": "redacted",
}

ACCESS_MODES = {"TREAT": "normal", "BTG": "bris_de_glace", "ETREAT": "centre_15"}
"""The French mode of a professional's access, by the purpose that it is asked for."""

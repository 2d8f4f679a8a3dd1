"""What the tests of searches stand on: two patients, their doctor, hospital, observations and a report."""

from __future__ import annotations

LOINC = "http://loinc.org"
ROLE = "http://terminology.hl7.org/CodeSystem/v3-RoleCode"
V2 = "http://terminology.hl7.org/CodeSystem/v2-0203"


def put(tree):
    """Return the entry of a transaction that puts the resource."""
    return {"resource": tree, "request": {"method": "PUT", "url": f"{tree['resourceType']}/{tree['id']}"}}


def observation(number, patient, code, value, day, **more):
    """Return an observation of a patient: a quantity on a day."""
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": "final",
        "code": {"text": f"Text {code}", "coding": [{"system": LOINC, "code": code}]},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": day,
        "valueQuantity": {"value": value, "unit": "mg", "system": "http://unitsofmeasure.org", "code": "mg"},
        **more,
    }


WORLD = [
    {"resourceType": "Organization", "id": "hospital", "name": "Hôpital Saint-Louis"},
    {"resourceType": "Practitioner", "id": "doctor", "name": [{"family": "Curie", "given": ["Ève"]}]},
    {"resourceType": "Patient", "id": "eve", "active": True, "gender": "female", "birthDate": "1980-05-01",
     "identifier": [{"system": "urn:ins", "value": "1"}], "name": [{"family": "Lefèvre Dupont", "given": ["Ève"]}],
     "managingOrganization": {"reference": "Organization/hospital"}, "generalPractitioner": [{"reference": "Practitioner/doctor"}]},
    {"resourceType": "Patient", "id": "adam", "active": True, "gender": "male", "birthDate": "1975",
     "identifier": [{"system": "urn:ins", "value": "2"}], "name": [{"family": "Martin", "given": ["Adam"]}]},
    observation(1, "eve", "718-7", 5.4, "2024-01-10", performer=[{"reference": "Practitioner/doctor"}]),
    observation(2, "eve", "718-7", 6.0, "2024-02-10T10:00:00+01:00"),
    observation(3, "eve", "2823-3", 7.0, "2024-03-10"),
    observation(4, "adam", "718-7", 9.0, "2024-01-20"),
    {"resourceType": "Observation", "id": "bp", "status": "final", "code": {"coding": [{"system": LOINC, "code": "85354-9"}]},
     "subject": {"reference": "Patient/adam"}, "effectivePeriod": {"start": "2024-01-01"},
     "component": [{"code": {"coding": [{"system": LOINC, "code": "8480-6"}]}, "valueQuantity": {"value": 140}},
                   {"code": {"coding": [{"system": LOINC, "code": "8462-4"}]}, "valueQuantity": {"value": 80}}]},
    {"resourceType": "DiagnosticReport", "id": "report", "status": "final", "code": {"text": "Blood"}, "subject": {"reference": "Patient/eve"},
     "result": [{"reference": "Observation/o1"}, {"reference": "Observation/o3"}]},
    {"resourceType": "RiskAssessment", "id": "risk", "status": "final", "subject": {"reference": "Patient/eve"}, "prediction": [{"probabilityDecimal": 0.80}]},
    {"resourceType": "ValueSet", "id": "set", "status": "active", "url": "http://a.fr/fhir/ValueSet/x", "version": "2",
     "compose": {"include": [{"system": LOINC, "concept": [{"code": "718-7"}, {"code": "nothing"}]}]}},
    {"resourceType": "Location", "id": "paris", "name": "Paris", "position": {"latitude": 48.8566, "longitude": 2.3522}},
    {"resourceType": "Location", "id": "lyon", "name": "Lyon", "position": {"latitude": 45.7640, "longitude": 4.8357}},
    {"resourceType": "List", "id": "list", "status": "current", "mode": "working", "entry": [{"item": {"reference": "Observation/o1"}},
     {"item": {"reference": "Patient/eve"}}, {"item": {"reference": "Observation/gone"}}]},
    {"resourceType": "RelatedPerson", "id": "mother", "patient": {"reference": "Patient/eve", "display": "Ève Lefèvre"}, "identifier": [
     {"type": {"coding": [{"system": V2, "code": "SS"}]}, "value": "123"}], "relationship": [{"coding": [{"system": ROLE, "code": "NMTH"}]}],
     "text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">Mère de <b>Ève</b></div>'}},
]  # fmt: skip


def filled(ehr):
    """Return the EHR, which has stored the world."""
    answer = ehr.post("", {"resourceType": "Bundle", "type": "transaction", "entry": [put(tree) for tree in WORLD]})
    assert answer.status_code == 200, answer.data
    return ehr


def ids(answer, mode="match"):
    """Return the ids of what was found, or of what came along."""
    assert answer.status_code == 200, answer.data
    return {entry["resource"]["id"] for entry in answer.json.get("entry", ()) if entry["search"]["mode"] == mode}


def link(answer, relation):
    """Return the URL of a link, or None."""
    return next((each["url"] for each in answer.json["link"] if each["relation"] == relation), None)

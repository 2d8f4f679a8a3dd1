"""Which record an app is let into: by a doctor who knows its number, by an EHR that opens the app in one, or by whoever chooses."""

from __future__ import annotations

from html import unescape

import pytest

from tests.http.conftest import register
from tests.http.oauth.people import NUMBER, ask, back, fhir, fill, redeem, take_into_the_team
from tests.http.test_one_record_of_a_person import twin


def test_a_doctor_finds_a_record_by_its_exact_ins(app, doctor, phone, patient):
    """The token is bound to that record; a wrong number finds nothing."""
    page = ask(doctor, scope="launch/patient patient/Patient.rs")
    assert "Matricule INS" in page.text
    assert fill(doctor, ins="1" * 15).status_code == 400
    assert "Aucun dossier" in unescape(doctor.page.text)
    fill(doctor, ins=NUMBER)

    assert redeem(app, back(doctor)["code"]).json["patient"] == patient.partition("/")[2]


def test_another_patient_with_the_same_ins_stands_in_nobodys_way(app, server, doctor, phone, patient):
    """One that was written down before such were refused keeps nobody from the record, nor leads them to its own, in an emergency either."""
    twin(server, NUMBER)

    for fields in ({}, {"emergency": "1", "reason": "Patient inconscient, allergies inconnues."}):
        ask(doctor, scope="launch/patient patient/Patient.rs")
        fill(doctor, ins=NUMBER, **fields)
        assert redeem(app, back(doctor)["code"]).json["patient"] == patient.partition("/")[2]


def test_a_doctor_without_a_record_reaches_the_directory_alone(app, doctor, phone, patient):
    """user/ scopes without a choice: no patient in the answer, and nobody's record behind the token."""
    ask(doctor, scope="openid user/*.rs")
    fill(doctor)
    tokens = redeem(app, back(doctor)["code"]).json

    assert "patient" not in tokens
    assert fhir(app, tokens["access_token"], patient).status_code in (403, 404)


def test_an_ehr_opens_an_app_in_a_record(app, server, operator, doctor, phone, patient, feed):
    """The record and the encounter of the launch are settled; the launch is good once, and for that app."""
    ehr = register(app, "ehr-one")
    headers = {"Authorization": f"Bearer {ehr._token}"}
    encounter = feed.post(
        "/Encounter",
        {
            "resourceType": "Encounter",
            "status": "in-progress",
            "class": {"code": "AMB"},
            "subject": {"reference": patient},
        },
    ).json["id"]
    form = {
        "app": "phone",
        "patient": patient,
        "encounter": encounter,
        "need_patient_banner": "false",
        "intent": "order",
    }
    launched = app.test_client().post("/oauth/launch", data=form, headers=headers).json
    assert launched["iss"] == "http://127.0.0.1:8000/fhir"

    asked = {"scope": "launch patient/Patient.rs", "launch": launched["launch"]}
    page = ask(doctor, **asked)
    assert "Matricule INS" not in page.text
    fill(doctor)
    tokens = redeem(app, back(doctor)["code"]).json
    told = {name: tokens[name] for name in ("patient", "encounter", "need_patient_banner", "intent")}
    assert told == {
        "patient": patient.partition("/")[2],
        "encounter": encounter,
        "need_patient_banner": False,
        "intent": "order",
    }

    ask(doctor, **asked)
    fill(doctor)
    assert back(doctor)["error"] == "invalid_request"


def test_a_launch_opens_no_record_to_a_patient_who_has_no_right_to_it(app, holder, phone, feed):
    """What a patient may not choose, no launch chooses for them."""
    ehr = register(app, "ehr-one")
    other = feed.post("/Patient", {"resourceType": "Patient", "active": True}).json["id"]
    headers = {"Authorization": f"Bearer {ehr._token}"}
    launched = app.test_client().post("/oauth/launch", data={"app": "phone", "patient": other}, headers=headers).json
    ask(holder, scope="launch patient/Patient.rs", launch=launched["launch"])

    assert back(holder)["error"] == "access_denied"


@pytest.mark.parametrize(
    ("role", "form", "error"),
    [
        ("lab", {"app": "phone"}, "unauthorized_client"),
        ("ehr", {"app": "nobody"}, "invalid_client"),
        ("ehr", {"app": "launcher"}, "invalid_request"),
        ("ehr", {"app": "phone", "patient": "../x"}, "invalid_request"),
        ("ehr", {"app": "phone", "need_patient_banner": "maybe"}, "invalid_request"),
    ],
)
def test_only_an_ehr_launches_and_only_what_is_well_formed(app, phone, role, form, error):
    """By a bearer token; an app must be registered for the scope launch."""
    caller = register(app, "launcher", role=role)
    answer = app.test_client().post("/oauth/launch", data=form, headers={"Authorization": f"Bearer {caller._token}"})

    assert answer.json["error"] == error
    assert app.test_client().post("/oauth/launch", data=form).status_code == 401


def test_an_app_asks_for_an_encounter_and_the_doctor_chooses(app, doctor, phone, patient):
    """launch/encounter without a launch: the record first, then its encounters; none is an answer too."""
    doctor_scope = "launch/patient launch/encounter patient/Encounter.rs"
    ask(doctor, scope=doctor_scope)
    fill(doctor, ins=NUMBER)

    assert "encounter" not in redeem(app, back(doctor)["code"]).json


def test_a_patient_chooses_the_encounter_after_the_record(app, holder, phone, patient, feed):
    """launch/encounter without a launch: the record first, then one of its encounters, or none."""
    tree = {
        "resourceType": "Encounter",
        "status": "finished",
        "class": {"code": "AMB"},
        "subject": {"reference": patient},
    }
    encounter = feed.post("/Encounter", tree).json["id"]
    asked = {"scope": "launch/patient launch/encounter patient/Encounter.rs"}

    for chosen, told in ((f"Encounter/{encounter}", encounter), ("none", None)):
        ask(holder, **asked)
        assert fill(holder).status_code == 400
        assert "Choisissez une venue" in unescape(holder.page.text)
        assert fill(holder, encounter="Encounter/of-somebody-else").status_code == 400
        fill(holder, encounter=chosen)
        tokens = redeem(app, back(holder)["code"]).json
        assert (tokens["patient"], tokens.get("encounter")) == (patient.partition("/")[2], told)


@pytest.mark.parametrize("level", ["system", "patient"])
def test_a_restricted_scope_reaches_what_meets_the_restriction_and_nothing_else(
    app, holder, phone, patient, feed, level
):
    """By search, by id and in totals; what is written outside of it is refused."""
    system = "http://terminology.hl7.org/CodeSystem/observation-category"
    made = {}
    for code in ("laboratory", "vital-signs"):
        tree = {
            "resourceType": "Observation",
            "status": "final",
            "code": {"text": code},
            "category": [{"coding": [{"system": system, "code": code}]}],
            "subject": {"reference": patient},
        }
        made[code] = feed.post("/Observation", tree).json["id"]
    scope = f"{level}/Observation.rs?category={system}|laboratory"
    if level == "system":
        caller = register(app, "narrow", role="insurance-feed", scopes=(scope,))
        get = caller.get
    else:
        ask(holder, scope=scope)
        fill(holder)
        token = redeem(app, back(holder)["code"]).json["access_token"]
        get = lambda path: fhir(app, token, path.removeprefix("/"))  # noqa: E731

    found = get("/Observation?_total=accurate").json
    assert (found["total"], [entry["resource"]["id"] for entry in found["entry"]]) == (1, [made["laboratory"]])
    assert get(f"/Observation/{made['laboratory']}").status_code == 200
    assert get(f"/Observation/{made['vital-signs']}").status_code == 404
    assert get("/Condition").status_code == 403


def test_a_doctor_is_offered_the_records_that_are_open_to_them(app, holder, doctor, phone, patient):
    """The care team's word opens it and offers it; nobody is offered what names somebody else."""
    page = ask(doctor, scope="launch/patient patient/Patient.rs")
    assert patient not in page.text
    take_into_the_team(app, holder, patient)

    page = ask(doctor, scope="launch/patient patient/Patient.rs")
    assert "Zoé Petit" in unescape(page.text)
    fill(doctor, patient=patient)
    tokens = redeem(app, back(doctor)["code"]).json
    assert fhir(app, tokens["access_token"], patient).status_code == 200

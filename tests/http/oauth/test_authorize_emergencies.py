"""Access in an emergency as it is claimed at the authorization endpoint: with a reason, for some minutes, and by whom."""

from __future__ import annotations

import base64
import json
from urllib.parse import urlencode

import pytest

from fhir_dmp.service.clients import NewClient
from fhir_dmp.store.accounts import Situation
from fhir_dmp.store.query import EVERYTHING
from tests.http.oauth.people import NUMBER, a_doctor, ask, back, fhir, fill, redeem
from tests.oauth_world import APP_SCOPES, CALLBACK, FORM


def test_a_doctor_breaks_the_glass_with_a_reason_for_some_minutes(app, server, doctor, phone, patient):
    """No refresh token, a life of minutes, the purpose in the token and the reason nowhere but with the server."""
    ask(doctor, scope="launch/patient patient/Patient.rs offline_access")
    assert fill(doctor, ins=NUMBER, emergency="1").status_code == 400
    assert fill(doctor, emergency="1", reason="court").status_code == 400
    fill(doctor, emergency="1", reason="Patient inconscient, allergies inconnues.")
    tokens = redeem(app, back(doctor)["code"]).json

    assert "refresh_token" not in tokens
    assert tokens["expires_in"] == 600
    subject = server.tokens.verify_bearer(tokens["access_token"]).subject
    assert (subject.purpose, subject.person.reason) == ("BTG", "Patient inconscient, allergies inconnues.")
    assert "inconscient" not in json.dumps(tokens)
    payload = tokens["access_token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert claims["extensions"]["ihe_iua"]["purpose_of_use"][0]["code"] == "BTG"
    assert "inconscient" not in json.dumps(claims, ensure_ascii=False)


def test_the_end_of_an_emergency_is_told_when_its_token_is_given_back(app, server, doctor, phone, patient):
    """The log has its beginning and its end, in the name of the person, and the token opens nothing any more."""
    ask(doctor, scope="launch/patient patient/Patient.rs", purpose_of_use="BTG")
    fill(doctor, ins=NUMBER, emergency="1", reason="inconsciente, seule")
    token = redeem(app, back(doctor)["code"]).json["access_token"]

    app.test_client().post("/oauth/revoke", data=urlencode({"token": token, "client_id": "phone"}), content_type=FORM)

    rows = [json.loads(part.event.body) for part in server.store.search_events(EVERYTHING, 50, None)[0]]
    told = {row["act"]: row for row in rows if row["act"].startswith("break-glass")}
    assert set(told) == {"break-glass-start", "break-glass-end"}
    assert told["break-glass-end"]["for"] == [patient]
    assert fhir(app, token, patient).status_code == 401


def test_an_app_that_asks_for_an_emergency_gets_nothing_without_it(doctor, phone, patient):
    """purpose_of_use=BTG is not answered by an ordinary token; a patient cannot claim it at all."""
    ask(doctor, scope="launch/patient patient/Patient.rs", purpose_of_use="BTG")
    assert fill(doctor, ins=NUMBER, reason="Patient inconscient.").status_code == 400


@pytest.mark.parametrize("purpose", ["BTG", "ETREAT"])
def test_a_patient_claims_no_emergency(holder, phone, purpose):
    """Whatever the form or the app says."""
    ask(holder, scope="patient/Patient.rs", purpose_of_use=purpose)
    fill(holder, emergency="1", reason="Parce que je le veux bien.")
    assert back(holder)["error"] == "access_denied"

    ask(holder, scope="patient/Patient.rs")
    fill(holder, emergency="1", reason="Parce que je le veux bien.")
    assert back(holder)["error"] == "access_denied"


def test_a_regulator_of_a_samu_is_a_doctor_at_its_client(app, server, operator, phone, patient):
    """ETREAT by the client of a SAMU and a doctor; neither another client nor another profession."""
    server.clients.add(NewClient("centre15", "public", "samu", APP_SCOPES, redirect_uris=(CALLBACK,)), operator)
    regulator = a_doctor(app, server, operator)
    nurse = a_doctor(app, server, operator, Situation("60", None, "urn:x|2", "SAMU"), login="lea.nurse")
    asked = {"scope": "launch/patient patient/Patient.rs", "purpose_of_use": "ETREAT"}
    claim = {"ins": NUMBER, "emergency": "1", "reason": "Appel au 15, douleur thoracique."}

    ask(regulator, client_id="centre15", **asked)
    fill(regulator, **claim)
    tokens = redeem(app, back(regulator)["code"], client_id="centre15").json
    assert server.tokens.verify_bearer(tokens["access_token"]).subject.purpose == "ETREAT"

    for visitor, client in ((regulator, "phone"), (nurse, "centre15")):
        ask(visitor, client_id=client, **asked)
        fill(visitor, **claim)
        assert back(visitor)["error"] == "access_denied"

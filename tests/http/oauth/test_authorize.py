"""The authorization endpoint as a person meets it: pages, forms, the app's way back, and the records behind.

https://hl7.org/fhir/smart-app-launch/STU2.2/app-launch.html
"""

from __future__ import annotations

import base64
import json
import re
from html import unescape
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

from fhir_dmp.errors import Unrecorded
from fhir_dmp.http.pages.render import LANGUAGES, texts
from fhir_dmp.service.clients import NewClient
from fhir_dmp.store.accounts import Situation
from fhir_dmp.store.query import EVERYTHING
from fhir_dmp.stores.mongo.store import MongoStore
from tests.balp import claimed
from tests.balp_facts import FACTS
from tests.http.conftest import register
from tests.http.oauth.people import NUMBER, a_doctor, ask, back, fhir, fill, redeem
from tests.http.test_one_record_of_a_person import twin
from tests.oauth_world import APP_SCOPES, CALLBACK, FORM, VERIFIER, authorize
from tests.sign_in_world import PASSWORD, Visitor


def test_a_patient_allows_an_app_and_it_reads_the_record(app, holder, phone, patient):
    """From the question to the first answer of the FHIR endpoint."""
    page = ask(holder, scope="openid fhirUser launch/patient patient/Patient.rs")
    assert page.status_code == 200
    assert "Mon carnet" in page.text
    assert "app.example" in page.text
    fill(holder)
    tokens = redeem(app, back(holder)["code"]).json

    assert tokens["patient"] == patient.partition("/")[2]
    assert fhir(app, tokens["access_token"], patient).json["id"] == tokens["patient"]


def test_the_question_is_put_in_plain_words(holder, phone):
    """In the language of the browser, or the one that was chosen; nobody's words but ours and escaped ones of others."""
    french = ask(
        holder, scope="openid patient/Observation.rs?category=laboratory patient/Condition.cruds offline_access"
    ).text
    english = holder.get(
        f"/oauth/authorize?{authorize(scope='patient/Observation.rs offline_access').decode()}&lang=en"
    ).text

    for words in ("consulter : résultats, mesures et observations", "category = laboratory", "supprimer", "Refuser"):
        assert words in unescape(french)
    for words in (
        "read : results, measurements and observations",
        "keep this access when you are signed out",
        "Refuse",
    ):
        assert words in unescape(english)


def test_a_page_that_says_what_is_wrong_is_had_in_the_other_language(doctor, phone):
    """The link leads to the same question, and to no address that takes no such call."""
    ask(doctor, scope="launch/patient patient/Observation.rs", state="é&lang=xx")
    asked = unescape(re.search(r'name="asked" value="([^"]+)"', doctor.page.text)[1])
    wrong = fill(doctor, ins="1" * 15, asked=asked)
    link = unescape(re.search(r'href="([^"]+)" lang="en"', wrong.text)[1])

    english = doctor.get(link)
    refused = doctor.send("/oauth/authorize/decision", ticket="forged")

    assert wrong.status_code == 400
    assert (english.status_code, '<html lang="en">' in english.text) == (200, True)
    assert 'name="ticket"' in english.text
    assert doctor.get(unescape(re.search(r'href="([^"]+)" lang="fr"', refused.text)[1])).status_code == 401


def test_the_pages_keep_other_sites_out(holder, phone):
    """No script, no frame, no form to anywhere but here and the app; nothing is stored."""
    page = ask(holder)
    policy = page.headers["Content-Security-Policy"]

    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self' https://app.example" in policy
    assert page.headers["X-Frame-Options"] == "DENY"
    assert page.headers["Cache-Control"] == "no-store"
    assert "<script" not in page.text


def test_a_stranger_signs_in_and_comes_back_to_the_question(app, server, holder, phone):
    """The sign-in leads on to the request that was made."""
    stranger = Visitor(app)
    answer = ask(stranger)
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/oauth/sign-in?next=%2Foauth%2Fauthorize%3F")
    stranger.follow()
    stranger.send(login="zoe.petit", password=PASSWORD)
    assert "Mon carnet" in stranger.follow().text


def test_a_request_may_be_posted(holder, phone):
    """authorize-post: the browser asks again by GET, with what it holds of ours."""
    answer = holder.http.post("/oauth/authorize", data=authorize(), content_type=FORM)

    assert answer.status_code == 303
    assert "Mon carnet" in holder.get(answer.headers["Location"]).text


def test_a_form_of_another_site_decides_nothing(app, holder, phone):
    """Without the token of this browser's form, and with the ticket of another browser's question."""
    ask(holder)
    ticket = unescape(re.search(r'name="ticket" value="([^"]+)"', holder.page.text)[1])
    forged = holder.http.post("/oauth/authorize/decision", data={"ticket": ticket, "answer": "allow"})
    assert forged.status_code == 400
    assert "Location" not in forged.headers

    other = Visitor(app)
    ask(other)
    other.follow()
    stolen = other.send("/oauth/authorize/decision", ticket=ticket, answer="allow")
    assert stolen.status_code == 400
    assert "Location" not in stolen.headers


def test_a_person_refuses(holder, phone):
    """The app is told so."""
    ask(holder)
    fill(holder, answer="deny")

    assert back(holder)["error"] == "access_denied"


def test_an_app_of_no_name_is_shown_and_never_led_to(holder, phone):
    """An address that is not registered is told to the person."""
    page = ask(holder, redirect_uri="https://evil.example/")

    assert page.status_code == 400
    assert "Location" not in page.headers
    assert "redirect_uri" in page.text


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


def test_discovery_tells_where_everything_is(app):
    """OpenID Connect and SMART agree, and each endpoint that they name is there."""
    http = app.test_client()
    openid = http.get("/.well-known/openid-configuration").json
    smart = http.get("/fhir/.well-known/smart-configuration").json

    assert openid["issuer"] == smart["issuer"] == "http://127.0.0.1:8000"
    assert openid["id_token_signing_alg_values_supported"] == ["RS256"]
    rules = {rule.rule for rule in app.url_map.iter_rules()}
    urls = [value for name, value in smart.items() if name.endswith(("_endpoint", "_uri"))]
    assert len(urls) == 7
    assert all(urlsplit(url).path in rules for url in urls)


def test_browsers_of_registered_origins_alone_may_read_records(app, phone):
    """Discovery is for all; tokens and records for the origins of apps; a preflight says the same."""
    http = app.test_client()
    own, other = {"Origin": "https://app.example"}, {"Origin": "https://evil.example"}
    preflight = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}

    assert http.get("/fhir/metadata", headers=other).headers["Access-Control-Allow-Origin"] == "*"
    assert http.get("/fhir/Patient", headers=own).headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "Access-Control-Allow-Origin" not in http.get("/fhir/Patient", headers=other).headers
    assert "Access-Control-Allow-Origin" not in http.get("/oauth/authorize", headers=own).headers
    allowed = http.options("/oauth/token", headers={**own, **preflight})
    assert (allowed.status_code, allowed.headers["Access-Control-Allow-Origin"]) == (204, "https://app.example")
    assert "Authorization" in allowed.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Origin" not in http.options("/fhir/Patient", headers={**other, **preflight}).headers
    assert "Access-Control-Allow-Credentials" not in allowed.headers


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


def take_into_the_team(app, holder, patient):
    """Let the holder's word open the record to the doctor."""
    ask(holder, scope="user/*.cruds patient/*.rs")
    fill(holder)
    token = redeem(app, back(holder)["code"]).json["access_token"]
    rpps = {"system": "urn:oid:1.2.250.1.71.4.2.1", "value": "8anne.martin"}
    team = {
        "resourceType": "CareTeam",
        "status": "active",
        "subject": {"reference": patient},
        "participant": [{"member": {"identifier": rpps, "type": "Practitioner"}}],
    }
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/fhir+json"}
    made = app.test_client().post("/fhir/CareTeam", data=json.dumps(team), headers=headers)
    assert made.status_code == 201, made.text


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


def test_a_person_sees_what_they_allowed_and_takes_it_back(app, server, holder, phone):
    """The list names the app; once it is withdrawn, no token of it holds, and the list is empty."""
    ask(holder, scope="patient/Observation.rs offline_access")
    fill(holder)
    tokens = redeem(app, back(holder)["code"]).json
    page = holder.get("/oauth/apps")
    assert "Mon carnet" in page.text
    family = re.search(r'name="app" value="([^"]+)"', page.text)[1]

    other = Visitor(app)
    other.get("/oauth/sign-in")
    assert other.send("/oauth/apps", app=family).headers["Location"] == "/oauth/sign-in"
    holder.get("/oauth/apps")
    assert holder.send("/oauth/apps", app="nothing.of.mine").status_code == 404
    assert fhir(app, tokens["access_token"], "Observation").status_code == 200

    holder.get("/oauth/apps")
    holder.send("/oauth/apps", app=family)
    assert fhir(app, tokens["access_token"], "Observation").status_code == 401
    refresh = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    answer = app.test_client().post("/oauth/token", data=urlencode(refresh), content_type=FORM)
    assert answer.json["error"] == "invalid_grant"
    assert "Mon carnet" not in holder.follow().text


def test_online_access_ends_with_the_session(app, holder, phone):
    """While the person is signed in the app refreshes; once they have signed out it does not."""
    ask(holder, scope="patient/Observation.rs online_access")
    fill(holder)
    token = redeem(app, back(holder)["code"]).json["refresh_token"]

    def refresh():
        body = urlencode({"grant_type": "refresh_token", "refresh_token": token, "client_id": "phone"})
        return app.test_client().post("/oauth/token", data=body, content_type=FORM).json

    token = refresh()["refresh_token"]
    holder.get("/oauth/sign-in/done")
    holder.send("/oauth/sign-out")
    assert refresh()["error"] == "invalid_grant"


def test_every_problem_of_an_answer_has_its_words():
    """In both languages."""
    source = (Path(__file__).parents[3] / "fhir_dmp/service/answers.py").read_text()
    problems = set(re.findall(r'ProblemError\("([^"]+)"', source))

    assert problems
    for language in LANGUAGES:
        assert {f"authorize_{problem}" for problem in problems} <= set(texts(language))


IUA, IN_USE = "IHE.IUA.71", "IHE.BasicAudit.OAUTHaccessTokenUse.Comprehensive"


def told(auditor, *subtypes):
    """Return the AuditEvents of these subtypes, the latest first, once each meets what it claims."""
    found = auditor.get(f"/AuditEvent?date=ge2000&subtype={','.join(subtypes)}&_count=100").json
    events = [entry["resource"] for entry in found.get("entry", ())]
    assert [problem for event in events for problem in claimed(event, FACTS)] == []
    return events


def profiles(event):
    """Return the profiles that the event claims, by the last part of their URLs."""
    return [url.rpartition("/")[2] for url in event["meta"].get("profile", ())]


def agent(event, code):
    """Return the event's agent of this type."""
    return next(each for each in event["agent"] if each["type"]["coding"][0]["code"] == code)


def test_a_real_sign_in_and_authorization_leave_events_that_meet_their_profiles(app, auditor, holder, phone, patient):
    """Sign-in, decision, token and what it opened, over HTTP; a wrong password, a spoilt code and a dead token claim nothing."""
    ask(holder, scope="openid launch/patient patient/Patient.rs offline_access")
    fill(holder)
    code = back(holder)["code"]
    refused = redeem(app, code, code_verifier=VERIFIER[::-1])
    token = redeem(app, code).json["access_token"]
    answers = [fhir(app, token, patient), fhir(app, token, f"Patient?_id={patient.partition('/')[2]}")]
    stranger = Visitor(app)
    stranger.get("/oauth/sign-in")
    stranger.send(login="zoe.petit", password="not this one")
    assert (refused.status_code, [each.status_code for each in answers], fhir(app, "x", patient).status_code) == (
        400,
        [200, 200],
        401,
    )

    missed, entered = told(auditor, "login")
    assert (entered["outcome"], missed["outcome"]) == ("0", "8")
    assert agent(entered, "IRCP")["who"]["identifier"]["value"] == NUMBER
    [decided] = told(auditor, "authorize")
    assert agent(decided, "IRCP")["who"]["reference"] == patient
    tokens = [
        event for event in told(auditor, "ITI-71") if agent(event, "110150")["who"]["identifier"]["value"] == "phone"
    ]
    assert [(event["outcome"], profiles(event)) for event in tokens] == [("0", [IUA]), ("8", [])]
    [opened] = told(auditor, "read")
    assert profiles(opened) == ["IHE.BasicAudit.PatientRead", IN_USE]
    [shut] = told(auditor, "get")
    assert (shut["outcome"], profiles(shut)) == ("8", [])
    looks = [event for event in told(auditor, "search-type") if patient in json.dumps(event["entity"])]
    found = next(event for event in looks if "110101" not in json.dumps(event["subtype"]))
    assert profiles(found) == ["IHE.BasicAudit.PatientQuery", IN_USE]
    jti = agent(opened, "IRCP")["policy"]
    assert jti == agent(found, "IRCP")["policy"]
    assert jti[0].startswith("urn:ietf:params:oauth:jti:")


def test_no_page_names_a_record_while_the_log_cannot_be_written(app, holder, doctor, phone, patient, monkeypatch):
    """Neither the list of records to choose from, nor the one that was found by its number: 503, and no name."""
    take_into_the_team(app, holder, patient)
    page = ask(doctor, scope="launch/patient patient/Patient.rs")
    assert "Petit" in unescape(page.text)

    def fail(self, *_):
        raise Unrecorded("The log cannot be written.")

    monkeypatch.setattr(MongoStore, "record", fail)
    monkeypatch.setattr(MongoStore, "commit", fail)
    sought = fill(doctor, patient=None, ins=NUMBER, emergency="1", reason="court")
    offered = ask(doctor, scope="launch/patient patient/Patient.rs")

    for page in (sought, offered):
        assert page.status_code == 503, page.text
        assert "Petit" not in unescape(page.text)


def test_a_page_that_shows_something_of_a_record_leaves_its_event(auditor, server, holder, doctor, phone, patient):
    """A doctor who is shown whose record it is has read it, before any token is made; who is shown their own account has not."""
    before = len(told(auditor, "read"))
    ask(holder, scope="launch/patient patient/Patient.rs")
    assert "Zoé" in holder.page.text
    holder.get("/oauth/apps")
    assert len(told(auditor, "read")) == before
    assert not [event for event in told(auditor, "search-type") if patient in json.dumps(event["entity"])]

    ask(doctor, scope="launch/patient patient/Patient.rs")
    fill(doctor, ins=NUMBER, emergency="1", reason="court")
    assert "Petit" in doctor.page.text
    searched = next(event for event in told(auditor, "search-type") if patient in json.dumps(event["entity"]))
    assert agent(searched, "IRCP")["who"]["reference"] == "Practitioner/p1"

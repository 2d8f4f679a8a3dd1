"""What authorizing an app leaves in the log: events that meet their profiles, before any page shows whose record it is."""

from __future__ import annotations

import json
from html import unescape

from fhir_dmp.errors import Unrecorded
from fhir_dmp.stores.mongo.store import MongoStore
from tests.balp import claimed
from tests.balp_facts import FACTS
from tests.http.oauth.people import NUMBER, ask, back, fhir, fill, redeem, take_into_the_team
from tests.oauth_world import VERIFIER
from tests.sign_in_world import Visitor

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

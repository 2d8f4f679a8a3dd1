"""Acts of people, apps and operators say whose they are: who acted, whose account it was, which client, in whose record."""

from __future__ import annotations

import json

import pyotp
import pytest

from fhir_dmp.errors import NotFound, Unrecorded
from fhir_dmp.oauth.errors import InvalidRequest
from fhir_dmp.service.accounts import NewAccount
from fhir_dmp.service.clients import NewClient
from fhir_dmp.store.accounts import Represented, Situation
from fhir_dmp.stores.mongo.store import MongoStore
from tests.balp import claimed
from tests.balp_facts import FACTS
from tests.http.conftest import register
from tests.http.oauth.people import INS, NUMBER, ask, back, fill, redeem
from tests.log_rows import rows_of
from tests.oauth_world import APP_SCOPES, CALLBACK, authorize, post
from tests.sign_in_world import HOSPITAL, PASSWORD, Visitor


@pytest.fixture
def log(server):
    """A function that returns the rows of the log that are new since it was last called."""
    known = set()

    def new():
        rows = [json.loads(row.body) for row in rows_of(server.store.log)]
        found = sorted((row for row in rows if row["id"] not in known), key=lambda row: row["recorded"])
        known.update(row["id"] for row in found)
        return found

    new()
    return new


def found(auditor, query):
    """Return the AuditEvents that an auditor finds."""
    bundle = auditor.get(f"/AuditEvent?date=ge2000&{query}").json
    return [entry["resource"] for entry in bundle.get("entry", ())]


def test_who_represents_somebody_is_told_in_that_record(server, operator, holder, patient, feed, auditor):
    """An operator ties an account to a child's record: the child's journal says so, and whose account it is."""
    child = f"Patient/{feed.post('/Patient', {'resourceType': 'Patient'}).json['id']}"
    server.accounts.represent("zoe.petit", Represented("RelatedPerson/r", child, "Léo"), operator)

    [event] = found(auditor, f"patient={child}&subtype=account-represent")
    assert "(tester) a rattaché un compte au dossier d'autrui : Zoé Petit." in event["text"]["div"]
    assert event["entity"][0]["what"]["reference"] == child
    assert event["entity"][1]["what"]["identifier"] == {"system": INS, "value": NUMBER}
    assert found(auditor, f"agent={INS}|{NUMBER}&subtype=account-represent") == [event]
    assert found(auditor, f"patient={patient}&subtype=account-represent") == []


def test_what_becomes_of_an_account_stands_in_its_owners_record(server, operator, holder, patient, auditor):
    """Opened, changed, removed; what nobody could be given names nobody."""
    server.accounts.set_password("zoe.petit", "pomme ardoise virgule lundi", operator)
    server.accounts.remove("zoe.petit", operator)
    with pytest.raises(NotFound):
        server.accounts.remove("zoe.petit", operator)

    acts = [event["subtype"][0]["code"] for event in found(auditor, f"patient={patient}&agent={INS}|{NUMBER}")]
    assert [act for act in acts if act.startswith("account")] == ["account-remove", "account-password", "account-add"]


def test_a_client_is_found_by_its_own_name_among_those_who_took_part(server, operator, auditor):
    """Registered, removed, and asked for a token in vain: beside the command line and who sat at it."""
    server.clients.add(NewClient("pad", "public", "app", APP_SCOPES, redirect_uris=(CALLBACK,)), operator)
    server.clients.remove("pad", operator)
    with pytest.raises(NotFound):
        server.clients.remove("pad", operator)

    events = found(auditor, "agent=pad")
    assert [event["subtype"][0]["code"] for event in events] == ["client-remove", "client-remove", "client-add"]
    for event in events:
        names = [agent["who"]["identifier"]["value"] for agent in event["agent"]]
        assert names[0] == "command-line"
        assert (names[-1], event["agent"][-1]["requestor"]) == ("pad", False)
        assert " : pad" in event["text"]["div"]


def test_a_token_that_no_operator_gets_stands_in_the_record_that_it_was_to_be_for(server, operator, patient, auditor):
    """Asked for an emergency, which no system claims; beside the client in whose name."""
    with pytest.raises(InvalidRequest):
        server.tokens.operator_token("feed", (), "tester", operator, patient=patient, purpose="BTG")

    [event] = found(auditor, f"patient={patient}&subtype=operator-token&outcome=8&agent=feed")
    assert asked_by(event)["who"]["identifier"]["value"] == "tester"


def test_who_signs_in_is_named_as_people_call_them(holder, auditor):
    """In words, and as the one who asked."""
    holder.get("/oauth/sign-in/done")
    holder.send("/oauth/sign-out")

    for event in found(auditor, "subtype=login,logout"):
        assert "le titulaire du compte Zoé Petit s'est" in event["text"]["div"]
        assert [agent["name"] for agent in event["agent"] if agent["requestor"]] == ["Zoé Petit"]


def asked_by(event):
    """Return who asked for what the event tells."""
    [person] = [agent for agent in event["agent"] if agent["requestor"]]
    return person


def test_an_emergency_that_a_doctor_may_not_claim_stands_in_the_record(doctor, phone, patient, auditor, server):
    """Who it was, for which structure, why they said, in whose record; the written reason lies sealed beside it."""
    ask(doctor, scope="launch/patient patient/Patient.rs", purpose_of_use="ETREAT")
    fill(doctor, ins=NUMBER, emergency="1", reason="Patient inconscient, allergies ?")
    assert back(doctor)["error"] == "access_denied"

    [event] = found(auditor, f"patient={patient}&subtype=authorize")
    assert (event["outcome"], event["purposeOfEvent"][0]["coding"][0]["code"]) == ("8", "ETREAT")
    assert (asked_by(event)["who"]["reference"], asked_by(event)["name"]) == ("Practitioner/p1", "Dr Anne Martin")
    assert HOSPITAL.organization.endswith(event["agent"][3]["who"]["identifier"]["value"])
    assert found(auditor, "agent=Practitioner/p1&purpose=ETREAT&outcome=8") == [event]
    assert "inconscient" not in json.dumps(event)
    [sealed] = [row for row in rows_of(server.store.log) if json.loads(row.body)["id"] == event["id"]]
    assert (b"inconscient" in sealed.body, b"inconscient" in sealed.secret) == (False, True)


IN_VAIN = [
    ({"reason": ""}, "reason"),
    ({"reason": "VIH?"}, "reason"),
    ({"reason": "Patient inconscient, VIH ?", "scope": None}, "nothing-left"),
]


@pytest.mark.parametrize(("sent", "problem"), IN_VAIN)
def test_an_emergency_that_is_claimed_in_vain_stands_in_the_record(
    doctor, phone, patient, auditor, server, sent, problem
):
    """Each time that the question is put again: who claimed it, in whose record; a reason that is too short lies sealed, too."""
    ask(doctor, scope="launch/patient patient/Patient.rs")
    for _ in range(2):
        assert fill(doctor, patient=patient, ins=None, emergency="1", **sent).status_code == 400

    events = found(auditor, f"patient={patient}&subtype=authorize&purpose=BTG")
    assert [(event["outcome"], asked_by(event)["name"]) for event in events] == [("8", "Dr Anne Martin")] * 2
    assert {event["outcomeDesc"] for event in events} == {
        f"invalid_request; An emergency was claimed and not granted: {problem}."
    }
    assert "VIH" not in json.dumps(events)
    held = [row.secret or b"" for row in rows_of(server.store.log) if json.loads(row.body)["id"] == events[0]["id"]]
    assert [b"VIH" in each for each in held] == ["VIH" in sent["reason"]]


def test_a_record_that_is_found_by_its_number_is_told_that_an_emergency_was_claimed_in_it(
    doctor, phone, patient, auditor
):
    """By an app that asks for nothing else as well; then what was granted stands beside it."""
    ask(doctor, scope="launch/patient patient/Patient.rs", purpose_of_use="BTG")
    assert fill(doctor, ins=NUMBER).status_code == 400
    fill(doctor, emergency="1", reason="Patient inconscient, allergies ?")
    assert "code" in back(doctor)

    events = found(auditor, f"patient={patient}&purpose=BTG")
    assert [event["outcome"] for event in events] == ["0", "8"]


def test_a_token_by_which_an_emergency_opens_a_record_stands_in_its_journal(app, doctor, phone, patient, auditor):
    """IHE's event of it, of which the record's holder was told nothing: when it was fetched, and by which app."""
    ask(doctor, scope="launch/patient patient/Patient.rs", purpose_of_use="BTG")
    fill(doctor, ins=NUMBER, emergency="1", reason="Patient inconscient, allergies ?")
    assert redeem(app, back(doctor)["code"]).status_code == 200

    [event] = found(auditor, f"patient={patient}&subtype=ITI-71")
    assert (event["outcome"], event["purposeOfEvent"][0]["coding"][0]["code"]) == ("0", "BTG")
    assert "Dr Anne Martin" in event["text"]["div"]
    assert claimed(event, FACTS) == []


def test_a_question_that_is_put_again_without_an_emergency_is_no_event(doctor, phone, patient, log):
    """Nothing was claimed: who chooses no record is asked for one."""
    ask(doctor, scope="launch/patient patient/Patient.rs")
    log()

    assert fill(doctor).status_code == 400
    assert [row["act"] for row in log()] == []


def test_an_emergency_that_is_claimed_in_vain_is_asked_for_again_only_once_it_is_told(
    doctor, phone, patient, monkeypatch
):
    """A log that cannot be written stops the page."""
    ask(doctor, scope="launch/patient patient/Patient.rs")

    def fail(self, *_):
        raise Unrecorded("The log cannot be written.")

    monkeypatch.setattr(MongoStore, "record", fail)
    assert fill(doctor, emergency="1").status_code == 503


def test_an_emergency_that_a_patient_claims_names_them(holder, phone, patient, auditor):
    """By the app, or by a form that they made up."""
    ask(holder, purpose_of_use="BTG")
    fill(holder, emergency="1", reason="je me sens mal ce soir")
    ask(holder)
    fill(holder, emergency="1", reason="je me sens mal ce soir")
    assert back(holder)["error"] == "access_denied"

    events = found(auditor, f"patient={patient}&purpose=BTG&outcome=8")
    assert [asked_by(event)["who"]["reference"] for event in events] == [patient, patient]


def test_who_says_no_is_told_by_name_and_in_their_record(holder, doctor, phone, patient, auditor):
    """The patient, of their own; the doctor, of none."""
    ask(holder)
    fill(holder, answer="deny")
    ask(doctor, scope="launch/patient patient/Patient.rs")
    fill(doctor, answer="deny")

    [event] = found(auditor, f"patient={patient}&subtype=authorize")
    assert (event["outcome"], asked_by(event)["who"]["reference"]) == ("8", patient)
    assert "Zoé Petit (le patient) par phone a refusé une application," in event["text"]["div"]
    other, _ = found(auditor, "subtype=authorize")
    assert asked_by(other)["who"]["reference"] == "Practitioner/p1"


def test_nobody_puts_a_line_into_a_record_that_is_not_theirs_to_choose(holder, phone, feed, auditor):
    """A patient who answers with another's record is told by name, and not there."""
    other = f"Patient/{feed.post('/Patient', {'resourceType': 'Patient'}).json['id']}"
    ask(holder)
    fill(holder, answer="deny", patient=other)

    assert found(auditor, f"patient={other}&subtype=authorize") == []
    [event] = found(auditor, "subtype=authorize")
    assert asked_by(event)["name"] == "Zoé Petit"


def test_a_launch_that_was_refused_stands_in_the_record_that_it_named(app, holder, patient, phone, feed, auditor):
    """Who opened the app in a record that is neither theirs nor of whom they represent."""
    other = f"Patient/{feed.post('/Patient', {'resourceType': 'Patient'}).json['id']}"
    token = register(app, "ehr-two")._token
    asked = {"app": "phone", "patient": other}
    launch = post(app.test_client(), "launch", {"Authorization": f"Bearer {token}"}, **asked).json["launch"]
    ask(holder, scope="launch patient/Patient.rs", launch=launch)
    assert back(holder)["error"] == "access_denied"

    [event] = found(auditor, f"patient={other}&subtype=authorize")
    assert (event["outcome"], asked_by(event)["who"]["reference"]) == ("8", patient)


def test_a_flood_from_an_address_hides_no_refusal_of_who_is_signed_in(server, doctor, phone, patient, log, monkeypatch):
    """Strangers' refusals are counted from some number on; that of a doctor who claims an emergency is told."""
    monkeypatch.setattr(server.refusals, "_per_minute", 2)
    for _ in range(3):
        last = doctor.http.get("/oauth/authorize?client_id=nobody", **doctor.options)
    assert last.status_code == 429
    ask(doctor, scope="launch/patient patient/Patient.rs", purpose_of_use="ETREAT")
    fill(doctor, ins=NUMBER, emergency="1", reason="Patient inconscient, allergies ?")
    assert back(doctor)["error"] == "access_denied"

    assert [row["for"] for row in log() if row.get("purpose") == "ETREAT" and row["outcome"] == "8"] == [[patient]]


def test_who_is_not_signed_in_is_named_by_nothing_that_they_claim(app, phone, log):
    """Nobody is asked, and nobody is told of."""
    app.test_client().get(f"/oauth/authorize?{authorize(prompt='none', purpose_of_use='BTG').decode()}")

    [row] = log()
    assert (row["act"], row["outcome"], row["agent"]) == ("authorize", "8", {"client": "phone"})
    assert not {"person", "purpose", "for"} & set(row)


def a_step_of_nobody(visitor):
    """A code, though no password was given."""
    visitor.get("/oauth/sign-in")
    return visitor.send("/oauth/sign-in/code", code="123456")


def a_situation_of_nobody(visitor):
    """A situation of exercise, though nobody is signing in."""
    visitor.get("/oauth/sign-in")
    return visitor.send("/oauth/sign-in/situation", situation="0")


def a_provider_that_is_none(visitor):
    """Off to a provider that nobody has heard of."""
    visitor.get("/oauth/sign-in")
    return visitor.send("/oauth/sign-in/with/nope")


def a_form_that_is_too_long(visitor):
    """More than a form may hold."""
    visitor.get("/oauth/sign-in")
    return visitor.send("/oauth/sign-in", login="x" * 100_000)


STEPS = [
    (a_step_of_nobody, 400, ("login", "invalid")),
    (lambda visitor: visitor.get("/oauth/sign-in/code"), 400, ("login", "invalid")),
    (a_situation_of_nobody, 400, ("login", "invalid")),
    (lambda visitor: visitor.get("/oauth/sign-in/situation"), 400, ("login", "invalid")),
    (lambda visitor: visitor.get("/oauth/sign-in/from/nope?code=SECRET&state=SECRET"), 400, ("login", "invalid")),
    (a_provider_that_is_none, 404, ("login", "not-found")),
    (a_form_that_is_too_long, 413, ("post", "too-long")),
    (lambda visitor: visitor.http.put("/oauth/sign-in"), 405, ("put", "not-supported")),
    (lambda visitor: visitor.http.post("/oauth/jwks"), 405, ("post", "not-supported")),
    (lambda visitor: visitor.http.delete("/healthz"), 405, ("delete", "not-supported")),
]


@pytest.mark.parametrize(("step", "status", "told"), STEPS)
def test_each_step_that_is_refused_leaves_one_event(app, log, step, status, told):
    """Of strangers too, and without anything that they sent as a proof."""
    assert step(Visitor(app)).status_code == status

    [row] = log()
    assert (row["act"], row["error"]["code"]) == told
    assert "SECRET" not in json.dumps(row)


def test_a_flood_of_refused_steps_is_counted_as_any_other(app, server, log, monkeypatch):
    """Those beyond the bound of an address leave no event of their own, and are answered so."""
    monkeypatch.setattr(server.refusals, "_per_minute", 2)
    visitor = Visitor(app)
    statuses = [visitor.get("/oauth/sign-in/code").status_code for _ in range(3)]
    statuses.append(visitor.http.put("/oauth/sign-in", **visitor.options).status_code)

    assert statuses == [400, 400, 429, 429]
    assert len(log()) == 2


def test_who_takes_back_what_is_not_theirs_is_told_by_name(holder, phone, log):
    """An authorization of another, or of nobody's."""
    ask(holder)
    assert holder.send("/oauth/apps", app="another.one").status_code == 404

    [row] = log()
    assert (row["act"], row["error"]["code"], row["person"]["name"]) == ("revoke", "not-found", "Zoé Petit")


def test_a_situation_that_is_none_of_theirs_names_whose_sign_in_it_was(app, server, operator, log):
    """The password and the code were theirs."""
    here, there = Situation("10", "SM26", "urn:x|1", "Ici"), Situation("10", "SM26", "urn:x|2", "Là")
    new = NewAccount("professional", "Dr No", "Practitioner/n", "urn:x|n", "dr.no", PASSWORD, (here, there))
    account = server.accounts.add(new, operator)
    secret = server.accounts.new_totp(account.id, operator).uri.partition("secret=")[2].partition("&")[0]
    visitor = Visitor(app)
    visitor.sign_in("dr.no")
    visitor.follow()
    visitor.send(code=pyotp.TOTP(secret).now())
    visitor.follow()
    log()

    assert visitor.send(situation="9").status_code == 400
    [row] = log()
    assert (row["act"], row["outcome"], row["account"]["name"]) == ("login", "8", "Dr No")

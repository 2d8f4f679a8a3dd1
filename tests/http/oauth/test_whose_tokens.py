"""Acts on tokens say whose they are, in whose record, and what was asked; nothing that proves anything stands in the log."""

from __future__ import annotations

import base64
import json
import re

import pytest

from fhir_dmp.oauth.clients import INTROSPECTION_SCOPE
from fhir_dmp.oauth.form import CUT, shown
from fhir_dmp.service.accounts import NewAccount
from fhir_dmp.service.clients import NewClient
from fhir_dmp.store.accounts import Represented
from tests.balp import claimed
from tests.balp_facts import FACTS
from tests.http.conftest import register
from tests.http.oauth.people import INS, NUMBER, ask, back, fill, redeem
from tests.http.oauth.test_whose_acts import asked_by, found, log
from tests.log_rows import rows_of
from tests.oauth_world import APP_SCOPES, CALLBACK, VERIFIER, post, refresh
from tests.sign_in_world import PASSWORD, Visitor

__all__ = ["log"]

SCOPE = "openid launch/patient patient/Patient.rs offline_access"


@pytest.fixture
def granted(app, holder, phone, log):
    """What the holder's app was given; the log begins behind it."""
    ask(holder, scope=SCOPE)
    fill(holder)
    tokens = redeem(app, back(holder)["code"]).json
    log()
    return tokens


@pytest.fixture
def http(app):
    """A client of the application."""
    return app.test_client()


def bearing(client):
    """Return the header by which a system asks."""
    return {"Authorization": f"Bearer {client._token}"}


def jti_of(token):
    """Return the id of an access token."""
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["jti"]


def test_a_refresh_token_that_is_shown_twice_names_whose_authorization_ends(http, granted, patient, log, auditor):
    """Whose account, in whose journal; who shows it is what they say: an app."""
    refresh(http, granted["refresh_token"])
    log()
    assert refresh(http, granted["refresh_token"]).json["error"] == "invalid_grant"

    [row] = log()
    assert (row["agent"], row["for"]) == ({"client": "phone"}, [patient])
    assert (row["account"]["identifier"], row["account"]["name"]) == (f"{INS}|{NUMBER}", "Zoé Petit")
    [event] = found(auditor, f"patient={patient}&subtype=ITI-71&outcome=8")
    assert [entity["what"].get("display") for entity in event["entity"] if "what" in entity] == [None, "Zoé Petit"]
    assert event["entity"][0]["what"]["reference"] == patient


def test_a_token_that_another_app_shows_names_the_app_that_it_was_made_for(http, server, operator, granted, log):
    """To refresh it, or to revoke it: it was taken from somewhere."""
    new = NewClient("thief", "public", "app", APP_SCOPES, redirect_uris=(CALLBACK,))
    server.clients.add(new, operator)
    log()
    tokens = [granted["refresh_token"], granted["access_token"]]
    post(http, "token", grant_type="refresh_token", refresh_token=tokens[0], client_id="thief")
    for token in tokens:
        assert post(http, "revoke", token=token, client_id="thief").status_code == 400

    rows = log()
    assert [(row["agent"]["client"], row["client"], row["account"]["name"]) for row in rows] == [
        ("thief", "phone", "Zoé Petit")
    ] * 3
    assert rows[2]["token"] == jti_of(granted["access_token"])


def test_an_app_that_gives_a_refresh_token_back_does_so_for_a_person(http, granted, patient, log):
    """As with an access token, of which the id is known besides."""
    post(http, "revoke", token=granted["refresh_token"], client_id="phone")

    [row] = log()
    assert (row["act"], row["outcome"], row["agent"]["client"]) == ("revoke", "0", "phone")
    assert (row["person"]["resource"], row["purpose"], row["for"]) == (patient, "PATRQT", [patient])


def test_an_introspection_tells_which_token_whose_and_in_whose_record(app, http, granted, patient, log, auditor):
    """Of one that holds, of one that was revoked, which is told to nobody but the log, and of a refresh token; of junk nothing."""
    asks = bearing(register(app, "resource-server", scopes=("system/*.rs", INTROSPECTION_SCOPE)))
    log()
    assert post(http, "introspect", asks, token=granted["access_token"]).json["active"] is True
    assert post(http, "introspect", asks, token=granted["refresh_token"]).json["active"] is True
    post(http, "revoke", token=granted["access_token"], client_id="phone")
    assert post(http, "introspect", asks, token=granted["access_token"]).json == {"active": False}
    assert post(http, "introspect", asks, token="junk").json == {"active": False}

    access, opaque, revoked, junk = [row for row in log() if row["act"] == "introspect"]
    for row in (access, opaque, revoked):
        assert (row["agent"]["client"], row["client"]) == ("resource-server", "phone")
        assert (row["account"]["name"], row["for"]) == ("Zoé Petit", [patient])
    assert access["token"] == revoked["token"] == jti_of(granted["access_token"])
    assert not {"token", "client", "account", "for"} & (set(junk) | {"token"} & set(opaque))
    event = found(auditor, f"patient={patient}&subtype=introspect")[-1]
    named = [entity["what"].get("identifier", {}).get("value") for entity in event["entity"] if "what" in entity]
    assert f"urn:ietf:params:oauth:jti:{access['token']}" in named


def test_what_is_told_of_a_secret_sign_in_is_hidden_from_representatives(app, http, server, operator, feed, phone, log):
    """A refresh token that was used before, given for a minor's secret authorization, stands in the record and is shown to no parent."""
    tree = {"resourceType": "Patient", "active": True}
    record = f"Patient/{feed.post('/Patient', tree).json['id']}"
    child = NewAccount("patient", "Léo", record, "urn:x|leo", "leo.petit", PASSWORD, birth_date="2012-01-01")
    server.accounts.add(child, operator)
    visitor = Visitor(app)
    visitor.sign_in("leo.petit", secret="1")
    ask(visitor, scope=SCOPE)
    fill(visitor)
    tokens = redeem(app, back(visitor)["code"]).json
    refresh(http, tokens["refresh_token"])
    log()
    refresh(http, tokens["refresh_token"])

    [row] = log()
    assert (row["for"], row["hidden"]) == ([record], True)


def test_a_launch_stands_in_the_record_that_it_opens(app, http, phone, patient, log, auditor):
    """Who may not launch is told there, too."""
    for name, role in (("ehr-two", "ehr"), ("lab-two", "lab")):
        post(http, "launch", bearing(register(app, name, role=role)), app="phone", patient=patient)

    refused, done = found(auditor, f"patient={patient}&subtype=launch")
    assert (refused["outcome"], done["outcome"]) == ("8", "0")
    assert [agent["who"]["identifier"]["value"] for agent in (refused["agent"][0], done["agent"][0])] == [
        "lab-two",
        "ehr-two",
    ]
    assert all("jti" in asked_by(event)["policy"][0] for event in (refused, done))


@pytest.mark.parametrize("whose", ["own", "a child's"])
def test_who_takes_an_authorization_back_is_who_asks(
    app, server, operator, holder, phone, feed, patient, auditor, whose
):
    """The person, in the record that it opened; the app takes part without having asked."""
    record = patient
    if whose != "own":
        record = f"Patient/{feed.post('/Patient', {'resourceType': 'Patient'}).json['id']}"
        server.accounts.represent("zoe.petit", Represented("RelatedPerson/r", record, "Léo"), operator)
    ask(holder, scope=SCOPE)
    fill(holder, patient=record)
    redeem(app, back(holder)["code"])
    page = holder.get("/oauth/apps")
    holder.send("/oauth/apps", app=re.search(r'name="app" value="([^"]+)"', page.text)[1])

    [event] = found(auditor, f"patient={record}&subtype=revoke")
    assert asked_by(event)["name"] == "Zoé Petit"
    assert event["agent"][0]["who"]["identifier"]["value"] == "phone"
    assert "par phone a mis fin à un accès" in event["text"]["div"]


def test_what_was_asked_of_the_token_endpoint_is_told_without_what_proves_it(app, http, holder, phone, server, auditor):
    """As IHE IUA has it, the request; each grant by its type; of what proves something the names alone, in no part of the log."""
    ask(holder, scope=SCOPE)
    fill(holder)
    code = back(holder)["code"]
    first = redeem(app, code).json
    second = refresh(http, first["refresh_token"]).json
    wrong = {"client_secret": "SECRET-1", "password": "SECRET-2", "SECRET-3": "x"}
    post(http, "token", grant_type="password", client_id="phone", **wrong)
    post(http, "introspect", token=second["access_token"], client_id="phone")

    events = found(auditor, "subtype=ITI-71")
    assert [problem for event in events for problem in claimed(event, FACTS)] == []
    asked = [base64.b64decode(event["entity"][-1]["query"]).decode() for event in reversed(events)]
    code_grant = f"grant_type=authorization_code&code={CUT}&client_id=phone&redirect_uri=https://app.example/cb"
    assert [each.partition("POST /oauth/token\n")[2] for each in asked] == [
        f"{code_grant}&code_verifier={CUT}",
        f"grant_type=refresh_token&refresh_token={CUT}&client_id=phone",
        f"grant_type=password&client_id=phone&client_secret={CUT}&password={CUT}&{CUT}={CUT}",
    ]
    details = [{each["type"]: each["valueString"] for each in event["entity"][-1]["detail"]} for event in events]
    assert [each["grant_type"] for each in details] == ["password", "refresh_token", "authorization_code"]
    assert details[1]["scope"] == SCOPE
    whole = b"".join(row.body + (row.secret or b"") for row in rows_of(server.store.log)).decode("utf-8", "replace")
    named = ("access_token", "refresh_token", "id_token")
    secrets = [code, VERIFIER, "SECRET", *(given[name] for given in (first, second) for name in named if name in given)]
    assert [secret for secret in secrets if secret in whole] == []


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (
            "grant_type=client_credentials&client_assertion=a.b.c",
            f"grant_type=client_credentials&client_assertion={CUT}",
        ),
        ("scope=patient/Observation.rs?code=hiv+openid", "scope=patient/Observation.rs%3Fcode%3Dhiv%20openid"),
        ("client_id=a%0AIf-None-Exist:+b%26c", "client_id=a%0AIf-None-Exist:%20b%26c"),
        ("eyJhbGciOiJFUzI1NiJ9.e30.x", f"{CUT}={CUT}"),
        ('{"client_secret": "x"}', f"{CUT}={CUT}"),
        ("a=1&" * 31, ""),
        ("", ""),
    ],
)
def test_a_form_is_shown_with_the_names_of_all_and_the_values_of_what_proves_nothing(sent, told):
    """On one line, whatever was sent."""
    assert shown(sent.encode()) == told

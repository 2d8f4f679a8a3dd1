"""People with browsers at the authorization endpoint of an app, and what they do there."""

from __future__ import annotations

import json
import re
from html import unescape
from urllib.parse import parse_qsl, urlencode, urlsplit

import pyotp
import pytest

from fhir_dmp.service.accounts import NewAccount
from fhir_dmp.service.clients import NewClient
from tests.http.conftest import register
from tests.oauth_world import APP_SCOPES, CALLBACK, FORM, VERIFIER, authorize
from tests.sign_in_world import HOSPITAL, PASSWORD, Visitor

INS = "urn:oid:1.2.250.1.213.1.4.10"
NUMBER = "279035121518989"


@pytest.fixture
def server(app):
    """The parts of the application."""
    return app.extensions["fhir_dmp"]


@pytest.fixture
def operator(server):
    """The context of somebody at the command line."""
    return server.operator_context("tester", "test")


@pytest.fixture
def feed(app):
    """The insurance feed, which opens records."""
    return register(app, "feed", role="insurance-feed")


@pytest.fixture
def patient(feed):
    """A record with its INS."""
    tree = {
        "resourceType": "Patient",
        "active": True,
        "identifier": [{"system": INS, "value": NUMBER}],
        "name": [{"family": "Petit", "given": ["Zoé"]}],
    }
    return f"Patient/{feed.post('/Patient', tree).json['id']}"


@pytest.fixture
def holder(app, server, operator, patient):
    """The browser of the record's holder, signed in."""
    server.accounts.add(NewAccount("patient", "Zoé Petit", patient, f"{INS}|{NUMBER}", "zoe.petit", PASSWORD), operator)
    visitor = Visitor(app, **{"Accept-Language": "fr"})
    visitor.sign_in()
    return visitor


def a_doctor(app, server, operator, situation=HOSPITAL, login="anne.martin"):
    """Return the browser of a professional, signed in."""
    account = server.accounts.add(
        NewAccount(
            kind="professional",
            name="Dr Anne Martin",
            resource="Practitioner/p1",
            identifier=f"urn:oid:1.2.250.1.71.4.2.1|8{login}",
            login=login,
            password=PASSWORD,
            situations=(situation,),
        ),
        operator,
    )
    uri = server.accounts.new_totp(account.id, operator).uri
    visitor = Visitor(app, **{"Accept-Language": "fr"})
    visitor.sign_in(login)
    visitor.follow()
    visitor.send(code=pyotp.TOTP(uri.partition("secret=")[2].partition("&")[0]).now())
    assert visitor.page.status_code == 303, visitor.page.text
    return visitor


@pytest.fixture
def doctor(app, server, operator):
    """The browser of a doctor, signed in."""
    return a_doctor(app, server, operator)


@pytest.fixture
def phone(server, operator):
    """A public app."""
    scopes = (*APP_SCOPES, "patient/Condition.cruds", "user/*.cruds")
    new = NewClient("phone", "public", "app", scopes, redirect_uris=(CALLBACK,), name="Mon carnet")
    return server.clients.add(new, operator)


def ask(visitor, **changed):
    """Open the authorization endpoint."""
    return visitor.get(f"/oauth/authorize?{authorize(**changed).decode()}")


def fill(visitor, **fields):
    """Send the form as it is shown, with what the person changed; a field that is None is left out."""
    text = visitor.page.text
    ticket = unescape(re.search(r'name="ticket" value="([^"]+)"', text)[1])
    scopes = [unescape(each) for each in re.findall(r'name="scope" type="checkbox" value="([^"]+)" checked', text)]
    own = re.search(r'name="patient" type="(?:radio|hidden)" value="([^"]+)"(?: checked)?', text) or re.search(
        r'type="hidden" name="patient" value="([^"]+)"', text
    )
    sent = {"ticket": ticket, "scope": scopes, "answer": "allow", "patient": own[1] if own else None, **fields}
    return visitor.send("/oauth/authorize/decision", **{name: each for name, each in sent.items() if each is not None})


def back(visitor):
    """Return the parameters with which the browser was led back to the app."""
    assert visitor.page.status_code == 303, visitor.page.text
    assert visitor.page.headers["Location"].startswith(f"{CALLBACK}?")
    return dict(parse_qsl(urlsplit(visitor.page.headers["Location"]).query))


def redeem(app, code, **changed):
    """Redeem a code as the public app."""
    fields = {"grant_type": "authorization_code", "code": code, "client_id": "phone"}
    fields |= {"redirect_uri": CALLBACK, "code_verifier": VERIFIER, **changed}
    return app.test_client().post("/oauth/token", data=urlencode(fields), content_type=FORM)


def fhir(app, token, path):
    """Read with a person's token."""
    return app.test_client().get(f"/fhir/{path}", headers={"Authorization": f"Bearer {token}"})


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

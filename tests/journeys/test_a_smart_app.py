"""An app that other people's library drives, in a real browser: fhirclient.js from npm, in Debian's Chromium.

https://docs.smarthealthit.org/client-js/
"""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode

import pyotp
import pytest
import requests
from playwright.sync_api import sync_playwright

from fhir_dmp.fhir.labels import SYSTEM as LABELS

APP = Path(__file__).parents[1] / "smart_app"
LIBRARY = Path(__file__).parents[1] / "npm/node_modules/fhirclient/build/fhir-client.js"
INS = "urn:oid:1.2.250.1.213.1.4.10"
PASSWORD = "cheval agrafe pile correct"


class _Files(SimpleHTTPRequestHandler):
    """Serves the pages of the app, and the library beside them."""

    def translate_path(self, path):
        if path.partition("?")[0] == "/fhir-client.js":
            return str(LIBRARY)
        return super().translate_path(path)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def app():
    """The address of the app's pages: an origin of its own."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=APP)) as pages:
        thread = threading.Thread(target=pages.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{pages.server_port}"
        pages.shutdown()
        thread.join()


def feeding(server):
    """Return what has the insurance feed create a resource, and tells its reference."""
    headers = {"Authorization": f"Bearer {server.token('feed')}", "Content-Type": "application/fhir+json"}

    def post(tree):
        made = requests.post(
            f"{server.fhir}/{tree['resourceType']}", data=json.dumps(tree), headers=headers, timeout=30
        )
        assert made.status_code == 201, made.text
        return f"{tree['resourceType']}/{made.json()['id']}"

    return post


@pytest.fixture(scope="module")
def record(server, app):
    """A record with two observations, the app, and who signs in: the holder and a doctor. Returns patient, encounter and TOTP."""
    server.register("feed", role="insurance-feed")
    post = feeding(server)
    number = {"system": INS, "value": "279035121518989"}
    patient = post({"resourceType": "Patient", "active": True, "identifier": [number], "name": [{"family": "Petit"}]})
    about = {"subject": {"reference": patient}}
    for text in ("hémoglobine", "glycémie"):
        post({"resourceType": "Observation", "status": "final", "code": {"text": text}, **about})
    encounter = post({"resourceType": "Encounter", "status": "in-progress", "class": {"code": "AMB"}, **about})
    server.command(
        *("client", "add", "phone", "--kind", "public", "--role", "app", "--name", "Mon carnet"),
        *("--scope", "openid fhirUser launch launch/patient offline_access patient/Patient.rs patient/Observation.rs"),
        *("--redirect-uri", f"{app}/app.html"),
    )
    _account(server, "zoe.petit", "patient", "Zoé Petit", patient, f"{INS}|279035121518989")
    told = _account(
        *(server, "anne.martin", "professional", "Dr Anne Martin", "Practitioner/p1"),
        "urn:oid:1.2.250.1.71.4.2.1|899700218896",
        *("--situation", "10,SM26,urn:oid:1.2.250.1.71.4.2.2|1750712184,Hôpital"),
    )
    secret = told.replace("\n", "").partition("secret=")[2].partition("&")[0]
    return patient, encounter, secret


def _account(server, login, kind, name, resource, identifier, *more):
    who = ("--kind", kind, "--name", name, "--resource", resource, "--identifier", identifier)
    return server.command("account", "add", login, *who, *more, typed=f"{PASSWORD}\n").stdout


@pytest.fixture
def page():
    """A page of a fresh browser that speaks English."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        context = browser.new_context(locale="en")
        yield context.new_page()
        browser.close()


def launch(page, app, server, **asked):
    """Let the app begin, and wait for what our server shows first."""
    page.goto(f"{app}/launch.html?{urlencode({'iss': server.fhir, **asked})}")
    page.wait_for_url(f"{server.url}/oauth/**")


def sign_in(page, login):
    """Fill in login and password."""
    page.get_by_label("Login").fill(login)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()


def outcome(page, app):
    """Return what the app tells, once it is back and done."""
    page.wait_for_url(f"{app}/app.html**")
    page.wait_for_selector("body[data-done=yes]")
    return json.loads(page.text_content("#told"))


def test_a_patient_lets_an_app_read_the_record(page, app, server, record):
    """Standalone launch: sign-in, consent, PKCE, tokens, records across origins, a rotated refresh token."""
    patient, _, _ = record
    scope = "openid fhirUser launch/patient offline_access patient/Patient.rs patient/Observation.rs"
    launch(page, app, server, scope=scope)
    sign_in(page, "zoe.petit")
    page.get_by_role("heading", name="Authorise an application").wait_for()
    assert "Mon carnet" in page.text_content("main")
    page.get_by_role("button", name="Allow").click()
    told = outcome(page, app)

    assert told == {
        "patient": patient.partition("/")[2],
        "encounter": None,
        "scope": scope,
        "fhirUser": patient,
        "name": "Petit",
        "observations": 2,
        "rotated": True,
        "again": patient.partition("/")[2],
        "beyond": 403,
    }


def test_an_ehr_opens_the_app_and_a_doctor_breaks_the_glass(page, app, server, record):
    """EHR launch: the record and the encounter come with it; the doctor states a reason, and no refresh token is given."""
    patient, encounter, secret = record
    headers = {"Authorization": f"Bearer {server.token('ehr-one')}"}
    form = {"app": "phone", "patient": patient, "encounter": encounter}
    launched = requests.post(f"{server.url}/oauth/launch", data=form, headers=headers, timeout=30).json()
    scope = "openid fhirUser launch offline_access patient/Patient.rs patient/Observation.rs"
    launch(page, app, server, scope=scope, launch=launched["launch"])
    sign_in(page, "anne.martin")
    page.get_by_label("One-time code").fill(pyotp.TOTP(secret).now())
    page.get_by_role("button", name="Continue").click()
    page.get_by_label("The person cannot express their will").check()
    page.get_by_role("button", name="Allow").click()
    assert "write the reason" in page.get_by_role("alert").text_content()
    page.get_by_label("Reason, in a few words").fill("Unconscious, allergies unknown.")
    page.get_by_role("button", name="Allow").click()
    told = outcome(page, app)

    assert (told["patient"], told["encounter"]) == (patient.partition("/")[2], encounter.partition("/")[2])
    assert (told["name"], told["observations"]) == ("Petit", 2)
    assert told["fhirUser"] == "Practitioner/p1"
    assert "offline_access" not in told["scope"]
    assert "rotated" not in told


@pytest.fixture(scope="module")
def child(server, record):
    """The record of a child with two observations, one of them the child's secret; the father, who has an account and no record."""
    post = feeding(server)
    born = datetime.now(UTC).date().replace(month=1, day=1) - timedelta(days=12 * 365)
    patient = post({"resourceType": "Patient", "birthDate": born.isoformat(), "name": [{"family": "Morel"}]})
    about = {"status": "final", "code": {"text": "x"}, "subject": {"reference": patient}}
    secret = {"security": [{"system": LABELS, "code": "INVISIBLE_REPRESENTANTS_LEGAUX"}]}
    post({"resourceType": "Observation", **about})
    hidden = post({"resourceType": "Observation", "meta": secret, **about})
    father = post({"resourceType": "RelatedPerson", "active": True, "patient": {"reference": patient}})
    _account(server, "hugo.morel", "patient", "Hugo Morel", father, "urn:ins|hugo")
    server.command("account", "represent", "hugo.morel", father, patient, "--name", "Léo Morel")
    return patient, father, hidden


@pytest.mark.rule("L14", "L15")
def test_a_father_lets_an_app_read_the_record_of_his_child(page, app, server, child):
    """Standalone launch: he chooses the child, the app is told whom he is there, and finds all but the child's secret."""
    patient, father, _ = child
    scope = "openid fhirUser launch/patient patient/Patient.rs patient/Observation.rs"
    launch(page, app, server, scope=scope)
    sign_in(page, "hugo.morel")
    page.get_by_role("heading", name="Authorise an application").wait_for()
    page.get_by_label("Léo Morel").check()
    page.get_by_role("button", name="Allow").click()
    told = outcome(page, app)

    assert (told["patient"], told["fhirUser"]) == (patient.partition("/")[2], father)
    assert (told["name"], told["observations"]) == ("Morel", 1)

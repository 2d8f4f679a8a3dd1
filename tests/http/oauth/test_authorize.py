"""The authorization endpoint as a person meets it: pages, forms, the app's way back, and what they allowed.

https://hl7.org/fhir/smart-app-launch/STU2.2/app-launch.html
"""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from fhir_dmp.http.pages.render import LANGUAGES, texts
from tests.http.oauth.people import ask, back, fhir, fill, redeem
from tests.oauth_world import FORM, authorize
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

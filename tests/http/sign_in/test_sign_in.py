"""Signing in by password and second factor, through the pages, on a real database."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from fhir_dmp.errors import Unavailable
from fhir_dmp.service.sign_in import SignInRules
from tests.oauth_world import context
from tests.sign_in_world import HOSPITAL, NEXT, PASSWORD, PRACTICE, Visitor


def who(app, visitor):
    """Return who is signed in, as the application sees it."""
    cookie = f"dmp-session={visitor.cookie('session')}"
    with app.test_request_context(headers={"Cookie": cookie}):
        return app.extensions["sign-in"].signed_in()


def test_a_patient_signs_in_by_password_and_is_led_where_they_came_from(world):
    """One event; the session is known to another worker; the page tells who it is."""
    account, app = world.patient(), world.app()
    visitor = Visitor(app)
    answer = visitor.sign_in(next_=NEXT)

    assert (answer.status_code, answer.headers["Location"]) == (303, NEXT)
    assert world.told() == [("login", account.id, None, "password")]
    found = who(world.app(), visitor)
    assert (found.account, found.session.situation, found.session.secret) == (account, None, False)
    assert "Zoé Petit" in visitor.get("/oauth/sign-in/done").text


def test_a_professional_gives_a_code_and_says_as_what_they_work(world):
    """Three steps, three tokens, one event at the end; the next page is remembered through all of them."""
    account, secret, _ = world.doctor(HOSPITAL, PRACTICE)
    app = world.app()
    visitor = Visitor(app)
    tokens = []

    visitor.sign_in("Anne.Martin", next_=NEXT)
    tokens.append(visitor.cookie("session"))
    assert visitor.follow().status_code == 200
    assert who(app, visitor) is None
    visitor.send(code=world.code(secret))
    tokens.append(visitor.cookie("session"))
    assert who(app, visitor) is None
    assert world.told() == []
    page = visitor.follow()
    assert "Hôpital de la Plage" in page.text
    assert "Cabinet du Port" in page.text
    answer = visitor.send(situation="1")
    tokens.append(visitor.cookie("session"))

    assert answer.headers["Location"] == NEXT
    assert len(set(tokens)) == 3
    assert who(app, visitor).session.situation == PRACTICE
    assert world.told() == [("login", account.id, None, "password+totp")]
    for old in tokens[:2]:
        assert world.door().accounts.find_session(old) is None
        assert world.door().signed_in(old) is None


def test_unknown_login_wrong_password_and_disabled_account_are_one_answer(world):
    """The page is the same but for what was typed; the log knows which it was."""
    account = world.patient()
    disabled = world.patient("ex.patient")
    world.accounts().disable("ex.patient", context())
    world.acts.clear()
    pages = []
    for login, password in (("zoe.petit", "not that one!!"), ("nobody", PASSWORD), ("ex.patient", PASSWORD)):
        answer = Visitor(world.app()).sign_in(login, password)
        page = answer.text.replace(login, "LOGIN")
        pages.append((answer.status_code, re.sub(r'value="[^"]{80,}"', "", page)))

    assert pages[0][0] == 401
    assert pages[0] == pages[1] == pages[2]
    assert [(act.account, act.why) for act in world.acts] == [
        (account.id, "wrong password"),
        ("", "unknown login"),
        (disabled.id, "disabled"),
    ]
    assert {act.error for act in world.acts} == {"login"}


def test_a_code_is_good_once_on_any_worker(world):
    """Not for the second who saw it, nor again within its half minute."""
    _, secret, _ = world.doctor()
    code = world.code(secret)
    one, two = Visitor(world.app()), Visitor(world.app())
    for visitor in (one, two):
        visitor.sign_in("anne.martin")
        visitor.follow()

    assert one.send(code=code).status_code == 303
    assert two.send(code=code).status_code == 401
    assert [(act.error, act.why) for act in world.acts] == [(None, ""), ("login", "wrong code")]
    world.forward(30)
    assert two.send(code=world.code(secret)).status_code == 303


def test_a_recovery_code_stands_in_once(world):
    """The event says by what the person signed in."""
    account, _, recovery = world.doctor()
    for expected in (303, 401):
        visitor = Visitor(world.app())
        visitor.sign_in("anne.martin")
        visitor.follow()
        assert visitor.send(code=recovery[0].lower()).status_code == expected

    assert world.told() == [
        ("login", account.id, None, "password+recovery"),
        ("login", account.id, "login", "password+totp"),
    ]


def test_codes_are_not_guessed(world):
    """After five wrong ones the right one waits, in this browser and in another."""
    _, secret, _ = world.doctor()
    visitor = Visitor(world.app())
    visitor.sign_in("anne.martin")
    visitor.follow()
    for _ in range(5):
        assert visitor.send(code="000000").status_code == 401
    again = Visitor(world.app())
    again.sign_in("anne.martin")
    again.follow()

    assert visitor.send(code=world.code(secret)).status_code == 429
    assert again.send(code=world.code(secret)).status_code == 429


def test_a_professional_without_second_factor_does_not_sign_in(world):
    """The right password is not enough to read other people's records."""
    account, _, _ = world.doctor()
    world.accounts().accounts.set_totp(account.id, None, (), 0)

    assert Visitor(world.app()).sign_in("anne.martin").status_code == 403
    assert world.told() == [("login", account.id, "forbidden", "password")]


@pytest.mark.parametrize(
    ("born", "asked", "secret"),
    [("2012-05-31", "1", True), ("2012-05-31", "", False), ("1980-05-31", "1", False), (None, "1", False)],
)
def test_a_minor_may_sign_in_secretly(world, born, asked, secret):
    """The choice stands in the session; for others it means nothing."""
    world.patient(birth_date=born)
    app = world.app()
    visitor = Visitor(app)
    visitor.sign_in(secret=asked)

    assert who(app, visitor).session.secret is secret
    assert ('class="notice"' in visitor.get("/oauth/sign-in/done").text) is secret


@pytest.mark.rule("F10", "L15")
@pytest.mark.parametrize(("minute", "minor"), [(59, True), (60, False)])
def test_who_comes_of_age_does_so_at_midnight_in_paris(world, minute, minor):
    """It is 22 hours in Greenwich, on a day of July."""
    world.clock.set(datetime(2026, 7, 13, 21, tzinfo=UTC) + timedelta(minutes=minute))
    world.patient(birth_date="2008-07-14")
    world.rules = SignInRules(zone=ZoneInfo("Europe/Paris"))
    app = world.app()
    visitor = Visitor(app)
    visitor.sign_in(secret="1")

    assert who(app, visitor).session.secret is minor


def test_a_professional_may_sign_in_secretly_for_a_minor(world):
    """The choice is carried through all steps."""
    _, secret, _ = world.doctor(HOSPITAL, PRACTICE)
    app = world.app()
    visitor = Visitor(app)
    visitor.sign_in("anne.martin", secret="1")
    visitor.follow()
    visitor.send(code=world.code(secret))
    visitor.follow()
    visitor.send(situation="0")

    assert who(app, visitor).session.secret


def test_a_session_ends_when_its_owner_is_not_seen_and_at_its_end(world):
    """Half an hour without a sight; eight hours in all."""
    world.patient()
    app = world.app()
    idle, busy = Visitor(app), Visitor(app)
    idle.sign_in(), busy.sign_in()
    world.forward(1799)
    assert who(app, idle)
    assert who(app, busy)
    for _ in range(15):
        world.forward(1799)
        assert who(app, busy)
    assert who(app, idle) is None
    world.forward(28_800 - 16 * 1799)

    assert who(app, busy) is None


@pytest.mark.parametrize("act", ["disable", "remove", "set_password", "new_totp"])
def test_what_an_operator_changes_ends_sessions_at_once(world, act):
    """On every worker, with the next request."""
    world.patient()
    app = world.app()
    visitor = Visitor(app)
    visitor.sign_in()
    world.forward(1)
    assert who(app, visitor)

    getattr(world.accounts(), act)(
        "zoe.petit", *(("une autre phrase, longue",) if act == "set_password" else ()), context()
    )

    assert who(app, visitor) is None


def test_signing_out_ends_the_session_and_is_told(world):
    """The cookie goes; held on to, it is worth nothing; to sign out again is nothing."""
    account = world.patient()
    app = world.app()
    visitor = Visitor(app)
    visitor.sign_in()
    token = visitor.cookie("session")
    visitor.get("/oauth/sign-in/done")
    page = visitor.send("/oauth/sign-out")

    assert page.status_code == 200
    assert visitor.cookie("session") is None
    assert world.door().signed_in(token) is None
    assert world.told() == [("login", account.id, None, "password"), ("logout", account.id, None, "password")]
    visitor.get("/oauth/sign-in")
    visitor.send("/oauth/sign-out")
    assert world.told() == []


@pytest.mark.parametrize(
    "place",
    [
        "https://evil.example/",
        "//evil.example/oauth/authorize?",
        "/oauth/authorize",
        "/oauth/authorize/../../evil?",
        "/oauth/authorize@evil.example?",
        "/oauth/authorize?a=1\r\nSet-Cookie: x=y",
        "/oauth/authorize?a=\\\\evil",
        "/oauth/authorize?" + "a" * 9000,
        "/fhir/Patient?",
        "javascript:alert(1)",
    ],
)
def test_a_sign_in_leads_nowhere_but_to_our_own_authorization(world, place):
    """Whatever a link asks for."""
    world.patient()

    assert Visitor(world.app()).sign_in(next_=place).headers["Location"] == "/oauth/sign-in/done"


def test_a_form_of_another_browser_is_refused(world):
    """By its token, or without one; nothing is tried, nothing counts."""
    world.patient()
    app = world.app()
    victim, other = Visitor(app), Visitor(app)
    victim.get("/oauth/sign-in")
    other.get("/oauth/sign-in")
    stolen = re.search(r'name="csrf" value="([^"]+)"', other.page.text)[1]

    assert victim.send(login="zoe.petit", password=PASSWORD, csrf=stolen).status_code == 400
    victim.get("/oauth/sign-in")
    assert victim.send(login="zoe.petit", password=PASSWORD, csrf="").status_code == 400
    assert victim.cookie("session") is None
    assert world.told() == []


def test_a_step_out_of_turn_is_refused(world):
    """Neither without the one before, nor after too long, nor twice."""
    _, secret, _ = world.doctor(HOSPITAL, PRACTICE)
    app = world.app()
    for path in ("/oauth/sign-in/code", "/oauth/sign-in/situation"):
        assert Visitor(app).get(path).status_code == 400
    visitor = Visitor(app)
    visitor.sign_in("anne.martin")
    visitor.follow()
    world.forward(600)
    assert visitor.send(code=world.code(secret)).status_code == 400
    visitor.sign_in("anne.martin")
    visitor.follow()
    visitor.send(code=world.code(secret))
    visitor.follow()
    for wrong in ("2", "-1", "x", "", "99999999999999999999"):
        visitor.get("/oauth/sign-in/situation")
        assert visitor.send(situation=wrong).status_code == 400
    visitor.get("/oauth/sign-in/situation")
    assert visitor.send(situation="0").status_code == 303
    assert visitor.get("/oauth/sign-in/situation").status_code == 400


def test_nobody_is_signed_in_without_evidence(world):
    """If the log cannot be written there is no session, and the page says so."""
    world.patient()
    visitor = Visitor(world.app())
    world.fail = Unavailable("The log does not answer.")
    answer = visitor.sign_in()

    assert answer.status_code == 503
    assert visitor.cookie("session") is None
    rows = world.door().accounts._rows
    assert rows.prefixed("session/") == []


def test_cookies_are_bound_to_the_host_and_to_http(world):
    """On https by their very names; no script reads them; other sites' forms do not carry them."""
    world.patient()
    visitor = Visitor(world.app("https://dmp.example"))
    visitor.get("/oauth/sign-in", base_url="https://dmp.example")
    [cookie] = visitor.page.headers.getlist("Set-Cookie")

    assert cookie.startswith("__Host-dmp-browser=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))
    plain = Visitor(world.app())
    plain.sign_in()
    cookies = plain.page.headers.getlist("Set-Cookie")
    assert [each.partition("=")[0] for each in cookies] == ["dmp-session", "dmp-device"]
    assert all("HttpOnly" in each and "SameSite=Lax" in each for each in cookies)


def test_the_database_holds_no_cookie_and_no_password(world):
    """Hashes alone."""
    world.patient()
    visitor = Visitor(world.app())
    visitor.sign_in()
    kept = str(world.door().accounts._rows.prefixed("session/") + world.door().accounts._rows.prefixed("account/"))

    assert visitor.cookie("session") not in kept
    assert PASSWORD not in kept

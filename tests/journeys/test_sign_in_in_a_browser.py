"""People sign in with a real browser, at a real server, by a telephone's code and by a real OpenID provider."""

from __future__ import annotations

import pyotp
import pytest
from playwright.sync_api import sync_playwright

from tests.journeys.conftest import free_port, start, stop
from tests.provider import running_provider

CHROMIUM = "/usr/bin/chromium"
PASSWORD = "cheval agrafe pile correct"
NARROW, WIDE = {"width": 320, "height": 640}, {"width": 1024, "height": 768}


def add_account(running, *words):
    """Add an account at the command line, its password from standard input; return what was printed."""
    return running.command("account", "add", *words, typed=f"{PASSWORD}\n").stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A provider, and a server that knows it, with a patient and a professional."""
    port, folder = free_port(), tmp_path_factory.mktemp("signing-in")
    with (
        running_provider(folder, free_port(), f"http://127.0.0.1:{port}") as provider,
        pytest.MonkeyPatch.context() as env,
    ):
        env.setenv("DMP_PROVIDERS_FILE", str(provider.file))
        running = start(folder, port=port)
        patient = (
            "--kind",
            "patient",
            "--resource",
            "Patient/z",
            "--identifier",
            "urn:ins|1",
            "--birth-date",
            "2012-05-31",
        )
        add_account(running, "zoe.petit", *patient, "--name", "Zoé Petit")
        doctor = (
            "--kind",
            "professional",
            "--resource",
            "Practitioner/p1",
            "--identifier",
            "urn:x|1",
            "--name",
            "Dr Paul Roux",
        )
        places = ("10,SM26,urn:s|1,Hôpital de la Plage", "10,SM26,urn:s|2,Cabinet du Port")
        told = add_account(running, "paul.roux", *doctor, "--situation", places[0], "--situation", places[1])
        running.totp = told.partition("secret=")[2].partition("&")[0]
        yield running
        stop(running)


@pytest.fixture(scope="module")
def browser():
    """A real browser."""
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


def opened(browser, place, viewport=WIDE, **options):
    """Return a fresh browser's page at the sign-in; it runs no script of ours, for there is none."""
    context = browser.new_context(viewport=viewport, locale=options.pop("locale", "fr-FR"), **options)
    page = context.new_page()
    page.goto(f"{place.url}/oauth/sign-in")
    return page


def looks_right(page, folder, name):
    """Keep a picture of the page; nothing is wider than a narrow screen, and the style is there."""
    for viewport in (WIDE, NARROW):
        page.set_viewport_size(viewport)
        page.screenshot(path=folder / f"{name}-{viewport['width']}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], name
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(243, 245, 249)"
    assert page.get_attribute("html", "lang") in ("fr", "en")
    page.set_viewport_size(WIDE)


def test_a_professional_signs_in_with_a_telephones_code(place, browser, tmp_path):
    """Password, code, situation, by keyboard alone where it matters; then out again."""
    page = opened(browser, place)
    looks_right(page, tmp_path, "sign-in")
    page.get_by_label("Identifiant").fill("paul.roux")
    page.get_by_label("Mot de passe").fill("not this one, sorry")
    page.keyboard.press("Enter")
    assert "n’est pas le bon" in page.get_by_role("alert").inner_text()
    looks_right(page, tmp_path, "wrong")
    page.get_by_label("Mot de passe").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/sign-in/code")
    looks_right(page, tmp_path, "code")
    page.get_by_label("Code à usage unique").fill(pyotp.TOTP(place.totp).now())
    page.keyboard.press("Enter")
    page.wait_for_url("**/sign-in/situation")
    looks_right(page, tmp_path, "situation")
    page.get_by_label("Cabinet du Port").check()
    page.get_by_role("button", name="Continuer").click()
    page.wait_for_url("**/sign-in/done")
    assert "Dr Paul Roux" in page.inner_text("main")
    assert "Cabinet du Port" in page.inner_text("main")
    looks_right(page, tmp_path, "signed-in")
    page.get_by_role("button", name="Se déconnecter").click()
    assert "déconnecté" in page.inner_text("h1")
    looks_right(page, tmp_path, "signed-out")
    page.goto(f"{place.url}/oauth/sign-in/done")
    page.wait_for_url("**/oauth/sign-in")


def test_a_minor_signs_in_secretly_in_english_without_scripts(place, browser, tmp_path):
    """The language follows the browser, and its own choice from then on."""
    page = opened(browser, place, locale="en-GB", java_script_enabled=False)
    assert page.inner_text("h1") == "Sign in"
    page.get_by_role("link", name="Français").click()
    assert page.inner_text("h1") == "Se connecter"
    page.get_by_role("link", name="English").click()
    page.get_by_label("Login").fill("zoe.petit")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("Secret sign-in").check()
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url("**/sign-in/done")

    assert "Secret sign-in" in page.inner_text("main")
    page.screenshot(path=tmp_path / "secret.png", full_page=True)


def by_provider(page, provider, login):
    """Choose the provider, and say there who one is."""
    page.get_by_role("button", name=f"Se connecter avec {provider}").click()
    page.wait_for_url("**/who/**")
    page.get_by_label("Login").fill(login)
    page.get_by_role("button", name="I am").click()


def test_a_professional_signs_in_at_their_provider(place, browser, tmp_path):
    """There and back, by the page between; the provider's situations are offered."""
    page = opened(browser, place)
    by_provider(page, "Pro Santé Connect", "dr.martin")
    page.wait_for_url("**/sign-in/situation")
    looks_right(page, tmp_path, "provider-situation")
    page.get_by_label("Hôpital de la Plage").check()
    page.get_by_role("button", name="Continuer").click()
    page.wait_for_url("**/sign-in/done")

    assert "Anne MARTIN" in page.inner_text("main")


def test_a_citizen_without_account_is_turned_away_in_plain_words(place, browser, tmp_path):
    """The page says what happened, and the way back."""
    page = opened(browser, place)
    by_provider(page, "FranceConnect", "stranger")
    page.wait_for_url("**/sign-in/from/fc**")

    assert "aucun compte" in page.inner_text("main")
    looks_right(page, tmp_path, "unknown")
    page.get_by_role("link", name="Recommencer la connexion").click()
    assert page.inner_text("h1") == "Se connecter"


def test_an_operator_ends_a_session_from_the_command_line(place, browser):
    """The next page that is asked for is the sign-in."""
    page = opened(browser, place)
    page.get_by_label("Identifiant").fill("zoe.petit")
    page.get_by_label("Mot de passe").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/sign-in/done")
    listed = place.command("account", "list").stdout
    place.command("account", "disable", "zoe.petit")
    page.reload()
    page.wait_for_url("**/oauth/sign-in")

    assert "zoe.petit" in listed
    assert "disabled" in place.command("account", "list").stdout
    place.command("account", "enable", "zoe.petit")

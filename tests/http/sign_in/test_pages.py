"""The pages of the sign-in: their languages, what they run and keep, and that they can be used by everybody."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from fhir_dmp.http.pages.render import LANGUAGES, texts
from fhir_dmp.oauth.people import PROFESSIONS
from tests.sign_in_world import HOSPITAL, NEXT, PRACTICE, Visitor


def test_pages_run_nothing_and_are_kept_by_nobody(world):
    """No script, nothing from elsewhere, no frame around them, forms to us and to where the authorization leads on."""
    page = Visitor(world.app()).get("/oauth/sign-in", query_string={"next": NEXT})
    policy = dict(part.strip().partition(" ")[::2] for part in page.headers["Content-Security-Policy"].split(";"))

    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["form-action"] == "'self' https://app.example"
    assert "<script" not in page.text
    assert page.headers["Cache-Control"] == "no-store"
    style = Visitor(world.app()).get("/oauth/pages/dmp.css")
    assert (style.status_code, style.content_type) == (200, "text/css; charset=utf-8")


@pytest.mark.parametrize(
    ("query", "accepts", "language"),
    [
        ("", "", "fr"),
        ("", "en-GB,en;q=0.9", "en"),
        ("", "de", "fr"),
        ("?lang=en", "fr", "en"),
        ("?lang=xx", "fr", "fr"),
    ],
)
def test_pages_are_french_first_and_english_for_whom_asks(world, query, accepts, language):
    """By the URL, else by what the browser accepts; the choice is remembered."""
    visitor = Visitor(world.app(), **{"Accept-Language": accepts})
    page = visitor.get(f"/oauth/sign-in{query}")

    assert f'<html lang="{language}">' in page.text
    if "lang=en" in query:
        assert '<html lang="en">' in visitor.get("/oauth/sign-in").text


def test_both_languages_have_all_words():
    """And a word for each profession."""
    french, english = (texts(language) for language in LANGUAGES)

    assert french.keys() == english.keys()
    assert {f"profession_{code}" for code in PROFESSIONS} <= french.keys()
    assert all(text.strip() for text in (*french.values(), *english.values()))


class _Fields(HTMLParser):
    """The fields of a page and the labels that name them."""

    def __init__(self):
        super().__init__()
        self.fields, self.labels, self.headings = set(), set(), 0

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "input" and given.get("type") != "hidden":
            self.fields.add(given["id"])
        if tag == "label":
            self.labels.add(given["for"])
        self.headings += tag == "h1"


def test_each_field_has_a_label_and_each_page_one_heading(world):
    """Who does not see the page hears what to type."""
    _, secret, _ = world.doctor(HOSPITAL, PRACTICE)
    visitor = Visitor(world.app())
    shown = [visitor.get("/oauth/sign-in").text]
    visitor.sign_in("anne.martin")
    shown.append(visitor.follow().text)
    visitor.send(code=world.code(secret))
    shown.append(visitor.follow().text)
    for text in shown:
        found = _Fields()
        found.feed(text)

        assert found.headings == 1
        assert found.fields
        assert found.fields == found.labels


def test_what_was_typed_is_shown_as_text(world):
    """Markup in a login does not become markup of the page."""
    page = Visitor(world.app()).sign_in('"><b>x</b>')

    assert "<b>x" not in page.text
    assert "&lt;b&gt;x" in page.text


def test_a_form_that_is_too_long_is_not_read(world):
    """A page says so, and nobody is tried."""
    visitor = Visitor(world.app())
    visitor.get("/oauth/sign-in")

    assert visitor.send(login="x", password="y" * 20_000).status_code == 413
    assert world.told() == []

"""Pages: rendered here, in French or English, with nothing in them that runs. https://www.w3.org/TR/WCAG21/."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from flask import Blueprint, Response, redirect, render_template, request

from fhir_dmp.http.pages.browser import LANGUAGE, Browser

LANGUAGES = {"fr": "Français", "en": "English"}
"""The first is that of who asks for none of them."""

_HERE = Path(__file__).parent
_YEAR = 365 * 86_400


class Pages:
    """Renders pages for the browser that asks."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser

    def show(
        self,
        template: str,
        status: int = 200,
        *,
        headers: Iterable[tuple[str, str]] = (),
        targets: Iterable[str] = (),
        here: str | None = None,
        **values: Any,
    ) -> Response:
        """Return the page; ``targets`` are the origins besides ours to which its forms may lead.

        ``here`` is where the browser finds the page in another language, if that is not where it was sent from.

        Templates are given ``t`` (the words of their language), ``csrf`` (the token of a form) and the values.
        """
        language = self.language()
        body = render_template(
            template,
            t=texts(language),
            lang=language,
            languages=LANGUAGES,
            switch=lambda other: _switch(other, here),
            csrf=self.browser.csrf(),
            **values,
        )
        response = Response(body, status, content_type="text/html; charset=utf-8")
        for name, value in (*_security(targets), *headers):
            response.headers[name] = value
        self.browser.keep_mark(response)
        if language == request.args.get("lang"):
            self.browser.hold(response, LANGUAGE, language, _YEAR)
        return response

    def go(self, place: str) -> Response:
        """Return the answer that leads the browser on, by GET."""
        response = redirect(place, 303)
        response.headers["Cache-Control"] = "no-store"
        return Response(response.get_data(), 303, response.headers)

    def language(self) -> str:
        """Return the language that was asked for: by the URL, by an earlier choice, or by the browser."""
        for wanted in (request.args.get("lang"), self.browser.held(LANGUAGE)):
            if wanted in LANGUAGES:
                return str(wanted)
        return request.accept_languages.best_match(list(LANGUAGES), next(iter(LANGUAGES))) or next(iter(LANGUAGES))

    def words(self) -> Mapping[str, str]:
        """Return the words of the language that was asked for."""
        return texts(self.language())


def pages_blueprint() -> Blueprint:
    """Return the templates, and the route of what they load: a style sheet, from this server."""
    routes = Blueprint("pages", __name__, template_folder="templates")

    @routes.get("/oauth/pages/dmp.css")
    def style() -> Response:
        headers = {"Cache-Control": "public, max-age=3600", "X-Content-Type-Options": "nosniff"}
        return Response(_style(), headers=headers, content_type="text/css; charset=utf-8")

    return routes


@cache
def texts(language: str) -> Mapping[str, str]:
    """Return the words of a language by their keys."""
    words: Mapping[str, str] = json.loads((_HERE / "texts" / f"{language}.json").read_text())
    return words


@cache
def _style() -> bytes:
    return (_HERE / "static" / "dmp.css").read_bytes()


def _switch(language: str, here: str | None) -> str:
    """Return this page's address in another language."""
    path, _, query = (here or f"{request.path}?{urlencode([*request.args.items(multi=True)])}").partition("?")
    asked = [each for each in parse_qsl(query, keep_blank_values=True) if each[0] != "lang"]
    return f"{path}?{urlencode([*asked, ('lang', language)])}"


def _security(targets: Iterable[str]) -> tuple[tuple[str, str], ...]:
    forms = " ".join(["'self'", *targets])
    policy = (
        "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; "
        f"frame-ancestors 'none'; form-action {forms}"
    )
    return (
        ("Content-Security-Policy", policy),
        ("X-Frame-Options", "DENY"),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "same-origin"),
        ("Cache-Control", "no-store"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
    )

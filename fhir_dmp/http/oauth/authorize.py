"""The pages on which a person allows an app what it asks, or refuses it. https://www.rfc-editor.org/rfc/rfc6749#section-3.1."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import structlog
from flask import Blueprint, Response, request
from werkzeug.exceptions import HTTPException

from fhir_dmp.clock import datetime_of
from fhir_dmp.errors import FhirError, Unavailable, failed
from fhir_dmp.http.errors import from_werkzeug
from fhir_dmp.http.oauth.sign_in import SignInPages
from fhir_dmp.http.pages.routes import form_blueprint
from fhir_dmp.service.allowances import Allowances
from fhir_dmp.service.answers import Choice
from fhir_dmp.service.authorize import Answer, Authorizations, Go, SignInFirst, Sorry
from fhir_dmp.service.questions import Question

MOST_BYTES = 64 * 1024
HERE = "/oauth/authorize"
APPS = "/oauth/apps"
_VERBS = (("read", ("read", "search")), ("add", ("create",)), ("change", ("update",)), ("delete", ("delete",)))
"""The words for what a scope allows: to consult, to add, to change, to delete."""

_log = structlog.get_logger(__name__)


class AuthorizePages:
    """Puts the question to the person of a browser, and takes the answer."""

    def __init__(self, door: Authorizations, allowances: Allowances, sign_in: SignInPages) -> None:
        self._door = door
        self._allowances = allowances
        self._sign_in = sign_in
        self._pages = sign_in.pages
        self._reception = sign_in.reception

    def ask(self) -> Response:
        """Show what the app asks, to who is signed in."""
        context = self._reception.stranger(request.environ)
        return self._show(self._door.ask(request.query_string, self._sign_in.signed_in(), context))

    def ask_again(self) -> Response:
        """Take a request that was posted: the same one by GET, for which the browser sends along who is signed in."""
        return self._pages.go(f"{HERE}?{request.get_data(as_text=True)}")

    def decide(self) -> Response:
        """Take the person's answer."""
        self._pages.browser.require_csrf()
        form = request.form
        choice = Choice(
            allow=form.get("answer") == "allow",
            scopes=tuple(form.getlist("scope")),
            patient=form.get("patient") or None,
            ins=form.get("ins") or None,
            encounter=form.get("encounter") or None,
            emergency="emergency" in form,
            reason=form.get("reason", ""),
        )
        context = self._reception.stranger(request.environ)
        answer = self._door.decide(form.get("ticket", ""), choice, self._sign_in.signed_in(), context)
        return self._show(answer, choice)

    def apps(self) -> Response:
        """Show what the person allowed, and let them take it back."""
        signed = self._sign_in.signed_in()
        if signed is None:
            return self._pages.go("/oauth/sign-in")
        words = self._pages.words()
        shown = [
            {
                "id": each.id,
                "name": each.client_name,
                "since": _day(each.began),
                "until": _day(each.ends) if each.offline else "",
                "lines": [_line(scope, words) for scope in each.scopes],
            }
            for each in self._allowances.granted(signed)
        ]
        return self._pages.show("apps.html", apps=shown, person=signed.account.name)

    def withdraw(self) -> Response:
        """Take back what the person allowed an app."""
        self._pages.browser.require_csrf()
        signed = self._sign_in.signed_in()
        if signed is None:
            return self._pages.go("/oauth/sign-in")
        context = self._reception.stranger(request.environ)
        self._allowances.withdraw(request.form.get("app", ""), signed, context)
        return self._pages.go(APPS)

    def failed(self, error: FhirError) -> Response:
        """Show that nothing was decided."""
        key = "unavailable" if isinstance(error, Unavailable) else "authorize_lapsed"
        return self._message(error.status, self._pages.words()[key], "")

    def refused(self, error: HTTPException) -> Response:
        """Show that a form cannot be read."""
        return self.failed(self._pages.browser.told(from_werkzeug(error)))

    def fault(self, _: Exception) -> Response:
        """Show a number by which the operator finds what we did not foresee."""
        request_id = self._reception.stranger(request.environ).request_id
        _log.exception("fault", request_id=request_id, act="authorize")
        self._pages.browser.told(failed(request_id))
        return self._message(500, self._pages.words()["fault"], request_id)

    def _show(self, answer: Answer, choice: Choice | None = None) -> Response:
        match answer:
            case Go(url):
                return self._pages.go(url)
            case SignInFirst():
                return self._sign_in.ask()
            case Sorry(status, error, description):
                return self._message(status, self._pages.words()["authorize_refused"], f"{error}: {description}")
            case Question():
                return self._question(answer, choice)

    def _question(self, question: Question, choice: Choice | None) -> Response:
        words = self._pages.words()
        return self._pages.show(
            "authorize.html",
            400 if question.problem else 200,
            targets=(question.origin,),
            error=words[f"authorize_{question.problem}"] if question.problem else "",
            here=f"{HERE}?{self._asked()}",
            asked=self._asked(),
            question=question,
            choice=choice,
            lines=[_line(scope, words) for scope in question.scopes],
            kept=[text for text in question.others if text in ("offline_access", "online_access")],
            known="openid" in question.others,
            host=urlsplit(question.origin).netloc,
        )

    def _message(self, status: int, text: str, detail: str) -> Response:
        return self._pages.show("refused.html", status, here=f"{HERE}?{self._asked()}", text=text, detail=detail)

    @staticmethod
    def _asked() -> str:
        """Return the query by which the app asked: the answer to its question is sent with it, so that the page can be had anew."""
        return request.query_string.decode("latin-1") if request.method == "GET" else request.form.get("asked", "")


def _line(scope: Any, words: Any) -> dict[str, Any]:
    """Return one scope in plain words: what may be done, with what, and within which bounds."""
    verbs = [words[f"may_{verb}"] for verb, actions in _VERBS if scope.actions & set(actions)]
    return {
        "text": scope.text,
        "verbs": ", ".join(verbs),
        "what": words.get(f"type_{scope.type or 'all'}", scope.type),
        "whose": words[f"whose_{scope.level}"],
        "only": [f"{name} = {value}" for name, value in scope.restriction],
    }


def _day(micros: int) -> str:
    return datetime_of(micros).date().isoformat()


def authorize_blueprint(own: AuthorizePages) -> Blueprint:
    """Return the routes of the authorization endpoint, to be mounted at ``/oauth``."""
    return form_blueprint(
        "authorize",
        own,
        MOST_BYTES,
        (
            ("GET", "/authorize", own.ask),
            ("POST", "/authorize", own.ask_again),
            ("POST", "/authorize/decision", own.decide),
            ("GET", "/apps", own.apps),
            ("POST", "/apps", own.withdraw),
        ),
    )

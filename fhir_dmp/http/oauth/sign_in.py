"""The pages by which people sign in and out: each takes a form, calls the door, and shows the next page."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import structlog
from flask import Blueprint, Response, request
from werkzeug.exceptions import HTTPException

from fhir_dmp.call import Context
from fhir_dmp.clock import SECOND
from fhir_dmp.errors import FhirError, Refused, TooMany, Unauthenticated, Unavailable, failed
from fhir_dmp.http.errors import from_werkzeug
from fhir_dmp.http.middleware import Reception
from fhir_dmp.http.pages.browser import DEVICE, FLOW, SESSION
from fhir_dmp.http.pages.render import Pages
from fhir_dmp.http.pages.routes import form_blueprint
from fhir_dmp.service.federation import FLOW_SECONDS, Federation
from fhir_dmp.service.sign_in import Attempt, SignedIn, SignIn, Step
from fhir_dmp.service.waits import DEVICE_KEPT

AUTHORIZE = "/oauth/authorize"
"""Where a sign-in leads on to; nowhere else can it be made to lead."""

PLACES = {"second-factor": "/oauth/sign-in/code", "situation": "/oauth/sign-in/situation"}
BEGIN = "/oauth/sign-in"
DONE = "/oauth/sign-in/done"
MOST_BYTES = 16 * 1024
NEXT_LENGTH = 8192
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-]+(:\d{1,5})?\Z")
_log = structlog.get_logger(__name__)


class SignInPages:
    """The sign-in of a browser; ``signed_in`` is what other pages ask."""

    def __init__(self, door: SignIn, federation: Federation, pages: Pages, reception: Reception) -> None:
        self.door = door
        self.federation = federation
        self.pages = pages
        self.reception = reception

    def signed_in(self) -> SignedIn | None:
        """Return whose browser sent the request, as account and session stand now, or None."""
        return self.door.signed_in(self.pages.browser.held(SESSION))

    def ask(self) -> Response:
        """Lead the browser to the sign-in, and from there back to this request's own URL (of ``AUTHORIZE``)."""
        back = f"{request.path}?{request.query_string.decode('ascii', 'replace')}"
        return self.pages.go(f"/oauth/sign-in?{urlencode({'next': back})}")

    def begin(self) -> Response:
        """Show the form of login and password."""
        return self._form("sign-in.html")

    def by_password(self) -> Response:
        """Take login and password."""
        form = request.form
        context = self._stranger()
        attempt = Attempt(
            login=form.get("login", ""),
            password=form.get("password", ""),
            address=context.address,
            device=self.pages.browser.held(DEVICE) or "",
            secret=bool(form.get("secret")),
        )
        try:
            step = self.door.by_password(attempt, context)
        except (Unauthenticated, TooMany, Refused) as refusal:
            return self._form("sign-in.html", refusal, login=attempt.login[:100], secret=attempt.secret)
        return self.on(step)

    def leave(self, name: str) -> Response:
        """Send the browser to a provider, by a page of its own: a form may not lead elsewhere than here."""
        secret = bool(request.form.get("secret"))
        url, flow = self.federation.leave(name, self._next(), self._stranger(), secret=secret)
        response = self.pages.show("leave.html", here=BEGIN, url=url)
        self.pages.browser.hold(response, FLOW, flow, FLOW_SECONDS)
        return response

    def come_back(self, name: str) -> Response:
        """Take a browser back from a provider; its question is asked once."""
        context = self._stranger()
        flow = self.federation.flow(name, self.pages.browser.held(FLOW), context)
        try:
            response = self.on(self.federation.come_back(flow, request.args.to_dict(), context), flow.after)
        except FhirError as error:
            text = "provider_down" if isinstance(error, Unavailable) else "provider_failed"
            text = "unknown_person" if isinstance(error, Refused) else text
            response = self._message(
                error.status, "lapsed_title", self.pages.words()[text], headers=error.headers, after=flow.after
            )
        self.pages.browser.drop(response, FLOW)
        return response

    def code(self) -> Response:
        """Show the form of the second factor."""
        found = self.door.waiting(self.pages.browser.held(SESSION), "second-factor", self._stranger())
        return self._form("code.html", name=found.account.name)

    def by_code(self) -> Response:
        """Take the code of a second factor."""
        browser = self.pages.browser
        token = browser.held(SESSION)
        context = self._stranger()
        found = self.door.waiting(token, "second-factor", context)
        try:
            step = self.door.by_code(token, request.form.get("code", "")[:40], browser.held(DEVICE) or "", context)
        except (Unauthenticated, TooMany) as refusal:
            return self._form("code.html", refusal, name=found.account.name, wrong="wrong_code")
        return self.on(step)

    def situation(self) -> Response:
        """Show what a professional has to choose from."""
        found = self.door.waiting(self.pages.browser.held(SESSION), "situation", self._stranger())
        return self._form("situation.html", name=found.account.name, situations=found.session.choices)

    def choose(self) -> Response:
        """Take the situation that was chosen."""
        text = request.form.get("situation", "")
        place = int(text) if re.fullmatch(r"[0-9]{1,3}", text) else -1
        return self.on(self.door.choose(self.pages.browser.held(SESSION), place, self._stranger()))

    def done(self) -> Response:
        """Show who is signed in."""
        found = self.signed_in()
        if found is None:
            return self.pages.go("/oauth/sign-in")
        session = found.session
        return self.pages.show(
            "signed-in.html", name=found.account.name, situation=session.situation, secret=session.secret
        )

    def sign_out(self) -> Response:
        """End the session."""
        browser = self.pages.browser
        self.door.sign_out(browser.held(SESSION), self._stranger())
        words = self.pages.words()
        response = self.pages.show(
            "message.html", here=BEGIN, heading=words["signed_out_title"], text=words["signed_out"]
        )
        browser.drop(response, SESSION)
        return response

    def on(self, step: Step, after: str | None = None) -> Response:
        """Lead the browser on, with what it holds from now on; ``after`` is where all this leads, if not to ``next``."""
        after = self._next() if after is None else after
        place = PLACES.get(step.stage)
        response = self.pages.go(place + _query(after) if place else after or DONE)
        self.pages.browser.hold(response, SESSION, step.token)
        if step.device:
            self.pages.browser.hold(response, DEVICE, step.device, DEVICE_KEPT // SECOND)
        return response

    def query(self) -> str:
        """Return the query by which the next page knows where all this leads."""
        return _query(self._next())

    def failed(self, error: FhirError) -> Response:
        """Show that the sign-in is over, and the way to begin again."""
        words = self.pages.words()
        text = words["unavailable" if isinstance(error, Unavailable) else "lapsed"]
        return self._message(error.status, "lapsed_title", text, headers=error.headers)

    def refused(self, error: HTTPException) -> Response:
        """Show that a form cannot be read."""
        return self.failed(self.pages.browser.told(from_werkzeug(error)))

    def fault(self, _: Exception) -> Response:
        """Show a number by which the operator finds what we did not foresee."""
        request_id = self._stranger().request_id
        _log.exception("fault", request_id=request_id, act="sign-in")
        self.pages.browser.told(failed(request_id))
        return self._message(500, "fault_title", self.pages.words()["fault"], detail=request_id)

    def _message(self, status: int, heading: str, text: str, *, after: str | None = None, **values: Any) -> Response:
        heading = self.pages.words()[heading]
        query = self.query() if after is None else _query(after)
        return self.pages.show("message.html", status, here=BEGIN, heading=heading, text=text, query=query, **values)

    def _stranger(self) -> Context:
        """Return the Context of a browser, whoever is signed in by it."""
        return self.reception.stranger(request.environ)

    def _next(self) -> str:
        """Return where the browser asked to be led, if that is our own authorization endpoint."""
        place = request.args.get("next", "")
        plain = len(place) <= NEXT_LENGTH and all("!" <= char <= "~" and char != "\\" for char in place)
        return place if plain and place.startswith(f"{AUTHORIZE}?") else ""

    def _form(self, template: str, refusal: FhirError | None = None, wrong: str = "wrong", **values: Any) -> Response:
        """Show a form, with what was wrong with the last one."""
        return self.pages.show(
            template,
            refusal.status if refusal else 200,
            headers=refusal.headers if refusal else (),
            targets=self._targets(),
            error=self._error(refusal, wrong) if refusal else "",
            query=self.query(),
            providers=self.federation.providers,
            **values,
        )

    def _error(self, refusal: FhirError, wrong: str) -> str:
        words = self.pages.words()
        if isinstance(refusal, TooMany):
            seconds = int(dict(refusal.headers).get("Retry-After", "60"))
            unit, n = ("seconds", seconds) if seconds < 120 else ("minutes", -(-seconds // 60))
            return words["locked"].format(wait=words[unit].format(n=n))
        return words["refused"] if isinstance(refusal, Refused) else words[wrong]

    def _targets(self) -> list[str]:
        """Return the origin that the authorization may lead on to: browsers hold a form to it through all redirects."""
        for uri in parse_qs(urlsplit(self._next()).query).get("redirect_uri", ())[:1]:
            parts = urlsplit(uri)
            origin = f"{parts.scheme}://{parts.netloc}"
            if _ORIGIN.match(origin):
                return [origin]
        return []


def sign_in_blueprint(own: SignInPages) -> Blueprint:
    """Return the routes of the sign-in, to be mounted at ``/oauth``."""
    routes = form_blueprint(
        "sign-in",
        own,
        MOST_BYTES,
        (
            ("GET", "/sign-in", own.begin),
            ("POST", "/sign-in", own.by_password),
            ("POST", "/sign-in/with/<name>", own.leave),
            ("GET", "/sign-in/from/<name>", own.come_back),
            ("GET", "/sign-in/code", own.code),
            ("POST", "/sign-in/code", own.by_code),
            ("GET", "/sign-in/situation", own.situation),
            ("POST", "/sign-in/situation", own.choose),
            ("GET", "/sign-in/done", own.done),
            ("POST", "/sign-out", own.sign_out),
        ),
    )

    @routes.before_request
    def ours() -> None:
        if request.method == "POST":
            own.pages.browser.require_csrf()

    return routes


def _query(after: str) -> str:
    return f"?{urlencode({'next': after})}" if after else ""

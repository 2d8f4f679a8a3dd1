"""What the tests of signing in stand on: people with accounts, workers with pages, and a browser that fills in forms."""

from __future__ import annotations

import re
from contextlib import contextmanager
from html import unescape

import pyotp
from flask import Flask

from fhir_dmp.clock import RandomIds
from fhir_dmp.http.middleware import Reception
from fhir_dmp.http.oauth.sign_in import SignInPages, sign_in_blueprint
from fhir_dmp.http.pages.browser import Browser
from fhir_dmp.http.pages.render import Pages, pages_blueprint
from fhir_dmp.oauth.oidc import OpenIdClient
from fhir_dmp.oauth.providers import read_providers
from fhir_dmp.seal import Seal
from fhir_dmp.service.accounts import NewAccount
from fhir_dmp.service.federation import Federation
from fhir_dmp.service.sign_in import SignIn, SignInRules
from fhir_dmp.store.accounts import Situation
from tests.oauth_world import PUBLIC_URL, World, context, opened_world

PASSWORD = "cheval agrafe pile correct"
NEXT = "/oauth/authorize?client_id=app&redirect_uri=https%3A%2F%2Fapp.example%2Fcb&state=a%20b"
HOSPITAL = Situation("10", "SM26", "urn:oid:1.2.250.1.71.4.2.2|1750712184", "Hôpital de la Plage")
PRACTICE = Situation("10", "SM26", "urn:oid:1.2.250.1.71.4.2.2|499700218896001", "Cabinet du Port")


class SignInWorld(World):
    """A world of people, who sign in by these ``rules``."""

    rules = SignInRules()

    def door(self, secret=b"s" * 32):
        """Return the door of one more worker."""
        accounts = self.accounts(secret)
        devices = Seal(secret, "device")
        return SignIn(
            accounts.accounts, accounts.passwords, accounts.seal, devices, self.clock, self.announce, self.rules
        )

    def app(self, public_url=PUBLIC_URL, providers=None):
        """Return the pages of one more worker, as a WSGI application."""
        app = Flask("sign-in-world")
        reception = Reception(f"{public_url}/fhir", self.clock, RandomIds())
        pages = Pages(Browser(Seal(b"s" * 32, "form"), secure=public_url.startswith("https"), told=lambda error: error))
        app.register_blueprint(pages_blueprint())
        door = self.door()
        clients = {
            each.name: OpenIdClient(each, f"{public_url}/oauth/sign-in/from/{each.name}", self.clock)
            for each in (read_providers(providers) if providers else ())
        }
        federation = Federation(clients, door, RandomIds(), Seal(b"s" * 32, "flow"))
        own = SignInPages(door, federation, pages, reception)
        app.register_blueprint(sign_in_blueprint(own), url_prefix="/oauth")
        app.extensions["sign-in"] = own
        return app

    def patient(self, login="zoe.petit", **changed):
        """Add a patient's account and return it."""
        return self._add(
            NewAccount("patient", "Zoé Petit", "Patient/z", f"urn:ins|{login}", login, PASSWORD, **changed)
        )

    def doctor(self, *situations, login="anne.martin"):
        """Add a professional's account; return it and the secret of its second factor."""
        account = self._add(
            NewAccount(
                kind="professional",
                name="Dr Anne Martin",
                resource="Practitioner/p1",
                identifier="urn:oid:1.2.250.1.71.4.2.1|899700218896",
                login=login,
                password=PASSWORD,
                situations=situations or (HOSPITAL,),
            )
        )
        enrolment = self.accounts().new_totp(account.id, context())
        self.acts.clear()
        return account, enrolment.uri.partition("secret=")[2].partition("&")[0], enrolment.recovery

    def code(self, secret):
        """Return the code that the telephone shows now."""
        return pyotp.TOTP(secret).at(self.clock.now())

    def told(self):
        """Return what was announced, as (kind, account, error, method), and forget it."""
        acts = [(act.kind, act.account, act.error, act.method) for act in self.acts]
        self.acts.clear()
        return acts

    def _add(self, new):
        account = self.accounts().add(new, context())
        self.acts.clear()
        return account


class Visitor:
    """A browser without scripts: it keeps cookies and sends forms as they were shown."""

    def __init__(self, app, address="192.0.2.1", **headers):
        self.http = app.test_client()
        self.options = {"environ_overrides": {"REMOTE_ADDR": address}, "headers": headers}
        self.page = None

    def get(self, url, **options):
        """Open a page."""
        self.page = self.http.get(url, **{**self.options, **options})
        return self.page

    def send(self, url=None, **fields):
        """Send the form of the page that is shown, to its own URL or another."""
        token = re.search(r'name="csrf" value="([^"]+)"', self.page.text)
        sent = {"csrf": unescape(token[1]) if token else "", **fields}
        self.page = self.http.post(url or self.page.request.full_path.removesuffix("?"), data=sent, **self.options)
        return self.page

    def follow(self):
        """Go where the answer leads."""
        return self.get(self.page.headers["Location"])

    def sign_in(self, login="zoe.petit", password=PASSWORD, next_=None, **fields):
        """Open the sign-in and send login and password."""
        self.get("/oauth/sign-in", query_string={"next": next_} if next_ else None)
        return self.send(login=login, password=password, **fields)

    def cookie(self, name):
        """Return what is held under the name."""
        held = self.http.get_cookie(f"dmp-{name}")
        return held.value if held else None


@contextmanager
def opened_sign_in_world(uri, name):
    """An empty world on the database of that name."""
    with opened_world(uri, name, SignInWorld) as made:
        yield made

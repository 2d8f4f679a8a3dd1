"""A doctor's token for one record, got as an app gets it: an account, its sign-in, the question, the code. And the loads that ask with it."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import unescape
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pyotp
import requests
from bench_target import Target
from bench_wrk import Load

from fhir_dmp.fhir import codec

INS = "urn:oid:1.2.250.1.213.1.4.10"
NUMBER = "279035121518989"
DOCTOR = "urn:oid:1.2.250.1.71.4.2.1|899700218896"
CALLBACK = "http://127.0.0.1:9/back"
SCOPES = "launch/patient patient/Observation.rs"
LOADS = ("read, consent checked", "patient page, consent narrowed")

_ATTENDING = {"identifier": dict(zip(("system", "value"), DOCTOR.split("|"), strict=True))}


HOLDS_SECONDS = 120
"""How long a token is used: half of what it holds."""


@dataclass(slots=True)
class Doctor:
    """Who asks, and the record that is open to her: its patient, its observations, and how she signs in to it."""

    patient: str
    observations: Sequence[str]
    sign_in: Callable[[], str]
    _token: str = ""
    _until: float = 0.0

    def token(self) -> str:
        """Return a token for the record that holds for a while yet."""
        if time.monotonic() > self._until:
            self._token, self._until = self.sign_in(), time.monotonic() + HOLDS_SECONDS
        return self._token

    def loads(self) -> list[Load]:
        """Return the loads whose rules rest on the record's policy."""
        return [
            Load(LOADS[0], [f"/fhir/{name}" for name in self.observations]),
            Load(LOADS[1], [f"/fhir/Observation?patient={self.patient}&_count=50"]),
        ]


def doctor(target: Target, observations: Sequence[bytes]) -> Doctor:
    """Open a record with these observations (about ``@PATIENT@``), let the insurance name a doctor, and sign her in."""
    feed = target.another("insurance-feed")
    tree = {
        "resourceType": "Patient",
        "active": True,
        "identifier": [{"system": INS, "value": NUMBER}],
        "name": [{"family": "Petit"}],
        "generalPractitioner": [_ATTENDING],
    }
    patient = _made(target, "Patient", codec.dumps(tree), feed)
    headers = target.headers()
    names = [
        _made(target, "Observation", each.replace(b"@PATIENT@", patient.encode()), headers) for each in observations
    ]
    return Doctor(patient, names, _signing_in(target))


def _made(target: Target, kind: str, body: bytes, headers: Any) -> str:
    answer = requests.post(f"{target.url}/fhir/{kind}", data=body, headers=headers, timeout=30)
    _require(answer, 201)
    return f"{kind}/{answer.json()['id']}"


def _signing_in(target: Target) -> Callable[[], str]:
    """Make an account and an app for her; return how she gets a token by them."""
    login, password = f"bench-{secrets.token_hex(4)}", secrets.token_urlsafe(24)
    app = f"app-{login}"
    target.command(
        *("client", "add", app, "--kind", "public", "--role", "app", "--name", "Mesure", "--scope", SCOPES),
        *("--redirect-uri", CALLBACK),
    )
    told = target.command(
        *(
            "account",
            "add",
            login,
            "--kind",
            "professional",
            "--name",
            "Dr Mesure",
            "--resource",
            f"Practitioner/{login}",
        ),
        *("--identifier", DOCTOR, "--situation", "10"),
        typed=password,
    )
    secret = told.replace("\n", "").partition("secret=")[2].partition("&")[0]
    return lambda: _Browser(target.url).authorized(app, login, password, pyotp.TOTP(secret).now())


class _Browser:
    """Keeps cookies and sends forms as they are shown."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._page = requests.Response()

    def authorized(self, app: str, login: str, password: str, code: str) -> str:
        """Return the token that the app gets once the person has signed in, chosen the record and allowed it."""
        verifier = secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": app,
            "redirect_uri": CALLBACK,
            "scope": SCOPES,
            "state": secrets.token_urlsafe(8),
            "aud": f"{self._url}/fhir",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        self._page = self._session.get(f"{self._url}/oauth/authorize?{urlencode(asked)}", timeout=30)
        self._send(login=login, password=password)
        self._send(code=code)
        self._send(ins=NUMBER, answer="allow", scope=["patient/Observation.rs", "launch/patient"])
        back = dict(parse_qsl(urlsplit(self._page.headers.get("Location", "")).query))
        form = {
            "grant_type": "authorization_code",
            "code": back.get("code", ""),
            "redirect_uri": CALLBACK,
            "client_id": app,
            "code_verifier": verifier,
        }
        answer = requests.post(f"{self._url}/oauth/token", data=form, timeout=30)
        _require(answer, 200)
        return str(answer.json()["access_token"])

    def _send(self, **fields: Any) -> None:
        """Fill in the form of the page, and go where it leads as long as that is the server."""
        shown = dict(re.findall(r'<input[^>]*type="hidden"[^>]*name="([^"]+)"[^>]*value="([^"]*)"', self._page.text))
        shown |= dict(re.findall(r'<input[^>]*name="([^"]+)"[^>]*type="hidden"[^>]*value="([^"]*)"', self._page.text))
        action = re.search(r'<form[^>]*action="([^"]+)"', self._page.text)
        target = unescape(action[1]) if action else urlsplit(self._page.url)._replace(scheme="", netloc="").geturl()
        sent = {**{name: unescape(value) for name, value in shown.items()}, **fields}
        self._page = self._session.post(self._url + target, data=sent, timeout=30, allow_redirects=False)
        while self._page.is_redirect and not self._page.headers["Location"].startswith(CALLBACK):
            place = self._page.headers["Location"]
            place = place if place.startswith("http") else self._url + place
            self._page = self._session.get(place, timeout=30, allow_redirects=False)


def _require(answer: requests.Response, status: int) -> None:
    if answer.status_code != status:
        raise SystemExit(f"{answer.url.partition('?')[0]}: {answer.status_code} {answer.text[:500]}")


def one_subject(bodies: Sequence[dict[str, Any]]) -> list[bytes]:
    """Return the observations as of one patient, who is still to be named."""
    return [codec.dumps({**body, "subject": {"reference": "@PATIENT@"}}) for body in bodies]

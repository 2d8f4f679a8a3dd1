"""The door of people: a password and a second factor, or a provider's word, become a session.

Each sign-in, done or refused, is one event, durable before the answer leaves. What browsers hold is random and is kept
hashed; it is replaced at each step. https://cheatsheetseries.owasp.org/cheatsheets/Session_Management_Cheat_Sheet.html.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, tzinfo
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from fhir_dmp.call import Context
from fhir_dmp.clock import SECOND, Clock
from fhir_dmp.errors import FhirError, Invalid, Refused, Unauthenticated
from fhir_dmp.oauth.passwords import Passwords
from fhir_dmp.oauth.people import compared_login, is_minor
from fhir_dmp.oauth.totp import hash_recovery_code, matching_step
from fhir_dmp.seal import Seal
from fhir_dmp.service.waits import Waits
from fhir_dmp.store.accounts import Account, Accounts, Session, Situation, Stage
from fhir_dmp.token_act import Announce, TokenAct, TokenKind

T = TypeVar("T")
PENDING = 600 * SECOND
"""How long a second factor and a situation may take."""

SEEN_EVERY = 60 * SECOND
"""How much older than a minute the last sight of a session may be."""

_TOKEN_LENGTH = 43


class SignInRules(Struct, frozen=True):
    """How long a session lasts (seconds; ``idle`` without being seen, ``longest`` at all), the age of majority, and where days begin."""

    idle: int = 1800
    longest: int = 28_800
    majority: int = 18
    zone: tzinfo = UTC


class SignedIn(Struct, frozen=True):
    """Whose browser it is, as account and session stand now."""

    account: Account
    session: Session


class Step(Struct, frozen=True):
    """How far a sign-in has come; ``token`` is what the browser holds from now on, ``device`` what makes it a known one."""

    stage: Stage
    token: str
    device: str = ""


class Attempt(Struct, frozen=True):
    """A login and a password as they were typed, and from where.

    ``device`` is what a browser was given when its owner signed in before; ``secret`` asks for a *connexion secrète*.
    """

    login: str
    password: str
    address: str
    device: str = ""
    secret: bool = False


class Provided(Struct, frozen=True):
    """A provider's word: by whose ``method`` it is known who it is, as what they work, and whether as surely as by two factors."""

    method: str
    situations: Sequence[Situation]
    strong: bool


class SignIn(Struct, frozen=True):
    """Signs people in and out, and tells who is.

    Raises ``Unauthenticated`` for who is not who they say, ``TooMany`` for who tried too often, ``Refused`` for who may not sign in
    this way, ``Invalid`` for a step out of turn.
    """

    accounts: Accounts
    passwords: Passwords
    totp: Seal
    devices: Seal
    clock: Clock
    announce: Announce
    rules: SignInRules = SignInRules()

    def signed_in(self, token: str | None) -> SignedIn | None:
        """Return whose browser it is that holds the token, or None; read anew at each call."""
        found = self._find(token)
        return found if found and found.session.stage == "signed-in" else None

    def waiting(self, token: str | None, stage: Stage, context: Context) -> SignedIn:
        """Return who is at this step of signing in; raise ``Invalid`` if nobody is."""
        found = self._find(token)

        def check() -> SignedIn:
            if found is None or found.session.stage != stage:
                raise Invalid("This sign-in has taken too long, or was finished elsewhere: begin again.")
            return found

        return self._judged(_Told(found.session.method, found.account) if found else _Told(""), context, check)

    def by_password(self, attempt: Attempt, context: Context) -> Step:
        """Take a login and a password; the same is said, and as much is done, of unknown logins and wrong passwords."""
        login = compared_login(attempt.login)
        told = _Told("password")
        waits = self._waits
        device = waits.device(attempt.device, login)

        def check() -> Account:
            keys = waits.take(login, attempt.address, device)
            account = self.accounts.find_account_by_login(login)
            if account is not None:
                told.account = account
            right = self.passwords.verify(account.password if account else None, attempt.password)
            if account is None or not right or account.disabled:
                why = "unknown login" if account is None else "disabled" if right else "wrong password"
                raise Unauthenticated("The login or the password is not right.", reasons=(why,))
            waits.give_back(keys)
            if account.kind == "professional" and account.totp is None:
                raise Refused("This account has no second factor yet.", reasons=("no second factor",))
            return account

        account = self._judged(told, context, check)
        secret = attempt.secret and self._may_be_secret(account)
        session = self._session(account, "password", secret=secret)
        if account.totp is not None:
            return self._next(session, "second-factor")
        return self._proven(account, session, context, account.situations)

    def by_code(self, token: str | None, code: str, device: str, context: Context) -> Step:
        """Take the code of a second factor, or a recovery code; each is good once."""
        found = self.waiting(token, "second-factor", context)
        account = found.account
        told = _Told("password+totp", account)

        def check() -> str:
            key = self._waits.take_second(account, device)
            method = self._second_factor(account, code)
            if method is None:
                raise Unauthenticated("The code is not right, or was used before.", reasons=("wrong code",))
            self._waits.give_back([key])
            return method

        method = self._judged(told, context, check)
        self.accounts.remove_session(found.session.id)
        return self._proven(account, replace(found.session, method=method), context, account.situations)

    def by_provider(self, account: Account, by: Provided, context: Context, *, secret: bool) -> Step:
        """Take a provider's word for whose browser it is, and as what they work."""
        told = _Told(by.method, account)

        def check() -> Account:
            if account.disabled:
                raise Unauthenticated("This account may not sign in.", reasons=("disabled",))
            return account

        self._judged(told, context, check)
        secret = secret and self._may_be_secret(account)
        session = replace(self._session(account, by.method, secret=secret), strong=by.strong)
        return self._proven(account, session, context, by.situations)

    def choose(self, token: str | None, place: int, context: Context) -> Step:
        """Take the situation that a professional signs in with, by its place among theirs."""
        found = self.waiting(token, "situation", context)
        choices = found.session.choices

        def check() -> Situation:
            if not 0 <= place < len(choices):
                raise Invalid("Choose one of the situations.")
            return choices[place]

        situation = self._judged(_Told(found.session.method, found.account), context, check)
        self.accounts.remove_session(found.session.id)
        return self._finish(found.account, replace(found.session, situation=situation, choices=()), context)

    def sign_out(self, token: str | None, context: Context) -> None:
        """End the session, and leave its event; nothing happens if there is none."""
        found = self._find(token)
        if found is None:
            return
        self.accounts.remove_session(found.session.id)
        self.announce(_act("logout", found.account, found.session.method), context)

    @property
    def _waits(self) -> Waits:
        return Waits(self.accounts, self.devices, self.clock)

    def _find(self, token: str | None) -> SignedIn | None:
        if token is None or len(token) != _TOKEN_LENGTH:
            return None
        session = self.accounts.find_session(_digest(token))
        if session is None:
            return None
        now = self.clock.micros()
        if now >= session.ends or now - session.seen >= self.rules.idle * SECOND:
            return None
        account = self.accounts.find_account(session.account)
        if account is None or account.disabled or session.started < account.holds_from:
            return None
        if now - session.seen >= SEEN_EVERY:
            self.accounts.touch_session(session.id, now)
        return SignedIn(account, session)

    def _may_be_secret(self, account: Account) -> bool:
        """Tell whether the *connexion secrète* means anything: for a minor, or for a professional who may see one."""
        today = self.clock.now().astimezone(self.rules.zone).date()
        own_record = account.resource.startswith("Patient/")
        return account.kind == "professional" or (
            own_record and is_minor(account.birth_date, today, self.rules.majority)
        )

    def _second_factor(self, account: Account, code: str) -> str | None:
        """Return how the code proves who it is, or None."""
        if account.totp is None:
            return None
        secret = self.totp.open(account.totp).decode()
        step = matching_step(secret, code, self.clock.micros() // SECOND)
        if step is not None:
            return "password+totp" if self.accounts.use_totp_step(account.id, step) else None
        used = self.accounts.use_recovery_code(account.id, hash_recovery_code(code))
        return "password+recovery" if used else None

    def _session(self, account: Account, method: str, *, secret: bool) -> Session:
        now = self.clock.micros()
        return Session("", account.id, "signed-in", method, now, now, now + PENDING, secret=secret)

    def _proven(self, account: Account, session: Session, context: Context, situations: Sequence[Situation]) -> Step:
        """Ask who has several situations which it is; let all others in."""
        if len(situations) > 1:
            return self._next(replace(session, choices=tuple(situations)), "situation")
        return self._finish(account, replace(session, situation=situations[0] if situations else None), context)

    def _finish(self, account: Account, session: Session, context: Context) -> Step:
        """Keep the session, tell of it, and only then let the browser know."""
        now = self.clock.micros()
        ends = now + self.rules.longest * SECOND
        step = self._next(replace(session, started=now, ends=ends), "signed-in")
        try:
            self.announce(_act("login", account, session.method), context)
        except FhirError:
            self.accounts.remove_session(_digest(step.token))
            raise
        return replace(step, device=self._waits.new_device(account))

    def _next(self, session: Session, stage: Stage) -> Step:
        token = secrets.token_urlsafe(32)
        now = self.clock.micros()
        self.accounts.add_session(replace(session, id=_digest(token), stage=stage, seen=now))
        return Step(stage, token)

    def _judged(self, told: _Told, context: Context, check: Callable[[], T]) -> T:
        """Return what the check returns; if it refuses, leave the event of a failed sign-in."""
        try:
            return check()
        except FhirError as error:
            why = "; ".join(error.reasons) or str(error)
            self.announce(_act("login", told.account, told.method, error.code, why), context)
            raise


class _Told(Struct):
    """What is known so far of an attempt, for its event."""

    method: str
    account: Account | None = None


def _act(kind: TokenKind, account: Account | None, method: str, error: str | None = None, why: str = "") -> TokenAct:
    return TokenAct(
        kind,
        error=error,
        why=why,
        account=account.id if account else "",
        identifier=account.identifier if account else "",
        name=account.name if account else "",
        method=method,
    )


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()

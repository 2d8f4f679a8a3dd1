"""The door of accounts: each act is an operator's, is judged, and leaves its event.

Nobody opens an account over the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import asdict

from fhir_dmp.call import Context
from fhir_dmp.clock import Clock, Ids
from fhir_dmp.errors import Conflict, FhirError, Invalid, NotFound
from fhir_dmp.fhir.reference import parse_literal
from fhir_dmp.oauth.passwords import Passwords, require_good
from fhir_dmp.oauth.people import compared_login, require_account, require_represents
from fhir_dmp.oauth.totp import enrolment_uri, hash_recovery_code, new_recovery_codes, new_secret
from fhir_dmp.seal import Seal
from fhir_dmp.store.accounts import Account, AccountKind, Represented, Situation
from fhir_dmp.store.accounts import Accounts as AccountsPort
from fhir_dmp.token_act import Announce, TokenAct, TokenKind

T = TypeVar("T")


class NewAccount(Struct, frozen=True):
    """What an operator says of a person who is to have an account; see ``store.accounts.Account``."""

    kind: AccountKind
    name: str
    resource: str
    identifier: str
    login: str | None = None
    password: str | None = None
    situations: tuple[Situation, ...] = ()
    represents: tuple[Represented, ...] = ()
    birth_date: str | None = None
    traits: str | None = None
    provider: str | None = None
    subject: str | None = None


class Enrolment(Struct, frozen=True):
    """A second factor, told once: the URI for the telephone, and the codes for the day it is lost."""

    uri: str
    recovery: tuple[str, ...]


class Accounts(Struct, frozen=True):
    """Adds, lists, changes and removes accounts; the context names the operator who does.

    Each method raises ``NotFound`` if ``which`` is neither the id nor the login of an account.
    """

    accounts: AccountsPort
    passwords: Passwords
    seal: Seal
    clock: Clock
    ids: Ids
    announce: Announce

    def add(self, new: NewAccount, context: Context) -> Account:
        """Add the account and return it.

        Raise ``Invalid`` if it may not be, ``Conflict`` if its login, its person or its subject is taken.
        """
        return self._announced("account-add", None, context, lambda: self._add(new), told=lambda made: made)

    def list(self, context: Context) -> tuple[Account, ...]:
        """Return all accounts by age."""
        return self._announced("account-list", None, context, self.accounts.list_accounts)

    def disable(self, which: str, context: Context) -> Account:
        """Let nobody sign in by the account; its sessions and tokens do not hold from then on, on any worker."""
        return self._changed("account-disable", which, context, lambda account: self._set_disabled(account, to=True))

    def enable(self, which: str, context: Context) -> Account:
        """Let its owner sign in again; what was ended stays so."""
        return self._changed("account-enable", which, context, lambda account: self._set_disabled(account, to=False))

    def remove(self, which: str, context: Context) -> Account:
        """Forget the account; its sessions and tokens do not hold from then on, on any worker."""
        return self._changed("account-remove", which, context, lambda account: self.accounts.remove_account(account.id))

    def set_password(self, which: str, password: str, context: Context) -> Account:
        """Replace the password and end all sessions; raise ``Invalid`` if it is easy to guess."""

        def change(account: Account) -> bool:
            if account.login is None:
                raise Invalid("This account signs in by its provider alone; it has no password.")
            require_good(password, account.login, account.name)
            return self.accounts.set_password(account.id, self.passwords.hash(password), self.clock.micros())

        return self._changed("account-password", which, context, change)

    def represent(self, which: str, represented: Represented, context: Context) -> Account:
        """Say as whom a patient stands in another's record; what that opens is the record's to say."""

        def change(account: Account) -> bool:
            others = tuple(each for each in account.represents if each.patient != represented.patient)
            require_represents(account.kind, (*others, represented))
            return self.accounts.set_represents(account.id, (*others, represented))

        return self._changed("account-represent", which, context, change, represented.patient)

    def new_totp(self, which: str, context: Context, secret: str | None = None) -> Enrolment:
        """Replace the second factor and end all sessions; return what its owner needs, which is told this once.

        ``secret`` is one that is known already, of a demonstration.
        """
        secret, recovery = secret or new_secret(), new_recovery_codes()

        def change(account: Account) -> bool:
            if account.login is None:
                raise Invalid("This account signs in by its provider alone; the provider asks for its second factor.")
            hashed = [hash_recovery_code(code) for code in recovery]
            return self.accounts.set_totp(account.id, self.seal.seal(secret.encode()), hashed, self.clock.micros())

        account = self._changed("account-totp", which, context, change)
        return Enrolment(enrolment_uri(secret, account.login or ""), recovery)

    def _add(self, new: NewAccount) -> Account:
        login = compared_login(new.login) if new.login is not None else None
        if new.password is not None:
            require_good(new.password, login or "", new.name)
        now = self.clock.micros()
        password = self.passwords.hash(new.password) if new.password is not None else None
        said = {**asdict(new), "login": login, "password": password}
        account = Account(id=self.ids.new(), added=now, holds_from=now, **said)
        require_account(account)
        if not self.accounts.add_account(account):
            raise Conflict("There is an account of this login, person, or subject at the provider already.")
        return account

    def _set_disabled(self, account: Account, *, to: bool) -> bool:
        return self.accounts.set_disabled(account.id, self.clock.micros(), disabled=to)

    def _changed(
        self,
        kind: TokenKind,
        which: str,
        context: Context,
        change: Callable[[Account], bool],
        record: str | None = None,
    ) -> Account:
        account = self.accounts.find_account(which) or self.accounts.find_account_by_login(compared_login(which))

        def do() -> Account:
            if account is None or not change(account):
                raise NotFound(f"There is no account {which[:64]!r}.")
            return account

        return self._announced(kind, account, context, do, record=record)

    def _announced(
        self,
        kind: TokenKind,
        account: Account | None,
        context: Context,
        do: Callable[[], T],
        told: Callable[[T], Account] | None = None,
        record: str | None = None,
    ) -> T:
        try:
            done = do()
        except FhirError as error:
            self.announce(act_on(kind, account, record, error=error.code, why=str(error)), context)
            raise
        self.announce(act_on(kind, told(done) if told else account, record), context)
        return done


def act_on(kind: TokenKind, account: Account | None, record: str | None = None, **more: Any) -> TokenAct:
    """Return the act on an account, which names whose it is and whose records: ``record`` alone, or else those that it stands in.

    Those of others only where the account itself comes or goes: a new password concerns its owner.
    """
    if account is None:
        return TokenAct(kind, patients=_patients((record,)), **more)
    others = [each.patient for each in account.represents] if kind in ("account-add", "account-remove") else []
    return TokenAct(
        kind,
        account=account.id,
        identifier=account.identifier,
        name=account.name,
        patients=_patients((record,) if record else (account.resource, *others)),
        **more,
    )


def _patients(named: Iterable[str | None]) -> tuple[str, ...]:
    """Return those that are records: a professional has none, and an operator may have typed anything."""
    found = [parse_literal(each) for each in named if each]
    return tuple(str(each.ref) for each in found if each and each.base is None and each.ref.type == "Patient")

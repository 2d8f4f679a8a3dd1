"""The door of people whom a provider knows: from its word to an account here, and from there to a session.

An account is never given to somebody by a likeness: the provider's subject was linked before, or it tells the one national
identifier, or all five traits, of the one account that has them. A patient who is not found is turned away.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from fhir_dmp.call import Context
from fhir_dmp.clock import SECOND, Ids
from fhir_dmp.errors import Conflict, FhirError, Invalid, NotFound, Refused
from fhir_dmp.oauth.oidc import Asked, OpenIdClient
from fhir_dmp.oauth.people import require_account
from fhir_dmp.oauth.providers import Identity, Provider, identify
from fhir_dmp.seal import BrokenSealError, Seal
from fhir_dmp.service.accounts import act_on
from fhir_dmp.service.sign_in import Provided, SignIn, Step
from fhir_dmp.store.accounts import Account
from fhir_dmp.token_act import TokenAct

T = TypeVar("T")
FLOW_SECONDS = 600


class Flow(Struct, frozen=True):
    """A sign-in under way at a provider, as the browser holds it, sealed.

    ``after`` is where it leads on to; ``secret`` whether a *connexion secrète* was asked for.
    """

    provider: str
    asked: Asked
    after: str
    secret: bool


class Federation(Struct, frozen=True):
    """Sends people to a provider, and takes them back.

    Raises ``Unavailable`` if the provider does not answer, ``Unauthenticated`` if its answer does not hold, ``Refused`` for who
    has no account, ``Invalid`` for an answer that nobody waits for.
    """

    clients: Mapping[str, OpenIdClient]
    sign_in: SignIn
    ids: Ids
    seal: Seal

    @property
    def providers(self) -> tuple[Provider, ...]:
        """The providers, in the order of the file that describes them."""
        return tuple(client.provider for client in self.clients.values())

    def leave(self, name: str, after: str, context: Context, *, secret: bool) -> tuple[str, str]:
        """Return where the provider asks who it is, and what the browser holds until it comes back."""
        asked = Asked.new()
        url = self._judged(name, context, lambda: self._client(name).authorization_url(asked))
        now = self.sign_in.clock.micros() // SECOND
        flow = {
            "provider": name,
            "asked": [asked.state, asked.nonce, asked.verifier],
            "after": after,
            "secret": secret,
            "ends": now + FLOW_SECONDS,
        }
        return url, self.seal.seal(json.dumps(flow).encode())

    def flow(self, name: str, held: str | None, context: Context) -> Flow:
        """Return the sign-in that the browser has under way at the provider; raise ``Invalid`` if there is none."""
        return self._judged(name, context, lambda: self._flow(name, held))

    def _flow(self, name: str, held: str | None) -> Flow:
        try:
            flow: Mapping[str, Any] = json.loads(self.seal.open(held or ""))
        except (BrokenSealError, ValueError):
            flow = {}
        if flow.get("provider") != name or flow["ends"] <= self.sign_in.clock.micros() // SECOND:
            raise Invalid("Nobody waits for this answer: begin again.")
        return Flow(name, Asked(*flow["asked"]), flow["after"], flow["secret"])

    def come_back(self, flow: Flow, answer: Mapping[str, str], context: Context) -> Step:
        """Take the provider's answer, and sign in whoever it names; a refusal leaves its event."""

        def check() -> tuple[Account, Provided]:
            client = self._client(flow.provider)
            identity = identify(client.provider, client.claims(answer, flow.asked))
            account = self._account(client.provider, identity, context)
            return account, Provided(flow.provider, identity.situations, strong=client.provider.strong)

        account, by = self._judged(flow.provider, context, check)
        return self.sign_in.by_provider(account, by, context, secret=flow.secret)

    def _judged(self, name: str, context: Context, check: Callable[[], T]) -> T:
        """Return what the check returns; if it refuses, leave the event of a failed sign-in, by a provider if there is one of that name."""
        try:
            return check()
        except FhirError as error:
            why, method = "; ".join(error.reasons) or str(error), name if name in self.clients else ""
            self.sign_in.announce(TokenAct("login", error=error.code, why=why, method=method), context)
            raise

    def _client(self, name: str) -> OpenIdClient:
        client = self.clients.get(name)
        if client is None:
            raise NotFound("There is no such provider here.")
        return client

    def _account(self, provider: Provider, identity: Identity, context: Context) -> Account:
        """Return the account of whom the provider names; open one for a professional, if it is set up so."""
        accounts = self.sign_in.accounts
        if provider.kind == "professional" and not identity.situations:
            raise Refused("The provider names no health profession.", reasons=("no situation of exercise",))
        account = accounts.find_account_by_subject(provider.name, identity.subject)
        if account is None:
            account = self._matched(provider, identity)
            if account is not None and not accounts.link_subject(account.id, provider.name, identity.subject):
                raise Refused("This account signs in otherwise.", reasons=("the account is linked to another subject",))
        if account is None and provider.opens and identity.identifier:
            account = self._opened(provider, identity, context)
        if account is None or account.kind != provider.kind:
            raise Refused("No account is open for this person.", reasons=("no account",))
        if identity.identifier not in (None, account.identifier):
            raise Refused("The account is another person's.", reasons=("the identifier is not the account's",))
        if identity.situations and identity.situations != account.situations:
            accounts.set_situations(account.id, identity.situations)
        return replace(account, situations=identity.situations or account.situations)

    def _matched(self, provider: Provider, identity: Identity) -> Account | None:
        """Return the one account that the provider's claims name by a way that it is trusted for."""
        accounts = self.sign_in.accounts
        resource_type = "Practitioner" if provider.kind == "professional" else "Patient"
        if "identifier" in provider.match and identity.identifier:
            found = accounts.find_account_by_identifier(resource_type, identity.identifier)
            if found is not None:
                return found
        if "traits" in provider.match and identity.traits:
            return accounts.find_account_by_traits(identity.traits)
        return None

    def _opened(self, provider: Provider, identity: Identity, context: Context) -> Account:
        """Open an account for a professional whom the provider names by the national identifier."""
        now = self.sign_in.clock.micros()
        identifier = identity.identifier or ""
        account = Account(
            id=self.ids.new(),
            kind="professional",
            name=identity.name,
            resource="Practitioner/" + re.sub(r"[^A-Za-z0-9.\-]", "-", identifier.partition("|")[2])[:64],
            identifier=identifier,
            added=now,
            holds_from=now,
            situations=identity.situations,
            provider=provider.name,
            subject=identity.subject,
        )
        require_account(account)
        if not self.sign_in.accounts.add_account(account):
            raise Conflict("The account was opened just now: sign in again.")
        self.sign_in.announce(act_on("account-add", account, method=provider.name), context)
        return account

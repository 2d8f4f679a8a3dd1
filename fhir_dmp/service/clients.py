"""The door of client registration: each act is an operator's, is judged, and leaves its event.

Nobody registers over the network. https://www.rfc-editor.org/rfc/rfc6749#section-2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from msgspec import Struct

from fhir_dmp.call import Context, Restrict
from fhir_dmp.clock import Clock, Ids
from fhir_dmp.errors import Conflict, FhirError, NotFound
from fhir_dmp.oauth.client_secret import hashed, make_secret
from fhir_dmp.oauth.clients import public_jwks, require_registrable
from fhir_dmp.store.grants import Client, Grants
from fhir_dmp.token_act import Announce, TokenAct, TokenKind

T = TypeVar("T")


class NewClient(Struct, frozen=True):
    """What an operator says of a client that is to be registered.

    ``jwks`` is the text of its public key set, ``name`` what people are told it is called.
    """

    id: str
    kind: str
    role: str
    scopes: tuple[str, ...]
    organization: str | None = None
    jwks: str | None = None
    jwks_url: str | None = None
    redirect_uris: tuple[str, ...] = ()
    name: str | None = None


class Clients(Struct, frozen=True):
    """Registers, lists and removes clients; the context names the operator who does."""

    grants: Grants
    clock: Clock
    ids: Ids
    announce: Announce
    restrict: Restrict

    def add(self, new: NewClient, context: Context) -> Client:
        """Register the client and return it.

        Raise ``Invalid`` if it may not be, ``Conflict`` if its id is taken.
        """
        return self._announced("client-add", new.id, context, lambda: self._add(new, None))

    def add_with_secret(self, new: NewClient, context: Context) -> tuple[Client, str]:
        """Register the client and return it with its new secret, which nobody can tell again; raise as ``add`` does."""
        raw = make_secret()
        return self._announced("client-add", new.id, context, lambda: self._add(new, raw)), raw

    def list(self, context: Context) -> tuple[Client, ...]:
        """Return all clients by id."""
        return self._announced("client-list", "", context, self.grants.list_clients)

    def remove(self, client_id: str, context: Context) -> None:
        """Forget the client.

        Its tokens do not hold from then on, on any worker. Raise ``NotFound`` if nobody has that id.
        """
        self._announced("client-remove", client_id, context, lambda: self._remove(client_id))

    def _add(self, new: NewClient, secret: str | None) -> Client:
        client = Client(
            id=new.id,
            registration=self.ids.new(),
            kind=new.kind,
            role=new.role,
            scopes=tuple(dict.fromkeys(new.scopes)),
            registered=self.clock.micros(),
            organization=new.organization,
            jwks=public_jwks(new.jwks) if new.jwks else None,
            jwks_url=new.jwks_url,
            redirect_uris=new.redirect_uris,
            name=new.name,
            secret_hash=hashed(secret) if secret else None,
        )
        require_registrable(client, self.restrict)
        if not self.grants.add_client(client):
            raise Conflict(f"There is a client {client.id} already; remove it first.")
        return client

    def _remove(self, client_id: str) -> None:
        if not self.grants.remove_client(client_id):
            raise NotFound(f"There is no client {client_id[:64]!r}.")

    def _announced(self, kind: TokenKind, client_id: str, context: Context, do: Callable[[], T]) -> T:
        try:
            done = do()
        except FhirError as error:
            self.announce(TokenAct(kind, client_id, error.code, str(error)), context)
            raise
        self.announce(TokenAct(kind, client_id), context)
        return done

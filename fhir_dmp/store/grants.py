"""The port of clients, keys and tokens: what OAuth asks of a database. https://www.rfc-editor.org/rfc/rfc6749.

Everything that is acknowledged is durable (majority, journaled); everything that is read is committed.
Methods raise ``errors.Unavailable`` when the database does not answer in time. Times are microseconds since
1970.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import Struct


class Client(Struct, frozen=True):
    """A client as it was registered. https://www.rfc-editor.org/rfc/rfc6749#section-2.

    ``kind`` is ``backend``, ``confidential`` or ``public``; ``role`` that of ``access.model.Subject``;
    ``organization`` the structure it acts for (``system|value``). ``jwks`` is the text of its public key set,
    ``secret_hash`` the SHA-256 of its secret, ``name`` what people are told it is called.
    ``registration`` is new each time that an id is registered: tokens name it, so that those of an earlier
    registration do not hold.
    """

    id: str
    registration: str
    kind: str
    role: str
    scopes: tuple[str, ...]
    registered: int
    organization: str | None = None
    jwks: str | None = None
    jwks_url: str | None = None
    redirect_uris: tuple[str, ...] = ()
    name: str | None = None
    secret_hash: str | None = None


class Look(Struct, frozen=True):
    """Whose standing is asked: a client and its token; of a person's token its family, account and record besides."""

    client: str
    token: str
    family: str | None = None
    account: str | None = None
    patient: str | None = None


class PolicyRow(Struct, frozen=True):
    """What opens one record (``Patient/p``), as it was last committed: compiled, as JSON.

    ``version`` counts from 1 and grows with each commit that touches its sources.
    """

    patient: str
    version: int
    body: bytes


class PersonStanding(Struct, frozen=True):
    """What holds of the authorization that a person's token descends from.

    ``person`` are the fields of ``access.model.Person`` as they were authorized, ``organization`` the structure the person acts
    for.
    """

    person: Mapping[str, Any]
    organization: str | None


class Standing(Struct, frozen=True):
    """What holds of a token's client, of the token itself and of the record it is for, at this moment.

    ``revoked`` covers the token's family as well. ``policy`` is None for a record that nobody has opened or closed yet. ``person`` is
    None for the token of a system, and for that of a person whose family or account does not hold: absent, revoked,
    disabled, or changed since in a way that ends what began before.
    """

    registration: str
    role: str
    organization: str | None
    revoked: bool
    policy: PolicyRow | None = None
    person: PersonStanding | None = None


class Key(Struct, frozen=True):
    """A signing key: the private half is sealed, and nothing but the sealed half is stored.

    ``generation`` counts from 1 and is unique. The key signs from ``signs_from`` until ``signs_until`` and is
    kept until ``expires``, when the last token that it signed is long gone.
    """

    generation: int
    kid: str
    sealed: str
    signs_from: int
    signs_until: int
    expires: int


class Grants(Protocol):
    """A place for clients, signing keys, used assertions and revoked tokens."""

    def add_client(self, client: Client) -> bool:
        """Register the client; return False if its id is taken."""
        ...

    def find_client(self, client_id: str) -> Client | None:
        """Return the client as it is registered now."""
        ...

    def list_clients(self) -> tuple[Client, ...]:
        """Return all clients by id."""
        ...

    def remove_client(self, client_id: str) -> bool:
        """Forget the client.

        Return False if nobody has that id. Reads that begin later do not see it, on any worker.
        """
        ...

    def find_standing(self, look: Look) -> Standing | None:
        """Return what holds now of those the look names, or None if there is no such client.

        Calls that wait together share one query; each is answered by a query sent after it began.
        """
        ...

    def use_assertion(self, client_id: str, jti: str, expires: int) -> bool:
        """Remember for good (until ``expires`` is well past) that the client used ``jti``.

        Return False if it had before.
        """
        ...

    def revoke_token(self, token_id: str, expires: int) -> None:
        """Remember until ``expires`` that the token does not hold any more."""
        ...

    def list_keys(self) -> tuple[Key, ...]:
        """Return the signing keys that are kept, by generation."""
        ...

    def add_key(self, key: Key) -> bool:
        """Keep a signing key; return False if its generation exists."""
        ...

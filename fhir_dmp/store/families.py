"""The port of authorizations: what a person allowed a client, and all tokens that come of it.

Everything that is acknowledged is durable (majority, journaled); everything that is read is committed.
Methods raise ``errors.Unavailable`` when the database does not answer in time. Times are microseconds since
1970.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import Struct, field


class Family(Struct, frozen=True):
    """One authorization: its code, and the access and refresh tokens that descend from it.

    ``id`` begins with the account's id and a dot.

    ``registration`` is that of the client, ``session`` that of the browser in which it was given. ``person`` are the fields of
    ``access.model.Person``, ``organization`` the structure that the person acts for, ``launch`` what the token answer tells of
    the launch beside patient and encounter. ``code`` and ``refresh`` are the SHA-256 of the code and of the refresh token that may
    be used next; ``redeemed`` says that the code was used. ``ends`` is when nothing of the family holds any more.
    """

    id: str
    client: str
    registration: str
    account: str
    session: str
    scopes: tuple[str, ...]
    person: Mapping[str, Any]
    redirect_uri: str
    challenge: str
    code: str
    began: int
    ends: int
    organization: str | None = None
    nonce: str | None = None
    refresh: str | None = None
    launch: Mapping[str, Any] = field(default_factory=dict)
    redeemed: bool = False
    revoked: bool = False


class Families(Protocol):
    """A place for authorizations."""

    def add_family(self, family: Family) -> None:
        """Keep a new authorization until it ends."""
        ...

    def find_family(self, family_id: str) -> Family | None:
        """Return the authorization as it is now."""
        ...

    def of_account(self, account_id: str) -> tuple[Family, ...]:
        """Return all authorizations that the account gave and that are kept, by age."""
        ...

    def redeem_code(self, family_id: str, code: str, refresh: str | None, ends: int, now: int) -> bool:
        """Use the code: the family lives until ``ends`` from ``now`` on, with that refresh token.

        Return False if the code was used before, or the family is over or was revoked; of many who try at once one gets True.
        """
        ...

    def rotate_refresh(self, family_id: str, used: str, following: str) -> bool:
        """Replace the refresh token that was used by the following one.

        Return False if it is not the one that may be used, or the family was revoked; of many who try at once one gets True.
        """
        ...

    def revoke_family(self, family_id: str) -> None:
        """Let nothing of the family hold from now on, on any worker."""
        ...

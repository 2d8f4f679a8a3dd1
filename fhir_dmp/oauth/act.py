"""What happened at an OAuth door, for its event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from fhir_dmp.access.model import Subject
from fhir_dmp.call import Context

Kind = Literal[
    "authorize",
    "token",
    "revoke",
    "introspect",
    "userinfo",
    "launch",
    "operator-token",
    "client-add",
    "client-list",
    "client-remove",
    "account-add",
    "account-list",
    "account-disable",
    "account-enable",
    "account-remove",
    "account-password",
    "account-totp",
    "account-represent",
    "audit-rotate-key",
    "audit-retire",
    "login",
    "logout",
]


class TokenAct(Struct, frozen=True):
    """One OAuth call and how it ended.

    ``client_id`` is what the caller said, proven only if ``error`` is None. ``error`` is the OAuth code of a
    refusal and ``why`` its description. ``subject`` is whom a token was made for; its ``token_id`` is the
    token's ``jti``. ``account`` is the id of the account that was changed, or by which somebody signed in or tried to (empty if nobody
    has that login), ``identifier`` its owner's national one, and ``method`` how they signed in: ``password``, ``password+totp``,
    ``password+recovery`` or the name of a provider.
    """

    kind: Kind
    client_id: str = ""
    error: str | None = None
    why: str = ""
    scopes: tuple[str, ...] = ()
    subject: Subject | None = None
    account: str = ""
    identifier: str = ""
    method: str = ""


Announce = Callable[[TokenAct, Context], None]
"""Makes the event of an act durable before the answer leaves.

Raises ``Unavailable`` if it cannot, ``TooMany`` in a flood.
"""

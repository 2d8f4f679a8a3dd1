"""OAuth calls and commands, as the log tells them: what was done with tokens, clients, accounts and the log itself.

https://www.rfc-editor.org/rfc/rfc6749.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from fhir_dmp.access.model import Subject
from fhir_dmp.call import Context

TokenKind = Literal[
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
    "audit-retire-start",
    "audit-retire",
    "audit-verify",
    "record-erase",
    "login",
    "logout",
]


DECLINED = "The person said no."
"""Why an authorization came to nothing that was for the person alone to give."""


class TokenAct(Struct, frozen=True):
    """One OAuth call and how it ended.

    ``client_id`` is what the caller said, proven only if ``error`` is None. ``error`` is the OAuth code of a
    refusal and ``why`` its description. ``subject`` is whom a token was made for; its ``token_id`` is the
    token's ``jti``. ``account`` is the id of the account that was changed, or by which somebody signed in or tried to (empty if nobody
    has that login), ``identifier`` its owner's national one and ``name`` theirs, and ``method`` how they signed in: ``password``,
    ``password+totp``, ``password+recovery`` or the name of a provider. ``family`` is the authorization that a person gave, or whose token
    was given back. ``patients`` (``Patient/p``) are the records concerned beside that of the subject. Where a token was looked at, or given
    by whom it does not belong to, ``owner`` is the client that it was issued to, ``token`` its ``jti`` and ``account`` whose it is;
    ``hidden`` tells that representatives are not told. ``asked`` is the form that was sent, without what proves anything.
    """

    kind: TokenKind
    client_id: str = ""
    error: str | None = None
    why: str = ""
    scopes: tuple[str, ...] = ()
    subject: Subject | None = None
    account: str = ""
    identifier: str = ""
    name: str = ""
    method: str = ""
    family: str = ""
    patients: tuple[str, ...] = ()
    owner: str = ""
    token: str = ""
    hidden: bool = False
    asked: str = ""


Announce = Callable[[TokenAct, Context], None]
"""Makes the event of an act durable before the answer leaves.

Raises ``Unavailable`` if it cannot, ``TooMany`` in a flood.
"""

"""Refresh tokens: each is good for one use, and a second use ends the whole family. https://www.rfc-editor.org/rfc/rfc6749#section-6.

Rotation with detection of reuse: https://www.rfc-editor.org/rfc/rfc9700#section-4.14.2.
"""

from __future__ import annotations

from fhir_dmp.oauth.code_grant import within
from fhir_dmp.oauth.errors import InvalidGrant, InvalidScope
from fhir_dmp.store.accounts import Session
from fhir_dmp.store.families import Family
from fhir_dmp.store.grants import Client

GRANT_TYPE = "refresh_token"


def require_refreshable(family: Family | None, client: Client, now: int) -> Family:
    """Return the family if the client may still refresh it at ``now`` (microseconds)."""
    if family is None or family.client != client.id:
        raise InvalidGrant("There is no such refresh token of this client.")
    if family.registration != client.registration:
        raise InvalidGrant("The client was registered anew since.")
    if family.revoked or family.ends <= now:
        raise InvalidGrant("The authorization has ended; ask the person again.")
    return family


def require_online(family: Family, session: Session | None, now: int) -> None:
    """Raise ``InvalidGrant`` if the authorization lasts as long as the person stays signed in, and they do not.

    https://hl7.org/fhir/smart-app-launch/STU2.2/scopes-and-launch-context.html#scopes-for-requesting-a-refresh-token.
    """
    if "online_access" in family.scopes and (session is None or session.ends <= now):
        raise InvalidGrant("The person has signed out.")


def refreshed_scopes(family: Family, asked: str | None) -> tuple[str, ...]:
    """Return the scopes of the next access token: those of the authorization, or the fewer that were asked."""
    if asked is None:
        return family.scopes
    scopes = tuple(dict.fromkeys(asked.split()))
    granted = within(scopes, family.scopes)
    if not granted or len(granted) != len(scopes):
        raise InvalidScope("A refresh cannot ask for more than was authorized.")
    return granted

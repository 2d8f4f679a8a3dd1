"""A client proves who it is by a secret. https://www.rfc-editor.org/rfc/rfc6749#section-2.3.1.

As SMART's symmetric authentication: https://hl7.org/fhir/smart-app-launch/STU2.2/client-confidential-symmetric.html. Secrets are made
here and have 256 bits of chance, so that their SHA-256 can be kept without a slow hash: there is nothing to guess.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from urllib.parse import unquote_plus

from msgspec import Struct

from fhir_dmp.oauth.errors import InvalidClient, InvalidRequest
from fhir_dmp.store.grants import Client

BYTES = 32
LENGTH = 512


class Secret(Struct, frozen=True):
    """A client id and what was said to be its secret; nothing of it is proven yet."""

    unverified_client_id: str
    raw: str


def make_secret() -> str:
    """Return a new secret; it is shown once and kept by nobody but the client."""
    return secrets.token_urlsafe(BYTES)


def hashed(raw: str) -> str:
    """Return what the server keeps of a secret."""
    return hashlib.sha256(raw.encode()).hexdigest()


def read_secret(authorization: str, form: Mapping[str, str]) -> Secret | None:
    """Return the secret of the Authorization header or of the form, or None if neither holds one."""
    scheme, _, credentials = authorization.partition(" ")
    posted = form.get("client_secret")
    if scheme.lower() != "basic":
        return Secret(_client_id(form), posted[:LENGTH]) if posted else None
    if posted:
        raise InvalidRequest("Authenticate in one way: by the Authorization header or by client_secret.")
    return _basic(credentials)


def _client_id(form: Mapping[str, str]) -> str:
    client_id = form.get("client_id")
    if client_id is None:
        raise InvalidRequest("client_id is missing.")
    return client_id


def _basic(credentials: str) -> Secret:
    try:
        text = base64.b64decode(credentials[: 4 * LENGTH], validate=True).decode()
    except (binascii.Error, ValueError):
        raise InvalidClient("The Authorization header must be: Basic, a space, base64 of id:secret.") from None
    client_id, _, secret = text.partition(":")
    return Secret(unquote_plus(client_id), unquote_plus(secret))


def require_secret(secret: Secret, client: Client) -> None:
    """Raise ``InvalidClient`` unless the secret is the client's; in constant time."""
    if not hmac.compare_digest(hashed(secret.raw), client.secret_hash or ""):
        raise InvalidClient("The secret is not that of this client.")

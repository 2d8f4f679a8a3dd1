"""The errors of OAuth 2.0, one class for each code. https://www.rfc-editor.org/rfc/rfc6749#section-5.2."""

from __future__ import annotations

from typing import ClassVar

_ALLOWED = frozenset(range(0x20, 0x7F)) - {0x22, 0x5C}
DESCRIPTION_LENGTH = 300


class OAuthError(Exception):
    """A refusal by its RFC code; ``description`` is for the developer of the client, ``headers`` go out with it.

    Characters that RFC 6749 does not allow in a description become ``?``.
    """

    error: ClassVar[str] = "server_error"
    status: ClassVar[int] = 500

    def __init__(self, description: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        text = "".join(char if ord(char) in _ALLOWED else "?" for char in description)
        self.description = text[:DESCRIPTION_LENGTH]
        self.headers = headers
        super().__init__(self.description)


class InvalidRequest(OAuthError):
    """A parameter is missing, repeated or malformed."""

    error, status = "invalid_request", 400


class WrongMethod(InvalidRequest):
    """The endpoint does not take the method. https://www.rfc-editor.org/rfc/rfc9110#section-15.5.6."""

    status = 405


class InvalidClient(OAuthError):
    """The client is unknown or did not prove who it is."""

    error, status = "invalid_client", 401


class InvalidGrant(OAuthError):
    """The grant is invalid, expired, revoked, or somebody else's."""

    error, status = "invalid_grant", 400


class UnauthorizedClient(OAuthError):
    """The client is known and may not use this kind of grant."""

    error, status = "unauthorized_client", 400


class UnsupportedGrantType(OAuthError):
    """The server does not take this kind of grant."""

    error, status = "unsupported_grant_type", 400


class UnsupportedResponseType(OAuthError):
    """The authorization endpoint does not answer in this way."""

    error, status = "unsupported_response_type", 400


class AccessDenied(OAuthError):
    """The person, or the server on their behalf, said no."""

    error, status = "access_denied", 403


class LoginRequired(OAuthError):
    """The client forbade to ask, and nobody is signed in. https://openid.net/specs/openid-connect-core-1_0.html#AuthError."""

    error, status = "login_required", 400


class ConsentRequired(OAuthError):
    """The client forbade to ask, and this server always asks."""

    error, status = "consent_required", 400


class InvalidScope(OAuthError):
    """The scope is malformed, not supported, or more than the client is registered for."""

    error, status = "invalid_scope", 400

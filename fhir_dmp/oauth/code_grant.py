"""The authorization code: what a client asks of a person, and what it gets for the code.

https://www.rfc-editor.org/rfc/rfc6749#section-4.1, as SMART App Launch uses it:
https://hl7.org/fhir/smart-app-launch/STU2.2/app-launch.html. PKCE, ``state``, ``aud`` and an exact redirect URI are asked of every
client.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence

from msgspec import Struct

from fhir_dmp.access.scopes import cut, parse_scope
from fhir_dmp.oauth.clients import LAUNCH_SCOPES
from fhir_dmp.oauth.errors import (
    InvalidGrant,
    InvalidRequest,
    InvalidScope,
    UnauthorizedClient,
    UnsupportedResponseType,
)
from fhir_dmp.oauth.pkce import require_challenge, require_verifier
from fhir_dmp.store.families import Family
from fhir_dmp.store.grants import Client

GRANT_TYPE = "authorization_code"
RESPONSE_TYPE = "code"
RESPONSE_MODE = "query"
TEXT_LENGTH = 2048
EMERGENCIES = ("BTG", "ETREAT")
"""The purposes that are asked for with a written reason, of v3-ActReason: breaking the glass, and the regulator of a SAMU."""


class Asked(Struct, frozen=True):
    """What a client asks of a person, as it was read; ``scopes`` are those that it is registered for.

    ``launch`` is the raw launch token of an EHR. ``purpose`` is one of ``EMERGENCIES``, or None for the ordinary one.
    """

    client_id: str
    redirect_uri: str
    scopes: tuple[str, ...]
    state: str
    challenge: str
    nonce: str | None = None
    launch: str | None = None
    prompt: str | None = None
    purpose: str | None = None

    @property
    def needs_patient(self) -> bool:
        """Tell whether the token has to be bound to one record, whoever the person is."""
        resource_scopes = [scope for scope in map(parse_scope, self.scopes) if scope]
        return "launch/patient" in self.scopes or any(scope.level == "patient" for scope in resource_scopes)

    @property
    def needs_encounter(self) -> bool:
        """Tell whether the client asks for an encounter to be chosen."""
        return "launch/encounter" in self.scopes and self.launch is None


def require_redirect(params: Mapping[str, str], client: Client) -> str:
    """Return the redirect URI if it is, letter by letter, one that the client registered.

    What is wrong here is told to the person and to nobody else: the address cannot be trusted.
    """
    uri = params.get("redirect_uri", "")
    if client.kind == "backend":
        raise UnauthorizedClient("A backend client acts for itself and asks nobody.")
    if not any(hmac.compare_digest(uri.encode(), known.encode()) for known in client.redirect_uris):
        raise InvalidRequest("redirect_uri is not one that this client registered.")
    return uri


def read_authorization(params: Mapping[str, str], client: Client, audience: str) -> Asked:
    """Return what is asked, or raise the ``OAuthError`` that the client is told by way of its redirect URI."""
    if any(len(value) > TEXT_LENGTH for name, value in params.items() if name != "scope"):
        raise InvalidRequest(f"A parameter is longer than {TEXT_LENGTH} characters.")
    if params.get("response_type") != RESPONSE_TYPE:
        raise UnsupportedResponseType(f"This server answers response_type={RESPONSE_TYPE} alone.")
    if params.get("response_mode", RESPONSE_MODE) != RESPONSE_MODE:
        raise InvalidRequest(f"This server answers by response_mode={RESPONSE_MODE} alone.")
    if "request" in params or "request_uri" in params:
        raise InvalidRequest("Request objects are not supported.")
    if "state" not in params:
        raise InvalidRequest("state is missing: send one that cannot be guessed, and check it.")
    if params.get("aud", "").rstrip("/") != audience:
        raise InvalidRequest(f"aud must be {audience}.")
    return Asked(
        client_id=client.id,
        redirect_uri=params["redirect_uri"],
        scopes=_scopes(params, client),
        state=params["state"],
        challenge=require_challenge(params),
        nonce=params.get("nonce"),
        launch=params.get("launch"),
        prompt=params.get("prompt"),
        purpose=_purpose(params),
    )


def claimed_purpose(params: Mapping[str, str]) -> str:
    """Return the code of the purpose that the client asks for, whatever it is worth."""
    return params.get("purpose_of_use", "").rpartition("|")[2]


def _purpose(params: Mapping[str, str]) -> str | None:
    purpose = claimed_purpose(params)
    if purpose in ("", "TREAT", "PATRQT", "FAMRQT"):
        return None
    if purpose not in EMERGENCIES:
        raise InvalidRequest(f"purpose_of_use is {' or '.join(EMERGENCIES)}, or left out.")
    return purpose


def _scopes(params: Mapping[str, str], client: Client) -> tuple[str, ...]:
    asked = tuple(dict.fromkeys(params.get("scope", "").split()))
    if "launch" in params and "launch" not in asked:
        raise InvalidScope("A launch token is used with the scope launch.")
    scopes = within(asked, client.scopes)
    if "launch" not in params:
        scopes = tuple(scope for scope in scopes if scope != "launch")
    if not scopes:
        raise InvalidScope("The client is registered for none of the scopes that it asks for.")
    return scopes


def within(asked: Sequence[str], had: Sequence[str]) -> tuple[str, ...]:
    """Return those of the scopes that lie within what is had, in order; what makes no sense without another goes with it."""
    resources = set(cut(asked, had))
    scopes = [scope for scope in asked if scope in resources or (scope in LAUNCH_SCOPES and scope in had)]
    if "openid" not in scopes:
        scopes = [scope for scope in scopes if scope not in ("fhirUser", "profile")]
    if "offline_access" in scopes:
        scopes = [scope for scope in scopes if scope != "online_access"]
    return tuple(scopes)


def require_redeemable(family: Family, client: Client, form: Mapping[str, str]) -> None:
    """Raise unless this client may redeem the family's code by this form. https://www.rfc-editor.org/rfc/rfc6749#section-4.1.3."""
    if form.get("redirect_uri") != family.redirect_uri:
        raise InvalidGrant("redirect_uri is not the one that the code was asked for with.")
    if family.registration != client.registration:
        raise InvalidGrant("The client was registered anew since.")
    require_verifier(family.challenge, form)


def refreshes(scopes: Sequence[str]) -> bool:
    """Tell whether a refresh token comes with these scopes."""
    return "offline_access" in scopes or "online_access" in scopes

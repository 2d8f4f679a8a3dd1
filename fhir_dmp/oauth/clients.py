"""What a client must be to be registered. https://www.rfc-editor.org/rfc/rfc6749#section-2.

Clients prove who they are by their key, confidential ones by a secret if they have none, public ones not at all. Of a secret the server
keeps the hash alone.
Insurers, mutual funds and employers have no role here: nothing leads to one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from fhir_dmp.access.scopes import Scope, parse_scope
from fhir_dmp.call import Restrict
from fhir_dmp.errors import FhirError, Invalid
from fhir_dmp.oauth.errors import InvalidScope
from fhir_dmp.oauth.jwks import JwksError, parse_jwks, require_secure_url
from fhir_dmp.oauth.people import require_organization
from fhir_dmp.outside import is_loopback
from fhir_dmp.store.grants import Client

KINDS = ("backend", "confidential", "public")
ROLES = ("ehr", "lab", "insurance-feed", "auditor", "samu", "app", "admin")
LEVELS = {"backend": ("system",), "confidential": ("patient", "user"), "public": ("patient", "user")}
"""The levels of resource scopes that each kind of client may be registered for."""

OF_PEOPLE = ("app", "ehr", "samu")
"""The roles of clients that act for people; all others act for themselves."""

LAUNCH_SCOPES = (
    "openid",
    "fhirUser",
    "profile",
    "launch",
    "launch/patient",
    "launch/encounter",
    "offline_access",
    "online_access",
)
"""What clients that act for people may be registered for besides:
https://hl7.org/fhir/smart-app-launch/STU2.2/scopes-and-launch-context.html.
"""

INTROSPECTION_SCOPE = "__introspection"
"""Lets a resource server ask about the tokens of others; SMART marks scopes of one's own by two underscores."""

MOST_SCOPES = 200
MOST_REDIRECTS = 20
SCOPE_LENGTH = 256
URL_LENGTH = 500
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{0,63}\Z")
_NAME = re.compile(r"[^\x00-\x1f<>]{1,100}\Z")


def require_registrable(client: Client, restrict: Restrict) -> None:
    """Raise ``Invalid`` naming the first thing that keeps the client from being registered."""
    if not _ID.match(client.id):
        raise Invalid("A client id is 1 to 64 letters, digits, dots, hyphens and underscores, a letter or digit first.")
    _one_of(client.kind, KINDS, "kind")
    _one_of(client.role, ROLES, "role")
    if client.kind != "backend" and client.role not in OF_PEOPLE:
        raise Invalid(f"A client of the role {client.role} acts for itself: its kind is backend.")
    if client.name is not None and not _NAME.match(client.name):
        raise Invalid("A name has 1 to 100 characters.")
    if client.organization is not None:
        require_organization(client.organization)
    _require_scopes(client, restrict)
    _require_keys(client)
    _require_redirects(client)


def public_jwks(text: str) -> str:
    """Return the text of a key set in its shortest form; raise ``Invalid`` if it cannot be used."""
    try:
        parse_jwks(text)
    except JwksError as error:
        raise Invalid(str(error)) from None
    return json.dumps(json.loads(text), separators=(",", ":"))


def require_understood(scope: Scope, restrict: Restrict) -> None:
    """Raise ``Invalid`` for a scope whose type or whose search restriction this server does not know: it would be another one."""
    try:
        if scope.type is not None:
            restrict(scope.type, scope.restriction)
    except FhirError as error:
        raise Invalid(f"The scope {scope.text[:100]!r} cannot be kept: {error}") from None


def require_meaning(asked: Iterable[str], restrict: Restrict) -> None:
    """Raise ``InvalidScope`` if one of the scopes that are asked for has a restriction that this server does not know."""
    try:
        for scope in map(parse_scope, asked):
            if scope is not None:
                require_understood(scope, restrict)
    except Invalid as error:
        raise InvalidScope(str(error)) from None


def _one_of(value: str, known: tuple[str, ...], what: str) -> None:
    if value not in known:
        raise Invalid(f"There is no {what} {value[:64]!r}: a client's {what} is one of {', '.join(known)}.")


def _require_scopes(client: Client, restrict: Restrict) -> None:
    if not client.scopes:
        raise Invalid("A client needs at least one scope, such as system/Patient.rs.")
    if len(client.scopes) > MOST_SCOPES or any(len(scope) > SCOPE_LENGTH for scope in client.scopes):
        raise Invalid(f"A client has at most {MOST_SCOPES} scopes of {SCOPE_LENGTH} characters.")
    levels = LEVELS[client.kind]
    for text in client.scopes:
        if text in (LAUNCH_SCOPES if client.kind != "backend" else (INTROSPECTION_SCOPE,)):
            continue
        scope = parse_scope(text)
        if scope is None:
            raise Invalid(f"{text[:100]!r} is no scope of this server; write {levels[0]}/Patient.rs or the like.")
        if scope.level not in levels:
            raise Invalid(f"A {client.kind} client has scopes of {' or '.join(levels)}/, not {text[:100]!r}.")
        require_understood(scope, restrict)


def _require_keys(client: Client) -> None:
    given = [each for each in (client.jwks, client.jwks_url) if each]
    if client.kind == "public":
        if given or client.secret_hash:
            raise Invalid("A public client has no key and no secret: it could not keep them.")
        return
    if client.secret_hash:
        if given or client.kind != "confidential":
            raise Invalid("A secret is for confidential clients that have no key set.")
        return
    if len(given) != 1:
        raise Invalid(f"A {client.kind} client needs its public key set: the set itself or its URL, one of the two.")
    try:
        if client.jwks:
            parse_jwks(client.jwks)
        else:
            require_secure_url(client.jwks_url or "")
    except JwksError as error:
        raise Invalid(str(error)) from None


def _require_redirects(client: Client) -> None:
    if client.kind == "backend":
        if client.redirect_uris:
            raise Invalid("A backend client is never redirected to: leave the redirect URI out.")
        return
    if not client.redirect_uris or len(client.redirect_uris) > MOST_REDIRECTS:
        raise Invalid(f"A {client.kind} client needs 1 to {MOST_REDIRECTS} redirect URIs.")
    for uri in client.redirect_uris:
        _require_redirect(uri)


def _require_redirect(uri: str) -> None:
    try:
        parts = urlsplit(uri)
        host = parts.hostname
    except ValueError:
        raise Invalid(f"{uri[:100]!r} is no URI.") from None
    plain = len(uri) <= URL_LENGTH and all(" " < char <= "~" for char in uri)
    if not plain or not host or parts.fragment or "*" in uri:
        raise Invalid(
            f"{uri[:100]!r} is no redirect URI: an absolute https URL, without fragment and without wildcard."
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise Invalid("A redirect URI is https (http on the loopback of the machine alone).")

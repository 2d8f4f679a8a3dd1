"""A client proves who it is by a signed JWT (``private_key_jwt``). https://www.rfc-editor.org/rfc/rfc7523.

The profile is SMART's asymmetric authentication,
https://hl7.org/fhir/smart-app-launch/STU2.2/client-confidential-asymmetric.html: RS384 and ES384 alone, a
``kid``, at most five minutes, each ``jti`` once. Authlib makes assertions here; checking them is written on
joserfc, because Authlib's check takes any algorithm, reads no ``kid`` first, and bounds neither ``exp`` nor
length.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import Key, import_key
from joserfc.jws import JWSRegistry, extract_compact
from msgspec import Struct

from fhir_dmp.oauth.engine import private_key_jwt_sign
from fhir_dmp.oauth.errors import InvalidClient, InvalidRequest
from fhir_dmp.oauth.jwks import ALGORITHMS, FetchedKeys, JwksError, parse_jwks
from fhir_dmp.store.grants import Client

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_LENGTH = 8 * 1024
TEXT_LENGTH = 256
LONGEST_SECONDS = 300
SKEW_SECONDS = 5
_FAR = 1 << 53
_UNREADABLE = (JoseError, ValueError, TypeError, AttributeError, RecursionError)


class _Registry(JWSRegistry):
    """Passes over header parameters that it does not know (RFC 7515, 4), a certificate chain for one."""

    max_header_length = ASSERTION_LENGTH
    max_signature_length = ASSERTION_LENGTH


_REGISTRY = _Registry(algorithms=list(ALGORITHMS), strict_check_header=False)


class Assertion(Struct, frozen=True):
    """An assertion taken apart; nothing of it is proven yet."""

    raw: str
    header: Mapping[str, Any]
    unverified_client_id: str


class Proof(Struct, frozen=True):
    """A client that has proven who it is, and the assertion it used: ``expires`` in seconds since 1970."""

    client: Client
    jti: str
    expires: float


def read_assertion(form: Mapping[str, str]) -> Assertion:
    """Return the assertion of a form without trusting it."""
    raw = form.get("client_assertion", "")
    if not raw:
        raise InvalidClient("Authenticate by private_key_jwt: client_assertion_type and client_assertion.")
    if form.get("client_assertion_type") != ASSERTION_TYPE:
        raise InvalidRequest(f"client_assertion_type must be {ASSERTION_TYPE}.")
    if len(raw) > ASSERTION_LENGTH:
        raise InvalidRequest(f"client_assertion is longer than {ASSERTION_LENGTH} characters.")
    try:
        parts = extract_compact(raw.encode(), registry=_REGISTRY)
        header, claims = parts.headers(), json.loads(parts.payload)
    except _UNREADABLE:
        raise InvalidClient("client_assertion is no signed JWT.") from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise InvalidClient("client_assertion is no signed JWT.")
    return Assertion(raw, header, _text(claims, "sub"))


def require_proof(assertion: Assertion, client: Client, keys: FetchedKeys, audience: str, now: float) -> Proof:
    """Return the proof that the assertion gives; raise ``InvalidClient`` saying why it gives none.

    The caller still has to see that ``jti`` was not used before.
    """
    algorithm = _algorithm(assertion.header)
    key = _key(assertion.header, client, keys)
    if key.key_type != ALGORITHMS[algorithm]:
        raise InvalidClient(f"The key of this kid does not sign {algorithm}.")
    try:
        claims = jwt.decode(assertion.raw, key, algorithms=[algorithm], registry=_REGISTRY).claims
    except _UNREADABLE:
        raise InvalidClient("The signature of client_assertion does not hold.") from None
    return _judge(claims, client, audience, now)


def _algorithm(header: Mapping[str, Any]) -> str:
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise InvalidClient("client_assertion must be signed by RS384 or ES384.")
    if str(header.get("typ", "JWT")).upper() != "JWT":
        raise InvalidClient("The typ of client_assertion must be JWT.")
    return algorithm


def _key(header: Mapping[str, Any], client: Client, keys: FetchedKeys) -> Key:
    kid, url = _text(header, "kid"), header.get("jku")
    if url is not None and url != client.jwks_url:
        raise InvalidClient("The jku of client_assertion is not the registered jwks_url.")
    try:
        key = parse_jwks(client.jwks).get(kid) if client.jwks else keys.find(client.jwks_url or "", kid)
    except JwksError as error:
        raise InvalidClient(str(error)) from None
    if key is None:
        raise InvalidClient("The kid of client_assertion names no key of this client.")
    return key


def _judge(claims: Mapping[str, Any], client: Client, audience: str, now: float) -> Proof:
    if _text(claims, "iss") != client.id or _text(claims, "sub") != client.id:
        raise InvalidClient("iss and sub of client_assertion must both be the client id.")
    if claims.get("aud") not in (audience, [audience]):
        raise InvalidClient(f"aud of client_assertion must be {audience}.")
    expires = _moment(claims, "exp")
    if expires <= now:
        raise InvalidClient("client_assertion has expired.")
    if expires - now > LONGEST_SECONDS + SKEW_SECONDS:
        raise InvalidClient("exp of client_assertion must be at most five minutes ahead.")
    for name in ("nbf", "iat"):
        if name in claims and _moment(claims, name) > now + SKEW_SECONDS:
            raise InvalidClient(f"{name} of client_assertion lies in the future.")
    return Proof(client, _text(claims, "jti"), expires)


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_LENGTH:
        raise InvalidClient(f"client_assertion needs {name}: a text of at most {TEXT_LENGTH} characters.")
    return value


def _moment(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_FAR < value < _FAR:
        raise InvalidClient(f"client_assertion needs {name}: seconds since 1970.")
    return value


def make_assertion(private_jwk: Mapping[str, Any], client_id: str, token_url: str, **changed: Any) -> str:
    """Return a fresh assertion, as a client makes one: by the algorithm and ``kid`` of its private JWK.

    ``changed`` replaces claims (``exp``, ``aud``, …) for those who test servers.
    """
    algorithm = "RS384" if private_jwk["kty"] == "RSA" else "ES384"
    signed: str = private_key_jwt_sign(
        import_key(dict(private_jwk)),
        client_id,
        token_url,
        alg=algorithm,
        header={"kid": private_jwk["kid"], "typ": "JWT"},
        expires_in=LONGEST_SECONDS,
        claims=changed,
    )
    return signed

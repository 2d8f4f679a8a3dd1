"""What proves a client, and what does not. https://hl7.org/fhir/smart-app-launch/STU2.2/client-confidential-asymmetric.html."""

from __future__ import annotations

import base64
import json

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey
from joserfc.jws import JWSRegistry
from joserfc.registry import HeaderParameter

from fhir_dmp.clock import FixedClock
from fhir_dmp.oauth.errors import InvalidClient, InvalidRequest
from fhir_dmp.oauth.jwks import FetchedKeys
from fhir_dmp.oauth.rfc7523 import ASSERTION_TYPE, make_assertion, read_assertion, require_proof
from fhir_dmp.store.grants import Client
from tests.oauth_world import NOON, NOW, TOKEN_URL, jwks, key_pair

CLIENT = Client(
    "ehr-one", "r-1", "backend", "ehr", ("system/*.rs",), 0, jwks=jwks(key_pair(), key_pair("RSA", "key-2"))
)
GOOD = {"iss": "ehr-one", "sub": "ehr-one", "aud": TOKEN_URL, "exp": NOW + 300, "jti": "j-1"}


def prove(raw, client=CLIENT):
    """Judge an assertion at noon."""
    read = read_assertion({"client_assertion": raw, "client_assertion_type": ASSERTION_TYPE})
    return require_proof(read, client, FetchedKeys(FixedClock(NOON), pytest.fail), TOKEN_URL, NOW)


def signed(claims=None, key=None, **header):
    """Return an assertion with any claims and header."""
    private = key or key_pair()
    algorithm = header.get("alg") or ("RS384" if private["kty"] == "RSA" else "ES384")
    header = {"alg": algorithm, "kid": private["kid"], "typ": "JWT", **header}
    imported = (RSAKey if private["kty"] == "RSA" else ECKey).import_key(private)
    known = {"foo": HeaderParameter("known to the signer", "str")}
    lenient = JWSRegistry(header_registry=known, algorithms=[algorithm])
    lenient.max_header_length = 4096
    return jwt.encode(header, {**GOOD, **(claims or {})}, imported, algorithms=[algorithm], registry=lenient)


def without(name):
    """Return an assertion that lacks a claim."""
    claims = {key: value for key, value in GOOD.items() if key != name}
    return jwt.encode({"alg": "ES384", "kid": "key-1"}, claims, ECKey.import_key(key_pair()), algorithms=["ES384"])


@pytest.mark.parametrize("key", [key_pair(), key_pair("RSA", "key-2")], ids=["ES384", "RS384"])
def test_an_assertion_signed_by_a_registered_key_proves_the_client(key):
    """Both algorithms that SMART names are taken."""
    proof = prove(make_assertion(key, "ehr-one", TOKEN_URL, exp=NOW + 60, iat=NOW, jti="once"))

    assert (proof.client, proof.jti, proof.expires) == (CLIENT, "once", NOW + 60)


def test_header_parameters_that_nobody_knows_are_passed_over():
    """RFC 7515, 4: unless ``crit`` names them."""
    assert prove(signed(foo="x" * 600)).jti == "j-1"
    with pytest.raises(InvalidClient):
        prove(signed(foo="x", crit=["foo"]))


@pytest.mark.parametrize("algorithm", ["RS256", "RS512", "PS384"])
def test_other_rsa_algorithms_are_refused(algorithm):
    """The key may be right: the algorithm is not SMART's."""
    with pytest.raises(InvalidClient, match="RS384 or ES384"):
        prove(signed(key=key_pair("RSA", "key-2"), alg=algorithm))


def test_a_shared_secret_is_refused():
    """The public key as an HMAC secret proves nothing."""
    secret = OctKey.import_key(json.dumps(CLIENT.jwks))
    raw = jwt.encode({"alg": "HS256", "kid": "key-1"}, GOOD, secret, algorithms=["HS256"])

    with pytest.raises(InvalidClient, match="RS384 or ES384"):
        prove(raw)


def test_an_unsigned_assertion_is_refused():
    """The algorithm none proves nothing."""
    parts = [json.dumps(part).encode() for part in ({"alg": "none", "kid": "key-1"}, GOOD)]
    raw = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "."

    with pytest.raises(InvalidClient):
        prove(raw)


def test_a_key_of_the_other_algorithm_is_refused():
    """RS384 under the kid of an EC key is refused before any signature is looked at."""
    with pytest.raises(InvalidClient, match="does not sign RS384"):
        prove(signed(key={**key_pair("RSA", "key-2"), "kid": "key-1"}))


def test_a_signature_by_a_strangers_key_is_refused():
    """The kid of a registered key does not help."""
    with pytest.raises(InvalidClient, match="signature"):
        prove(signed(key=key_pair("EC", "key-1-of-somebody") | {"kid": "key-1"}))


def test_changed_claims_break_the_signature():
    """Header and signature of one assertion, claims of another."""
    head, _, signature = signed().split(".")
    _, claims, _ = signed({"jti": "other"}).split(".")

    with pytest.raises(InvalidClient, match="signature"):
        prove(f"{head}.{claims}.{signature}")


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": NOW}, "expired"),
        ({"exp": NOW - 1}, "expired"),
        ({"exp": NOW + 600}, "five minutes"),
        ({"exp": 10**400}, "needs exp"),
        ({"exp": True}, "needs exp"),
        ({"exp": str(NOW + 60)}, "needs exp"),
        ({"nbf": NOW + 60}, "nbf"),
        ({"iat": NOW + 60}, "iat"),
        ({"aud": "https://elsewhere.example/oauth/token"}, "aud"),
        ({"aud": [TOKEN_URL, "https://elsewhere.example/token"]}, "aud"),
        ({"aud": TOKEN_URL + "/"}, "aud"),
        ({"iss": "somebody"}, "iss and sub"),
        ({"sub": "somebody"}, "iss and sub"),
        ({"jti": ""}, "jti"),
        ({"jti": 7}, "jti"),
        ({"jti": "x" * 257}, "jti"),
    ],
)
def test_claims_that_break_a_rule_are_refused(claims, reason):
    """Each refusal says which rule."""
    with pytest.raises(InvalidClient, match=reason):
        prove(signed(claims))


@pytest.mark.parametrize("name", ["iss", "sub", "aud", "exp", "jti"])
def test_a_missing_claim_is_refused(name):
    """All five are required."""
    with pytest.raises(InvalidClient, match=name):
        prove(without(name))


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"kid": "unknown"}, "names no key"),
        ({"kid": ""}, "kid"),
        ({"typ": "at+jwt"}, "typ"),
        ({"jku": "https://elsewhere.example/jwks"}, "jku"),
    ],
)
def test_a_header_that_breaks_a_rule_is_refused(header, reason):
    """The key is found by kid among those registered, and nowhere else."""
    with pytest.raises(InvalidClient, match=reason):
        prove(signed(**header))


@pytest.mark.parametrize(
    "raw",
    [
        "x",
        "a.b.c",
        "....",
        "e30.e30.e30",
        "é.é.é",
        "bnVsbA.bnVsbA.",
        "W10.W10.W10",
        "eyJhbGciOiJFUzM4NCJ9." + "W1tb" * 1500 + ".",
    ],
    ids=["word", "letters", "dots", "empty", "not-ascii", "null", "lists", "nested"],
)
def test_what_is_no_jwt_is_refused(raw):
    """Never a fault, whatever is sent."""
    with pytest.raises(InvalidClient):
        prove(raw)


def test_an_endless_assertion_is_refused_unread():
    """More than eight kilobytes are not looked at."""
    with pytest.raises(InvalidRequest, match="longer"):
        prove("a" * 8193)


def test_a_request_without_assertion_does_not_authenticate():
    """A missing assertion is invalid_client, another type of assertion invalid_request."""
    with pytest.raises(InvalidClient):
        read_assertion({})
    with pytest.raises(InvalidRequest):
        read_assertion({"client_assertion": "x", "client_assertion_type": "saml"})

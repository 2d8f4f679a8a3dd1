"""Access tokens: what is signed is what is read, and nothing else is."""

from __future__ import annotations

import pytest
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError
from joserfc.jwk import ECKey, KeySet, OctKey
from msgspec.structs import replace

from fhir_dmp.access.model import Subject
from fhir_dmp.errors import Unauthenticated
from fhir_dmp.oauth.tokens import CheckedSignatures, Claims, Issuer
from tests.oauth_world import NOW, PUBLIC_URL

KEY = ECKey.generate_key("P-256", {"kid": "server-1"})
KEYS = KeySet([KEY])
ISSUER = Issuer(PUBLIC_URL)
SUBJECT = Subject("ehr-one", "ehr", ("system/*.rs", "system/Patient.c"), "urn:oid:1.2|42", "jti-1", "operator-1")


def resigned(key=KEY, alg="ES256", header=None, **changed):
    """Return a token like ours with something changed."""
    token = jwt.decode(ISSUER.mint(SUBJECT, "r-1", KEY, (NOW, NOW + 300)), KEYS, algorithms=["ES256"])
    claims = {name: value for name, value in {**token.claims, **changed}.items() if value is not None}
    return jwt.encode({**token.header, "alg": alg, **(header or {})}, claims, key, algorithms=[alg])


def test_a_token_says_who_may_do_what_until_when():
    """The claims come back as they were given."""
    claims = ISSUER.verify(ISSUER.mint(SUBJECT, "r-1", KEY, (NOW, NOW + 300)), KEYS)

    told = Claims("ehr-one", "r-1", SUBJECT.scopes, "jti-1", NOW, NOW + 300, "operator-1")
    assert replace(claims, extensions={}) == told


def test_a_token_follows_the_profile():
    """RFC 9068 names its claims and its type; IUA its extension."""
    token = jwt.decode(ISSUER.mint(SUBJECT, "r-1", KEY, (NOW, NOW + 300)), KEYS, algorithms=["ES256"])

    assert token.header == {"typ": "at+jwt", "alg": "ES256", "kid": "server-1"}
    assert {"iss", "aud", "sub", "client_id", "scope", "jti", "iat", "exp"} <= token.claims.keys()
    assert token.claims["extensions"]["ihe_iua"]["subject_organization_id"] == "urn:oid:1.2|42"


@pytest.mark.parametrize(
    "raw",
    [
        resigned(iss="https://elsewhere.example"),
        resigned(aud="https://elsewhere.example/fhir"),
        resigned(header={"typ": "JWT"}),
        resigned(scope=None),
        resigned(scope=7),
        resigned(exp="soon"),
        resigned(key=OctKey.import_key("x" * 32), alg="HS256"),
        "a.b.c",
        "",
        "é",
    ],
    ids=["issuer", "audience", "type", "no-scope", "scope", "exp", "hmac", "letters", "empty", "not-ascii"],
)
def test_what_is_not_ours_is_refused(raw):
    """Each by the challenge of RFC 6750."""
    with pytest.raises(Unauthenticated) as refusal:
        ISSUER.verify(raw, KEYS)

    assert refusal.value.headers == (("WWW-Authenticate", 'Bearer error="invalid_token"'),)


@pytest.mark.parametrize("part", [0, 1, 2], ids=["header", "claims", "signature"])
def test_a_tampered_token_is_refused(part):
    """One character is enough."""
    parts = ISSUER.mint(SUBJECT, "r-1", KEY, (NOW, NOW + 300)).split(".")
    parts[part] = parts[part][:20] + ("A" if parts[part][20] != "A" else "B") + parts[part][21:]

    with pytest.raises((Unauthenticated, InvalidKeyIdError)):
        ISSUER.verify(".".join(parts), KEYS)


def test_a_key_that_is_not_in_the_set_is_told_apart():
    """So that the keys can be read again before the token is refused."""
    with pytest.raises(InvalidKeyIdError):
        ISSUER.verify(resigned(header={"kid": "server-2"}), KEYS)


def test_a_signature_is_checked_once_and_failures_each_time():
    """What holds is remembered, what does not is not."""
    seen = []

    def check(raw):
        seen.append(raw)
        if raw == "bad":
            raise Unauthenticated("no")
        return Claims("c", "r", (), raw, NOW, NOW + 300)

    checked = CheckedSignatures(check, most=2)
    for raw in ("a", "a", "b", "a", "c", "a", "b"):
        assert checked.claims(raw).token_id == raw
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            checked.claims("bad")

    assert seen == ["a", "b", "c", "b", "bad", "bad"]


def test_the_claims_of_a_token_are_known_once_its_signature_was_checked():
    """And as long as they are remembered: to be asked for keeps them, and what does not hold is never known."""

    def check(raw):
        if raw == "bad":
            raise Unauthenticated("no")
        return Claims("c", "r", (), raw, NOW, NOW + 300)

    checked = CheckedSignatures(check, most=2)
    before = checked.known("a")
    with pytest.raises(Unauthenticated):
        checked.claims("bad")
    made = [checked.claims(raw) for raw in ("a", "b")]
    kept = checked.known("a")
    checked.claims("c")

    assert before is checked.known("bad") is None
    assert kept is made[0]
    assert checked.known("a") is made[0]
    assert checked.known("b") is None

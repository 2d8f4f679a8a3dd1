"""What a file says of OpenID providers, and what their claims say of people."""

from __future__ import annotations

import base64
import hmac
import json

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from fhir_dmp.clock import FixedClock
from fhir_dmp.errors import Invalid, Unauthenticated, Unavailable
from fhir_dmp.oauth.oidc import Asked, OpenIdClient
from fhir_dmp.oauth.people import traits_digest
from fhir_dmp.oauth.providers import identify, read_providers, values
from fhir_dmp.store.accounts import Situation
from tests.oauth_world import NOON, NOW

ISSUER = "https://who.example"
SITUATIONS = {
    "each": "pro.exercices[]",
    "profession": "codeProfession",
    "specialty": "codeSavoirFaire",
    "where": "activities[]",
    "organization": {"system": "urn:s", "path": "id"},
    "label": "name",
}
DESCRIBED = {
    "name": "psc",
    "label": "Pro Santé Connect",
    "kind": "professional",
    "issuer": ISSUER,
    "client_id": "us",
    "client_secret_file": "secret",
    "scopes": ["scope_all"],
    "acr_values": ["eidas1"],
    "claims": {"identifier": {"system": "urn:p", "path": "id"}, "situations": SITUATIONS},
}


def read(folder, **changed):
    """Return the provider of a file that holds what is described, with some fields changed or (None) left out."""
    described = {name: value for name, value in {**DESCRIBED, **changed}.items() if value is not None}
    (folder / "secret").write_text("s\n")
    (folder / "public.json").write_text(json.dumps(ECKey.generate_key("P-256").as_dict(private=False)))
    (folder / "providers.json").write_text(json.dumps([described]))
    return read_providers(folder / "providers.json")[0]


def test_a_provider_is_what_its_file_says(tmp_path):
    """openid is always asked for; the secret is read from its own file."""
    provider = read(tmp_path)

    assert (provider.name, provider.scopes, provider.secret) == ("psc", ("openid", "scope_all"), "s")
    assert provider.strong
    assert (provider.acr_values, provider.match, provider.opens) == (("eidas1",), (), False)


@pytest.mark.rule("F20", "F21")
@pytest.mark.parametrize(
    ("changed", "strong"),
    [
        ({}, True),
        ({"acr_values": None}, False),
        ({"acr_values": []}, False),
        ({"acr_values": None, "strong": True}, True),
        ({"strong": False}, False),
    ],
)
def test_a_provider_is_strong_that_vouches_for_a_level_or_is_said_to_be(tmp_path, changed, strong):
    """Who is asked for no level may have known people by a password alone."""
    assert read(tmp_path, **changed).strong is strong


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"name": "P S C"}, "name"),
        ({"colour": "blue"}, "colour"),
        ({"issuer": None}, "issuer is missing"),
        ({"issuer": "http://who.example"}, "https"),
        ({"kind": "insurer"}, "patient or professional"),
        ({"algorithms": ["none"]}, "algorithms"),
        ({"algorithms": ["HS256"]}, "algorithms"),
        ({"match": ["name"]}, "match"),
        ({"match": ["traits"]}, "match"),
        ({"kind": "patient", "open": True}, "never opened"),
        ({"claims": {"name": ["name"]}}, "identifier and situations"),
        ({"kind": "patient", "claims": {"traits": {"family": "f"}}}, "traits"),
        ({"client_secret_file": None}, "proves us"),
        ({"private_key_file": "public.json"}, "proves us"),
        ({"client_secret_file": None, "private_key_file": "public.json"}, "private"),
        ({"client_secret_file": "absent"}, "absent"),
    ],
    ids=str,
)
def test_a_provider_that_cannot_be_used_is_named_with_the_reason(tmp_path, changed, why):
    """When the server starts, not when somebody signs in."""
    with pytest.raises(ValueError, match=why):
        read(tmp_path, **changed)


def test_a_path_leads_through_names_and_lists():
    """What is not there is nothing; what is of another kind too."""
    tree = {"a": {"b": [{"c": 1}, {"c": None}, {"d": 2}, "x", {"c": [3, 4]}]}}

    assert values(tree, "a.b[].c") == [1, [3, 4]]
    assert values(tree, "a.b[].c[]") == [3, 4]
    assert values(tree, "a.x[].c") == values(tree, "a.b.c") == values([], "a") == []


def test_situations_are_the_places_of_each_profession_once(tmp_path):
    """Professions that are none of health are left out; one without a place stands alone."""
    pro = {
        "exercices": [
            {
                "codeProfession": "10",
                "codeSavoirFaire": "SM26",
                "activities": [{"id": "1", "name": "A"}, {"id": "1", "name": "A"}],
            },
            {"codeProfession": "60", "activities": []},
            {"codeProfession": "HPAYMT", "activities": [{"id": "2"}]},
        ]
    }
    identity = identify(read(tmp_path), {"sub": "s", "id": "8", "name": "Anne", "pro": pro})

    assert identity.situations == (Situation("10", "SM26", "urn:s|1", "A"), Situation("60"))
    assert (identity.identifier, identity.name, identity.subject) == ("urn:p|8", "Anne", "s")


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"sub": ""},
        {"sub": "s", "id": "8", "pro": {"exercices": [{"codeProfession": "10", "codeSavoirFaire": "<b>"}]}},
    ],
)
def test_claims_that_make_no_sense_are_refused(tmp_path, claims):
    """No subject, or a code that is none."""
    with pytest.raises(Invalid):
        identify(read(tmp_path), claims)


def test_traits_are_the_same_however_they_are_written():
    """Accents, hyphens, case and the word for the sex do not matter; each trait does."""
    one = traits_digest("LE GOFF-D'ARC", "Zoé Œdile", "2012-05-31", "female", "2A004")

    assert one == traits_digest("Le Goff d’Arc", "ZOE OEDILE", "2012-05-31", "F", "2a004")
    assert (
        len(
            {
                one,
                traits_digest("LE GOFF", "Zoé Œdile", "2012-05-31", "F", "2A004"),
                traits_digest("LE GOFF-D'ARC", "Zoé", "2012-05-31", "F", "2A004"),
            }
        )
        == 3
    )


KEY = RSAKey.generate_key(2048, {"kid": "k1"})
OTHER = RSAKey.generate_key(2048, {"kid": "k1"})
ASKED = Asked("state", "nonce", "v" * 43)
CLAIMS = {"iss": ISSUER, "aud": "us", "sub": "s", "exp": NOW + 300, "iat": NOW, "nonce": "nonce", "acr": "eidas1"}
METADATA = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
    "userinfo_endpoint": f"{ISSUER}/me",
    "jwks_uri": f"{ISSUER}/keys",
}


class Hostile(OpenIdClient):
    """A client on a wire that says what the test wants, as no honest provider would."""

    def __init__(self, provider, **said):
        super().__init__(provider, "https://us.example/cb", FixedClock(NOON))
        self.said = said
        self.asked = []

    def _call(self, method, url, **options):
        self.asked.append(url)
        path = url.removeprefix(ISSUER)
        keys = {"keys": [{**KEY.as_dict(private=False), "use": "sig"}]}
        answers = {
            "/.well-known/openid-configuration": self.said.get("metadata", METADATA),
            "/keys": self.said.get("keys", keys),
            "/token": {"id_token": self.said.get("id_token", signed()), "access_token": "a"},
            "/me": self.said.get("userinfo", {"sub": "s", "acr": "forged", "id": "8"}),
        }
        return "application/json", json.dumps(answers[path]).encode()


def signed(key=KEY, algorithm="RS256", **changed):
    """Return an ID token, with some claims changed or (None) left out."""
    claims = {name: value for name, value in {**CLAIMS, **changed}.items() if value is not None}
    return jwt.encode({"alg": algorithm, "kid": "k1"}, claims, key, algorithms=[algorithm])


def signed_by_the_public_key():
    """Return a token whose secret is what everybody knows of the key."""
    parts = [{"alg": "HS256", "kid": "k1"}, CLAIMS]
    content = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
    mac = hmac.digest(KEY.as_pem(private=False), content, "sha256")
    return b".".join((content, base64.urlsafe_b64encode(mac).rstrip(b"="))).decode()


def test_what_holds_is_believed_and_the_userinfo_cannot_change_it(tmp_path):
    """The userinfo adds claims; how somebody proved who they are is the ID token's to say."""
    claims = Hostile(read(tmp_path)).claims({"state": "state", "code": "c"}, ASKED)

    assert (claims["sub"], claims["id"], claims["acr"]) == ("s", "8", "eidas1")


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://evil.example"},
        {"aud": "another"},
        {"aud": ["us", "another"]},
        {"aud": ["us", "another"], "azp": "another"},
        {"azp": "another"},
        {"aud": None},
        {"exp": NOW - 61},
        {"exp": None},
        {"exp": "soon"},
        {"iat": NOW - 601},
        {"iat": NOW + 61},
        {"nonce": "other"},
        {"nonce": None},
        {"acr": "eidas0"},
        {"acr": None},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
    ],
    ids=str,
)
def test_an_id_token_that_does_not_hold_is_refused(tmp_path, changed):
    """Each rule of the standard by itself."""
    client = Hostile(read(tmp_path), id_token=signed(**changed))

    with pytest.raises(Unauthenticated):
        client.claims({"state": "state", "code": "c"}, ASKED)


def test_a_token_for_several_is_ours_if_it_says_so(tmp_path):
    """azp names us."""
    client = Hostile(read(tmp_path), id_token=signed(aud=["us", "another"], azp="us"))

    assert client.claims({"state": "state", "code": "c"}, ASKED)["sub"] == "s"


@pytest.mark.parametrize(
    "forged",
    [
        signed(OTHER),
        signed_by_the_public_key(),
        "eyJhbGciOiJub25lIn0." + signed().split(".")[1] + ".",
        signed()[:-4] + "AAAA",
        "x",
        "",
        7,
    ],
    ids=["another key", "the public key as a secret", "none", "changed", "no token", "empty", "a number"],
)
def test_a_forged_id_token_is_refused(tmp_path, forged):
    """Signed by others, by the public key as a secret, or by nobody."""
    client = Hostile(read(tmp_path), id_token=forged)

    with pytest.raises(Unauthenticated):
        client.claims({"state": "state", "code": "c"}, ASKED)


def test_the_userinfo_of_another_person_is_refused(tmp_path):
    """The subject ties the two together."""
    with pytest.raises(Unauthenticated):
        Hostile(read(tmp_path), userinfo={"sub": "t"}).claims({"state": "state", "code": "c"}, ASKED)


@pytest.mark.parametrize(
    "metadata",
    [
        {**METADATA, "issuer": "https://evil.example"},
        {**METADATA, "token_endpoint": "http://who.example/token"},
        {**METADATA, "token_endpoint": None},
        {**METADATA, "jwks_uri": "file:///etc/passwd"},
    ],
    ids=["another issuer", "plain http", "no endpoint", "a file"],
)
def test_a_provider_whose_metadata_are_not_safe_is_not_asked(tmp_path, metadata):
    """Neither by http nor anywhere that is no web."""
    with pytest.raises(Unavailable):
        Hostile(read(tmp_path), metadata=metadata).claims({"state": "state", "code": "c"}, ASKED)


def test_metadata_and_keys_are_kept_for_a_while_and_a_new_key_is_looked_for(tmp_path):
    """One question each; a kid that is not there asks again, and not each time."""
    client = Hostile(read(tmp_path))
    for _ in range(3):
        client.claims({"state": "state", "code": "c"}, ASKED)
    assert [url.rpartition("/")[2] for url in client.asked].count("keys") == 1
    assert client.asked.count(f"{ISSUER}/.well-known/openid-configuration") == 1

    client.said["keys"] = {"keys": [{**OTHER.as_dict(private=False), "kid": "k2", "use": "sig"}]}
    client.said["id_token"] = jwt.encode({"alg": "RS256", "kid": "k2"}, CLAIMS, OTHER, algorithms=["RS256"])
    with pytest.raises(Unauthenticated):
        client.claims({"state": "state", "code": "c"}, ASKED)
    client._clock.set(NOON.replace(second=11))
    assert client.claims({"state": "state", "code": "c"}, ASKED)["sub"] == "s"

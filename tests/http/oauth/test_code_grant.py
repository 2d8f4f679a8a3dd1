"""Tokens for people: what a person allows becomes a code, and the code what an app may do.

https://hl7.org/fhir/smart-app-launch/STU2.2/app-launch.html
"""

from __future__ import annotations

import base64
from datetime import timedelta
from urllib.parse import parse_qsl

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from fhir_dmp.access.model import Person
from fhir_dmp.errors import Unauthenticated, Unavailable
from fhir_dmp.oauth.engine import half_hash
from fhir_dmp.service.answers import Choice
from fhir_dmp.service.authorize import Sorry
from fhir_dmp.service.clients import NewClient
from fhir_dmp.store.accounts import Situation
from fhir_dmp.stores.mongo.grants import MongoGrants
from tests.at_once import at_once
from tests.oauth_world import (
    CALLBACK,
    NOW,
    PUBLIC_URL,
    VERIFIER,
    authorize,
    context,
    form,
    jwks,
    key_pair,
    post,
    redeem,
    refresh,
)


def test_a_code_gives_what_the_person_allowed(world):
    """Scopes, patient, refresh token and ID token, not to be stored by anybody."""
    world.app()
    back = world.code(world.sign_in())
    answer = redeem(world.http(), back["code"])

    assert back["state"] == "af0ifjsldkj"
    assert back["iss"] == PUBLIC_URL
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Pragma"] == "no-cache"
    assert set(answer.json) == {
        *("access_token", "token_type", "expires_in", "scope", "patient", "id_token", "refresh_token")
    }
    assert (answer.json["token_type"], answer.json["expires_in"], answer.json["patient"]) == ("Bearer", 300, "z")
    assert answer.json["scope"] == "openid fhirUser launch/patient offline_access patient/Observation.rs"


def test_the_token_names_the_person_on_every_worker(world, tokens):
    """What the rules need of a person is read with the token."""
    subject = world.worker().verify_bearer(tokens["access_token"]).subject

    expected = Person("holder", "a-1", "urn:ins|a-1", "Patient/z", "Zoé Petit", patient="Patient/z", purpose="PATRQT")
    assert expected == subject.person
    assert (subject.client, subject.role, subject.purpose) == ("phone", "app", "PATRQT")


def test_the_token_carries_the_claims_of_iua_and_nothing_clinical(world):
    """Name, profession, structure and purpose; a written reason stays with the server."""
    world.app()
    signed = world.sign_in(
        kind="professional",
        resource="Practitioner/p",
        identifier="urn:oid:1.2.250.1.71.4.2.1|899700218896",
        situations=(Situation("10", "SM26", "urn:fin|7", "Hôpital"),),
    )
    back = world.code(signed, choice=Choice(allow=True, scopes=("user/*.rs",)), scope="openid user/*.rs")
    http = world.http()
    token = redeem(http, back["code"]).json["access_token"]
    claims = jwt.decode(token, KeySet.import_key_set(http.get("/oauth/jwks").json), algorithms=["ES256"]).claims

    assert claims["extensions"]["ihe_iua"] == {
        "subject_name": "Zoé Petit",
        "subject_role": [
            {
                "system": "https://mos.esante.gouv.fr/NOS/TRE_G15-ProfessionSante/FHIR/TRE-G15-ProfessionSante",
                "code": "10",
            }
        ],
        "purpose_of_use": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "TREAT"}],
        "national_provider_identifier": "urn:oid:1.2.250.1.71.4.2.1|899700218896",
        "subject_organization_id": "urn:fin|7",
    }
    assert "reason" not in claims


def test_the_id_token_says_who_signed_in(world):
    """Signed by the published keys; nonce as it was sent, at_hash of the access token."""
    world.app()
    http = world.http()
    tokens = redeem(http, world.code(world.sign_in(), nonce="n-0S6_WzA2Mj")["code"]).json
    claims = jwt.decode(
        tokens["id_token"], KeySet.import_key_set(http.get("/oauth/jwks").json), algorithms=["RS256"]
    ).claims

    assert claims == {
        "iss": PUBLIC_URL,
        "aud": "phone",
        "sub": "a-1",
        "iat": NOW,
        "exp": NOW + 300,
        "nonce": "n-0S6_WzA2Mj",
        "at_hash": half_hash(tokens["access_token"], "RS256"),
        "fhirUser": f"{PUBLIC_URL}/fhir/Patient/z",
    }


def test_each_step_leaves_one_event(world, tokens):
    """The decision, and the token that came of it."""
    assert [("authorize", "phone", None), ("token", "phone", None)] == [
        (act.kind, act.client_id, act.error) for act in world.acts
    ]
    assert all(act.subject.person.account == "a-1" for act in world.acts)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"code_verifier": None}, "invalid_request"),
        ({"code_verifier": "short"}, "invalid_request"),
        ({"code_verifier": VERIFIER[::-1]}, "invalid_grant"),
        ({"redirect_uri": "https://app.example/other"}, "invalid_grant"),
        ({"redirect_uri": None}, "invalid_grant"),
        ({"client_id": "other"}, "invalid_grant"),
        ({"client_id": "nobody"}, "invalid_client"),
        ({"client_id": None}, "invalid_client"),
    ],
)
def test_a_code_is_good_for_who_asked_for_it_alone(world, changed, error):
    """PKCE for every client, the same redirect URI, the same client; a failed try does not spoil the code."""
    world.app()
    world.app("other")
    http, code = world.http(), world.code(world.sign_in())["code"]

    assert redeem(http, code, **changed).json["error"] == error
    assert redeem(http, code).status_code == 200


def test_a_code_that_is_presented_twice_ends_what_it_gave(world, tokens):
    """Access and refresh token are gone, on a worker that never saw the code."""
    world.acts.clear()
    world.app("second")
    http = world.http()
    code = world.code(world.sign_in("a-2", resource="Patient/z"))["code"]
    given = redeem(http, code).json

    assert redeem(world.http(), code).json["error"] == "invalid_grant"
    with pytest.raises(Unauthenticated, match="revoked"):
        world.worker().verify_bearer(given["access_token"])
    assert refresh(http, given["refresh_token"]).json["error"] == "invalid_grant"
    assert world.worker().verify_bearer(tokens["access_token"]).subject.person.account == "a-1"


def test_of_many_who_present_a_code_at_once_one_at_most_wins(world):
    """Two workers, eight requests at the same moment."""
    world.app()
    doors, code = [world.http(), world.http()], world.code(world.sign_in())["code"]
    statuses = at_once(lambda door: redeem(door.application.test_client(), code).status_code, doors * 4)

    assert sorted(statuses) == [200] + [400] * 7


def test_a_code_expires_in_a_minute(world):
    """RFC 6749, 4.1.2 asks for ten at most."""
    world.app()
    code = world.code(world.sign_in())["code"]
    world.clock.set(world.clock.now() + timedelta(seconds=60))

    assert redeem(world.http(), code).json["error"] == "invalid_grant"


def test_a_code_that_expires_while_it_is_looked_at_is_not_used(world, monkeypatch):
    """The time is held where the code is used, in the same update; what was not used is not taken for used twice."""
    world.app()
    code, whole = world.code(world.sign_in())["code"], MongoGrants.find_standing

    def paused(self, look):
        world.clock.set(world.clock.now() + timedelta(seconds=60))
        return whole(self, look)

    monkeypatch.setattr(MongoGrants, "find_standing", paused)
    answer = redeem(world.http(), code).json

    assert (answer["error"], answer["error_description"]) == ("invalid_grant", "The code has expired.")


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_code_whose_authorization_was_revoked_is_told_so(world, monkeypatch, when):
    """To the app and in the log: there was time left. Once that is over as well, it is what ended the code."""
    world.app()
    code, whole = world.code(world.sign_in())["code"], MongoGrants.find_standing
    [family] = world.oauth_env().families.of_account("a-1")

    def paused(self, look):
        world.oauth_env().families.revoke_family(family.id)
        return whole(self, look)

    if when == "before":
        world.oauth_env().families.revoke_family(family.id)
    else:
        monkeypatch.setattr(MongoGrants, "find_standing", paused)
    world.acts.clear()
    answers = [redeem(world.http(), code).json]
    world.forward(60)
    answers.append(redeem(world.http(), code).json)

    told = ["The authorization was revoked before the code was used.", "The code has expired."]
    assert [(each["error"], each["error_description"]) for each in answers] == [
        ("invalid_grant", text) for text in told
    ]
    assert [(act.error, act.why) for act in world.acts] == [("invalid_grant", text) for text in told]


def test_a_forged_code_is_nobodys(world):
    """Neither a word, nor a refresh token, nor one of another server opens."""
    world.app()
    signed = world.sign_in()
    foreign = world.code(signed, world.authorizations(secret=b"t" * 32))["code"]
    given = redeem(world.http(), world.code(signed)["code"]).json

    for code in ("guess", foreign, given["refresh_token"], given["access_token"]):
        assert redeem(world.http(), code).json["error"] == "invalid_grant"


def test_a_person_who_lost_the_account_gets_nothing_for_a_code(world):
    """The account is looked at when the code is redeemed."""
    world.app()
    code = world.code(world.sign_in())["code"]
    world.kept_accounts().remove_account("a-1")

    assert redeem(world.http(), code).json["error"] == "invalid_grant"


@pytest.mark.parametrize("way", ["basic", "post"])
def test_a_confidential_client_proves_itself_by_its_secret(world, way):
    """Either way of RFC 6749, 2.3.1; the server keeps the hash alone."""
    _, secret = world.clients().add_with_secret(
        NewClient("web", "confidential", "app", ("patient/*.rs",), redirect_uris=(CALLBACK,)), context()
    )
    code = world.code(world.sign_in(), client_id="web", scope="patient/*.rs")["code"]
    http = world.http()

    def present(raw):
        basic = {"Authorization": "Basic " + base64.b64encode(f"web:{raw}".encode()).decode()}
        fields = {"grant_type": "authorization_code", "code": code, "code_verifier": VERIFIER, "redirect_uri": CALLBACK}
        if way == "basic":
            return post(http, "token", basic, **fields)
        return post(http, "token", client_id="web", client_secret=raw, **fields)

    for wrong in ("", "x", secret[:-1], secret + "x"):
        assert present(wrong).status_code == 401
    assert present(secret).status_code == 200
    stored = world.grants().find_client("web")
    assert secret not in repr(stored)


def test_a_confidential_client_without_proof_gets_nothing(world):
    """Its id alone is not enough, though PKCE would hold."""
    world.clients().add_with_secret(
        NewClient("web", "confidential", "app", ("patient/*.rs",), redirect_uris=(CALLBACK,)), context()
    )
    code = world.code(world.sign_in(), client_id="web", scope="patient/*.rs")["code"]

    assert redeem(world.http(), code, client_id="web").json["error"] == "invalid_client"


def test_a_confidential_client_proves_itself_by_its_key(world):
    """private_key_jwt, as SMART's asymmetric profile says."""
    keys = {"jwks": jwks(key_pair())}
    world.app("web", kind="confidential", scopes=("patient/*.rs",), **keys)
    code = world.code(world.sign_in(), client_id="web", scope="patient/*.rs")["code"]
    fields = dict(parse_qsl(form(world.assertion("web"), grant_type="authorization_code")))

    answer = post(world.http(), "token", **fields, code=code, code_verifier=VERIFIER, redirect_uri=CALLBACK)
    assert answer.status_code == 200, answer.json


def test_without_a_durable_event_there_is_no_code_and_no_token(world):
    """503 at the token endpoint; at the authorization endpoint the person is told."""
    world.app()
    signed, door = world.sign_in(), world.authorizations()
    code = world.code(signed)["code"]
    question = door.ask(authorize(), signed, context())
    world.fail = Unavailable("The log cannot be written.")

    answer = door.decide(
        question.ticket, Choice(allow=True, scopes=("patient/*.rs",), patient="Patient/z"), signed, context()
    )
    assert answer == Sorry(503, "temporarily_unavailable", "The log cannot be written.")
    assert redeem(world.http(), code).status_code == 503


def test_an_app_that_asks_in_the_words_of_v1_is_answered_in_them(world):
    """The scopes of the answer are those that were asked, not what they are called since."""
    world.app(scopes=("launch/patient", "patient/*.read", "patient/*.write"))
    asked = "launch/patient patient/Observation.read patient/Condition.write"
    answer = redeem(world.http(), world.code(world.sign_in(), scope=asked)["code"]).json
    subject = world.worker().verify_bearer(answer["access_token"]).subject

    assert set(answer["scope"].split()) == set(asked.split())
    assert {"patient/Observation.read", "patient/Condition.write"} <= set(subject.scopes)


def test_a_person_gives_less_than_was_asked(world):
    """A scope that was not left is not granted."""
    world.app()
    choice = Choice(allow=True, scopes=("patient/Observation.rs",), patient="Patient/z")
    back = world.code(
        world.sign_in(), choice=choice, scope="patient/Observation.rs patient/Condition.rs offline_access"
    )
    answer = redeem(world.http(), back["code"]).json

    assert answer["scope"] == "patient/Observation.rs"
    assert "refresh_token" not in answer

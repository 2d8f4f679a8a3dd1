"""Tokens for people: a code, what it gives, what a refresh gives, and how all of it ends.

https://hl7.org/fhir/smart-app-launch/STU2.2/app-launch.html
"""

from __future__ import annotations

import base64
import threading
from datetime import timedelta
from urllib.parse import parse_qsl, urlencode

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from fhir_dmp.access.model import Person
from fhir_dmp.errors import Unauthenticated, Unavailable
from fhir_dmp.oauth.engine import half_hash
from fhir_dmp.service.answers import Choice
from fhir_dmp.service.authorize import Go, SignInFirst, Sorry
from fhir_dmp.service.clients import NewClient
from fhir_dmp.service.questions import Question
from fhir_dmp.store.accounts import Situation
from fhir_dmp.stores.mongo.grants import MongoGrants
from tests.oauth_world import (
    CALLBACK,
    FORM,
    NOW,
    PUBLIC_URL,
    VERIFIER,
    authorize,
    context,
    form,
    jwks,
    key_pair,
    opened_world,
)


@pytest.fixture
def world(mongodb_uri, database_name):
    """One database, and as many workers as a test wants."""
    with opened_world(mongodb_uri, database_name) as made:
        yield made


def post(http, where, headers=None, **fields):
    """Post a form to an OAuth endpoint; a field that is None is left out."""
    body = urlencode({name: value for name, value in fields.items() if value is not None})
    return http.post(f"/oauth/{where}", data=body, content_type=FORM, headers=headers)


def redeem(http, code, **changed):
    """Redeem a code as the public app."""
    fields = {"client_id": "phone", "redirect_uri": CALLBACK, "code_verifier": VERIFIER, **changed}
    return post(http, "token", grant_type="authorization_code", code=code, **fields)


def refresh(http, token, **changed):
    """Refresh as the public app."""
    return post(http, "token", grant_type="refresh_token", refresh_token=token, client_id="phone", **changed)


@pytest.fixture
def tokens(world):
    """An answer of the token endpoint to a patient's app, and the HTTP client that got it."""
    world.app()
    http = world.http()
    answer = redeem(http, world.code(world.sign_in())["code"])
    assert answer.status_code == 200, answer.json
    return answer.json


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
    doors, code, statuses = [world.http(), world.http()], world.code(world.sign_in())["code"], []
    threads = [
        threading.Thread(target=lambda door=door: statuses.append(redeem(door, code).status_code))
        for door in (doors * 4)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

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


def test_a_refresh_token_is_replaced_at_each_use(world, tokens):
    """The new one works, with the same rights and the same patient."""
    http = world.http()
    answer = refresh(http, tokens["refresh_token"])

    assert answer.status_code == 200
    assert answer.json["refresh_token"] != tokens["refresh_token"]
    assert (answer.json["scope"], answer.json["patient"]) == (tokens["scope"], "z")
    assert refresh(world.http(), answer.json["refresh_token"]).status_code == 200


def test_a_refresh_token_that_is_used_twice_ends_the_whole_family(world, tokens):
    """Whoever stole it and whoever lost it: both are out, at once, on every worker."""
    worker = world.worker()
    following = refresh(world.http(), tokens["refresh_token"]).json

    answer = refresh(world.http(), tokens["refresh_token"])

    assert answer.json["error"] == "invalid_grant"
    for each in (tokens, following):
        with pytest.raises(Unauthenticated, match="revoked"):
            worker.verify_bearer(each["access_token"])
    assert refresh(world.http(), following["refresh_token"]).json["error"] == "invalid_grant"


def test_a_refresh_asks_for_less_and_never_for_more(world, tokens):
    """RFC 6749, 6: a subset, which the next refresh does not inherit."""
    http = world.http()
    assert refresh(http, tokens["refresh_token"], scope="patient/*.rs").json["error"] == "invalid_scope"

    less = refresh(http, tokens["refresh_token"], scope="patient/Observation.r")
    assert less.json["scope"] == "patient/Observation.r"
    assert "id_token" not in less.json
    assert refresh(http, less.json["refresh_token"]).json["scope"] == tokens["scope"]


def test_a_public_app_need_not_name_itself_to_refresh(world, tokens):
    """SMART asks for no client_id there; one that has to prove itself is refused without proof."""
    http = world.http()
    answer = post(http, "token", grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    assert answer.status_code == 200
    assert post(http, "token", grant_type="refresh_token", refresh_token="guess").status_code == 401

    world.app("web", kind="confidential", jwks=jwks(key_pair()))
    signed = world.sign_in("a-2")
    fields = dict(parse_qsl(form(world.assertion("web"), grant_type="authorization_code")))
    code = world.code(signed, client_id="web")["code"]
    given = post(http, "token", **fields, code=code, code_verifier=VERIFIER, redirect_uri=CALLBACK).json
    unproven = post(http, "token", grant_type="refresh_token", refresh_token=given["refresh_token"])
    assert unproven.json["error"] == "invalid_client"


def test_without_offline_or_online_access_there_is_no_refresh_token(world):
    """The person is asked again when the token has expired."""
    world.app()
    answer = redeem(world.http(), world.code(world.sign_in(), scope="patient/*.rs")["code"])

    assert "refresh_token" not in answer.json
    assert "id_token" not in answer.json


def test_a_refresh_token_is_of_its_client_and_its_registration(world, tokens):
    """Another client, or one that was registered anew under the same id, is refused."""
    world.app("other")
    http = world.http()
    stolen = post(http, "token", grant_type="refresh_token", refresh_token=tokens["refresh_token"], client_id="other")
    assert stolen.json["error"] == "invalid_grant"

    world.clients().remove("phone", context())
    world.app()
    assert refresh(http, tokens["refresh_token"]).json["error"] == "invalid_grant"
    with pytest.raises(Unauthenticated):
        world.worker().verify_bearer(tokens["access_token"])


def test_offline_access_ends_after_its_time(world, tokens):
    """However often it was refreshed in between."""
    http, token = world.http(), tokens["refresh_token"]
    for _ in range(2):
        world.clock.set(world.clock.now() + timedelta(days=44))
        token = refresh(http, token).json["refresh_token"]
    world.clock.set(world.clock.now() + timedelta(days=2))

    assert refresh(http, token).json["error"] == "invalid_grant"


@pytest.mark.parametrize("end", ["disabled", "removed", "password"])
def test_when_an_account_ends_its_tokens_end_at_once(world, tokens, end):
    """Access tokens on every worker, and refresh tokens; a new password ends what began before it as well."""
    worker, accounts = world.worker(), world.kept_accounts()
    worker.verify_bearer(tokens["access_token"])
    if end == "disabled":
        accounts.set_disabled("a-1", world.clock.micros() + 1, disabled=True)
    elif end == "removed":
        accounts.remove_account("a-1")
    else:
        accounts.set_password("a-1", "$argon2id$y", world.clock.micros() + 1)

    with pytest.raises(Unauthenticated, match="has ended"):
        worker.verify_bearer(tokens["access_token"])
    assert refresh(world.http(), tokens["refresh_token"]).json["error"] == "invalid_grant"


def test_a_person_who_lost_the_account_gets_nothing_for_a_code(world):
    """The account is looked at when the code is redeemed."""
    world.app()
    code = world.code(world.sign_in())["code"]
    world.kept_accounts().remove_account("a-1")

    assert redeem(world.http(), code).json["error"] == "invalid_grant"


def test_an_app_may_revoke_its_refresh_token_and_all_goes_with_it(world, tokens):
    """RFC 7009, 2.1: the access tokens of the same grant as well."""
    http = world.http()
    assert post(http, "revoke", token=tokens["refresh_token"], client_id="phone").status_code == 200

    with pytest.raises(Unauthenticated, match="revoked"):
        world.worker().verify_bearer(tokens["access_token"])
    assert refresh(http, tokens["refresh_token"]).json["error"] == "invalid_grant"


def test_an_app_may_revoke_an_access_token_alone(world, tokens):
    """The refresh token goes on."""
    http = world.http()
    assert post(http, "revoke", token=tokens["access_token"], client_id="phone").status_code == 200

    with pytest.raises(Unauthenticated, match="revoked"):
        world.worker().verify_bearer(tokens["access_token"])
    assert refresh(http, tokens["refresh_token"]).status_code == 200


def test_nobody_revokes_what_belongs_to_another_client(world, tokens):
    """Neither kind of token."""
    world.app("other")
    http = world.http()
    for token in (tokens["access_token"], tokens["refresh_token"]):
        assert post(http, "revoke", token=token, client_id="other").json["error"] == "invalid_grant"
    assert refresh(http, tokens["refresh_token"]).status_code == 200


def test_a_resource_server_learns_what_a_token_means(world, tokens):
    """By a bearer token with the scope for it; scope, client, times, launch context and person."""
    world.register("gateway", scopes=("__introspection",))
    http = world.http()
    bearer = post(http, "token", **dict(parse_qsl(form(world.assertion("gateway"))))).json["access_token"]
    answer = post(http, "introspect", {"Authorization": f"Bearer {bearer}"}, token=tokens["access_token"]).json

    told = {name: answer[name] for name in ("active", "client_id", "scope", "exp", "patient", "iss", "sub", "fhirUser")}
    assert told == {
        "active": True,
        "client_id": "phone",
        "scope": tokens["scope"],
        "exp": NOW + 300,
        "patient": "z",
        "iss": PUBLIC_URL,
        "sub": "a-1",
        "fhirUser": f"{PUBLIC_URL}/fhir/Patient/z",
    }
    refreshed = post(http, "introspect", {"Authorization": f"Bearer {bearer}"}, token=tokens["refresh_token"]).json
    assert (refreshed["active"], refreshed["token_type"]) == (True, "refresh_token")


def test_a_client_learns_of_its_own_tokens_and_of_no_other(world, tokens):
    """Whatever it may not know looks like a token that does not hold."""
    client, secret = world.clients().add_with_secret(
        NewClient("web", "confidential", "app", ("openid", "patient/*.rs"), redirect_uris=(CALLBACK,)), context()
    )
    http = world.http()
    back = world.code(world.sign_in("a-2"), client_id="web", scope="openid patient/*.rs")
    own = redeem(http, back["code"], client_id="web", client_secret=secret).json["access_token"]

    ask = lambda token: post(http, "introspect", token=token, client_id=client.id, client_secret=secret).json  # noqa: E731
    assert ask(own)["active"]
    assert ask(tokens["access_token"]) == {"active": False}
    assert ask(tokens["refresh_token"]) == {"active": False}
    assert ask("nonsense") == {"active": False}


def test_introspection_is_for_those_who_prove_themselves(world, tokens):
    """A public client proves nothing."""
    http = world.http()

    assert post(http, "introspect", token=tokens["access_token"], client_id="phone").status_code == 401
    assert post(http, "introspect", token=tokens["access_token"]).status_code == 401
    assert post(http, "introspect", {"Authorization": "Bearer x"}, token="y").status_code == 401


def test_a_revoked_token_is_inactive(world, tokens):
    """Introspection reads what holds now."""
    world.register("gateway", scopes=("__introspection",))
    http = world.http()
    post(http, "revoke", token=tokens["refresh_token"], client_id="phone")

    for token in (tokens["access_token"], tokens["refresh_token"]):
        asked = {"client_assertion": world.assertion("gateway"), "token": token}
        kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        assert post(http, "introspect", client_assertion_type=kind, **asked).json == {"active": False}


def test_user_info_says_no_more_than_the_scopes(world, tokens):
    """By the access token; a token without openid is not enough."""
    http = world.http()
    answer = http.get("/oauth/userinfo", headers={"Authorization": f"Bearer {tokens['access_token']}"})
    assert answer.json == {"sub": "a-1", "fhirUser": f"{PUBLIC_URL}/fhir/Patient/z"}

    world.register()
    system = post(http, "token", **dict(parse_qsl(form(world.assertion())))).json["access_token"]
    refused = http.get("/oauth/userinfo", headers={"Authorization": f"Bearer {system}"})
    assert refused.status_code == 401
    assert "invalid_token" in refused.headers["WWW-Authenticate"]


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


def test_a_person_who_is_not_signed_in_signs_in_first(world):
    """And comes back to the same request."""
    world.app()
    answer = world.authorizations().ask(authorize(), None, context())

    assert isinstance(answer, SignInFirst)
    assert isinstance(world.authorizations().ask(authorize(), world.sign_in(), context()), Question)
    assert world.acts == []


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"client_id": "nobody"}, "invalid_client"),
        ({"client_id": None}, "invalid_client"),
        ({"redirect_uri": "https://app.example/cb/"}, "invalid_request"),
        ({"redirect_uri": "https://app.example/cb?x=1"}, "invalid_request"),
        ({"redirect_uri": "https://evil.example/cb"}, "invalid_request"),
        ({"redirect_uri": None}, "invalid_request"),
    ],
)
def test_an_address_that_is_not_registered_is_never_redirected_to(world, changed, error):
    """The person is told, and an event is left."""
    world.app()
    answer = world.authorizations().ask(authorize(**changed), world.sign_in(), context())

    assert isinstance(answer, Sorry)
    assert answer.error == error
    assert [("authorize", error)] == [(act.kind, act.error) for act in world.acts]


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"state": None}, "invalid_request"),
        ({"aud": "https://other.example/fhir"}, "invalid_request"),
        ({"aud": None}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain", "code_challenge": VERIFIER}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"scope": None}, "invalid_scope"),
        ({"scope": "system/*.rs nonsense"}, "invalid_scope"),
        ({"scope": "patient/*.cruds"}, "invalid_scope"),
        ({"scope": "patient/Nonsense.rs"}, "invalid_scope"),
        ({"scope": "patient/Observation.rs?nonsense=1"}, "invalid_scope"),
        ({"scope": "patient/Observation.rs?subject:Patient.name=x"}, "invalid_scope"),
        ({"scope": "patient/Observation.rs?_count=1"}, "invalid_scope"),
        ({"request": "eyJ"}, "invalid_request"),
        ({"launch": "guess", "scope": "launch patient/*.rs"}, "invalid_request"),
        ({"launch": "guess"}, "invalid_scope"),
        ({"purpose_of_use": "HPAYMT"}, "invalid_request"),
        ({"prompt": "none"}, "consent_required"),
    ],
)
def test_what_is_wrong_with_a_request_goes_back_to_its_client(world, changed, error):
    """By its registered address, with its state, and one event."""
    world.app()
    answer = world.authorizations().ask(authorize(**changed), world.sign_in(), context())

    assert isinstance(answer, Go)
    assert answer.url.startswith(f"{CALLBACK}?error={error}&")
    assert ("state=af0ifjsldkj" in answer.url) == ("state" not in changed)
    assert [("authorize", error)] == [(act.kind, act.error) for act in world.acts]


def test_a_person_who_says_no_is_heard(world):
    """access_denied, and one event."""
    world.app()
    back = world.code(world.sign_in(), choice=Choice(allow=False))

    assert (back["error"], back["state"]) == ("access_denied", "af0ifjsldkj")
    assert [("authorize", "access_denied")] == [(act.kind, act.error) for act in world.acts]


def test_a_question_is_answered_by_whom_it_was_put_to(world):
    """Neither another session nor a later hour, nor words that are no ticket."""
    world.app()
    door, signed, other = world.authorizations(), world.sign_in(), world.sign_in("a-2")
    ticket = door.ask(authorize(), signed, context()).ticket
    yes = Choice(allow=True, scopes=("patient/*.rs",), patient="Patient/z")

    for stolen, who in ((ticket, other), (ticket, None), ("forged", signed)):
        assert isinstance(door.decide(stolen, yes, who, context()), Sorry)
    world.clock.set(world.clock.now() + timedelta(minutes=16))
    assert isinstance(door.decide(ticket, yes, signed, context()), Sorry)


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


def test_a_patient_chooses_no_record_but_their_own(world):
    """A reference in the form opens nothing."""
    world.app()
    door, signed = world.authorizations(), world.sign_in()
    ticket = door.ask(authorize(), signed, context()).ticket

    for patient in ("Patient/other", None):
        answer = door.decide(
            ticket,
            Choice(allow=True, scopes=("patient/*.rs", "patient/Observation.rs"), patient=patient),
            signed,
            context(),
        )
        assert isinstance(answer, Question)
        assert answer.problem in ("no-such-patient", "choose-patient")

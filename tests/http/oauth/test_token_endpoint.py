"""The token endpoint, end to end on a real database: who gets a token, who does not, and that each is told.

https://hl7.org/fhir/smart-app-launch/STU2.2/backend-services.html
"""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import parse_qs

import pytest
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from fhir_dmp.access.model import Subject
from fhir_dmp.errors import TooMany, Unauthenticated, Unavailable
from fhir_dmp.oauth.jwks import Served
from tests.at_once import at_once
from tests.oauth_world import (
    ASSERTION_TYPE,
    FORM,
    NOON,
    TOKEN_URL,
    context,
    form,
    jwks,
    key_pair,
)


def ask(http, body, content_type=FORM):
    """Send a token request."""
    return http.post("/oauth/token", data=body, content_type=content_type)


def outcomes(world):
    """Return what was announced, as (kind, client, error)."""
    return [(act.kind, act.client_id, act.error) for act in world.acts]


@pytest.mark.parametrize("key", [key_pair(), key_pair("RSA", "key-2")], ids=["ES384", "RS384"])
def test_a_registered_client_gets_a_short_lived_token(world, key):
    """The answer is that of RFC 6749, 5.1, and is not to be stored by anybody."""
    world.register()
    answer = ask(world.http(), form(world.assertion(key=key)))

    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.content_type == "application/json"
    token = answer.json.pop("access_token")
    assert {
        "access_token": token,
        "token_type": "bearer",
        "expires_in": 300,
        "scope": "system/*.cruds",
    } == answer.json


def test_a_token_made_by_one_worker_is_known_to_another(world):
    """Subject and scopes are those of the client's registration."""
    world.register()
    token = ask(world.http(), form(world.assertion(), scope="system/Patient.rs")).json["access_token"]
    subject = world.worker().verify_bearer(token).subject

    expected = Subject("ehr-one", "ehr", ("system/Patient.rs",), "urn:oid:1.2|42", subject.token_id)
    assert expected == subject


def test_a_token_is_checked_by_the_published_keys(world):
    """Whoever has the JWKS can check our tokens; it holds no private part."""
    world.register()
    http = world.http()
    token = ask(http, form(world.assertion())).json["access_token"]
    answer = http.get("/oauth/jwks")

    assert "max-age" in answer.headers["Cache-Control"]
    assert all("d" not in key for key in answer.json["keys"])
    claims = jwt.decode(token, KeySet.import_key_set(answer.json), algorithms=["ES256"]).claims
    assert claims["sub"] == "ehr-one"


def test_each_token_leaves_one_event_that_names_it(world):
    """Client, scopes and the token's id."""
    world.register()
    token = ask(world.http(), form(world.assertion())).json["access_token"]

    [act] = world.acts
    assert (act.kind, act.client_id, act.error) == ("token", "ehr-one", None)
    assert act.scopes == ("system/*.cruds",)
    assert act.subject.token_id == world.worker().verify_bearer(token).subject.token_id


def test_an_assertion_is_good_for_one_token_on_all_workers(world):
    """A replay is refused by the worker that saw it and by one that did not."""
    world.register()
    first, second = world.http(), world.http()
    body = form(world.assertion())

    assert ask(first, body).status_code == 200
    for http in (first, second):
        answer = ask(http, body)
        assert (answer.status_code, answer.json["error"]) == (401, "invalid_client")
        assert "used before" in answer.json["error_description"]
    assert [act.error for act in world.acts] == [None, "invalid_client", "invalid_client"]


def test_of_many_replays_at_once_one_wins(world):
    """Two workers, eight requests at the same moment, one token."""
    world.register()
    doors, body = [world.http(), world.http()], form(world.assertion())
    codes = at_once(lambda door: ask(door.application.test_client(), body).status_code, doors * 4)

    assert sorted(codes) == [200] + [401] * 7


def test_two_clients_may_use_the_same_jti(world):
    """It is unique for each client."""
    world.register("ehr-one")
    world.register("ehr-two")
    http = world.http()

    for client in ("ehr-one", "ehr-two"):
        assert ask(http, form(world.assertion(client, jti="same"))).status_code == 200


def test_a_bad_assertion_does_not_burn_its_jti(world):
    """Only a proven client uses a jti up: a stranger cannot spoil one."""
    world.register()
    http = world.http()
    stranger = {**key_pair("EC", "stranger"), "kid": "key-1"}

    assert ask(http, form(world.assertion(key=stranger, jti="wanted"))).status_code == 401
    assert ask(http, form(world.assertion(jti="wanted"))).status_code == 200


@pytest.mark.parametrize(
    ("changed", "status", "error"),
    [
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": "authorization_code"}, 400, "invalid_request"),
        ({"grant_type": None}, 400, "invalid_request"),
        ({"client_assertion": None}, 401, "invalid_client"),
        ({"client_assertion_type": "urn:other"}, 400, "invalid_request"),
        ({"scope": "system/Observation.rs?colour=red"}, 400, "invalid_scope"),
        ({"scope": "system/*.rs?category=laboratory"}, 400, "invalid_scope"),
        ({"scope": "user/*.rs"}, 400, "invalid_scope"),
        ({"client_id": "somebody"}, 400, "invalid_request"),
    ],
)
def test_a_refusal_has_its_rfc_code_and_one_event(world, changed, status, error):
    """RFC 6749, 5.2."""
    world.register()
    answer = ask(world.http(), form(world.assertion(), **changed))

    assert (status, error) == (answer.status_code, answer.json["error"])
    assert answer.json["error_description"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert [error] == [act.error for act in world.acts]


def test_an_unknown_client_is_invalid_client_and_told_by_the_name_it_gave(world):
    """The event holds what the stranger called itself."""
    answer = ask(world.http(), form(world.assertion("nobody")))

    assert (answer.status_code, answer.json["error"]) == (401, "invalid_client")
    assert "WWW-Authenticate" in answer.headers
    assert outcomes(world) == [("token", "nobody", "invalid_client")]


def test_an_app_gets_no_token_for_itself(world):
    """client_credentials is for backend clients; a public client does not authenticate at all."""
    redirect = ("https://app.example/cb",)
    world.register("web", kind="confidential", role="app", scopes=("user/*.rs",), redirect_uris=redirect)
    world.register("phone", kind="public", role="app", scopes=("patient/*.rs",), redirect_uris=redirect, jwks=None)
    http = world.http()

    assert ask(http, form(world.assertion("web"))).json["error"] == "unauthorized_client"
    assert ask(http, form(world.assertion("phone"))).json["error"] == "invalid_client"


@pytest.mark.parametrize("method", ["get", "put", "delete", "patch"])
def test_other_methods_are_refused_with_an_event(world, method):
    """The token endpoint takes POST alone, and says so by 405 (RFC 9110, 15.5.6); even that refusal is told."""
    answer = getattr(world.http(), method)("/oauth/token")

    assert (answer.status_code, answer.json["error"], answer.headers["Allow"]) == (405, "invalid_request", "POST")
    assert outcomes(world) == [("token", "", "invalid_request")]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("revoke", "POST"), ("introspect", "POST"), ("launch", "POST"), ("userinfo", "GET, POST")],
)
def test_each_endpoint_tells_which_methods_it_takes(world, path, allowed):
    """By 405, with its event."""
    answer = world.http().put(f"/oauth/{path}")

    assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)
    assert outcomes(world) == [(path, "", "invalid_request")]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"grant_type": "client_credentials"}', "application/json"),
        (b"grant_type=client_credentials&grant_type=client_credentials", FORM),
        (b"\xff\xfe", FORM),
        (b"a=" + b"x" * 40_000, FORM),
        (b"a=" + b"x" * 400_000, FORM),
        (b"", FORM),
    ],
    ids=["json", "twice", "bytes", "long", "endless", "empty"],
)
def test_a_body_that_is_no_form_is_an_invalid_request(world, body, content_type):
    """Bounded and never a fault."""
    answer = ask(world.http(), body, content_type)

    assert (answer.status_code, answer.json["error"]) == (400, "invalid_request")
    assert len(world.acts) == 1


def test_without_a_durable_event_there_is_no_token(world):
    """If the audit cannot be written, the answer is 503 and carries no token."""
    world.register()
    world.fail = Unavailable("The log cannot be written.")
    answer = ask(world.http(), form(world.assertion()))

    assert answer.status_code == 503
    assert "access_token" not in answer.json


def test_a_flood_is_answered_as_such(world):
    """What the announcement raises is the answer."""
    world.fail = TooMany("Too many refused requests.", headers=(("Retry-After", "60"),))
    answer = ask(world.http(), form(world.assertion("nobody")))

    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "60")


def test_a_fault_says_nothing_outside_and_leaves_its_event(world):
    """A generic text with the request's id; the event says that it was a fault."""
    world.register(jwks_url="https://ehr.example/jwks")

    def fetch(url):
        raise ZeroDivisionError("secret detail")

    world.fetch = fetch
    answer = ask(world.http(), form(world.assertion()))

    assert (answer.status_code, answer.json["error"]) == (500, "server_error")
    assert "secret detail" not in answer.text
    assert outcomes(world) == [("token", "ehr-one", "server_error")]


def test_keys_behind_a_url_prove_a_client(world):
    """A client may publish its keys instead of handing them over."""
    world.register(jwks_url="https://ehr.example/jwks")
    world.fetch = lambda url: Served(jwks(key_pair()).encode())

    assert ask(world.http(), form(world.assertion())).status_code == 200


def test_a_removed_clients_token_is_refused_at_once_on_every_worker(world):
    """Both workers have checked its signature before; neither takes it after."""
    world.register()
    workers = [world.worker(), world.worker()]
    token = ask(world.http(workers[0]), form(world.assertion())).json["access_token"]
    for worker in workers:
        worker.verify_bearer(token)

    world.clients().remove("ehr-one", context())

    for worker in workers:
        with pytest.raises(Unauthenticated, match="not registered"):
            worker.verify_bearer(token)
    assert ask(world.http(workers[1]), form(world.assertion())).status_code == 401


def test_a_client_registered_anew_does_not_revive_old_tokens(world):
    """The id is the same, the registration is not."""
    world.register()
    worker = world.worker()
    token = ask(world.http(worker), form(world.assertion())).json["access_token"]
    world.clients().remove("ehr-one", context())
    world.register(scopes=("system/Patient.rs",))

    with pytest.raises(Unauthenticated, match="not registered"):
        worker.verify_bearer(token)


def test_a_token_ends_after_its_seconds_however_often_it_was_seen(world):
    """A remembered signature does not outlive the token."""
    world.register()
    worker = world.worker()
    token = ask(world.http(worker), form(world.assertion())).json["access_token"]
    world.clock.set(NOON + timedelta(seconds=299))
    worker.verify_bearer(token)
    world.clock.set(NOON + timedelta(seconds=300))

    with pytest.raises(Unauthenticated, match="expired"):
        worker.verify_bearer(token)


@pytest.mark.parametrize("raw", ["x", "a.b.c", "é", "x" * 20_000, "\ud800"])
def test_what_is_no_token_is_refused(world, raw):
    """Never a fault."""
    with pytest.raises(Unauthenticated):
        world.worker().verify_bearer(raw)


def test_a_client_revokes_its_token_for_all_workers(world):
    """RFC 7009: the answer is 200, and nobody takes the token after."""
    world.register()
    workers = [world.worker(), world.worker()]
    http = world.http(workers[0])
    token, other = (ask(http, form(world.assertion())).json["access_token"] for _ in range(2))
    workers[1].verify_bearer(token)

    answer = http.post("/oauth/revoke", data=form(world.assertion(), token=token), content_type=FORM)

    assert answer.status_code == 200
    assert outcomes(world)[-1] == ("revoke", "ehr-one", None)
    with pytest.raises(Unauthenticated, match="revoked"):
        workers[1].verify_bearer(token)
    workers[1].verify_bearer(other)


def test_a_client_cannot_revoke_the_token_of_another(world):
    """The token goes on to hold."""
    world.register("ehr-one")
    world.register("ehr-two")
    worker = world.worker()
    http = world.http(worker)
    token = ask(http, form(world.assertion("ehr-one"))).json["access_token"]

    answer = http.post("/oauth/revoke", data=form(world.assertion("ehr-two"), token=token), content_type=FORM)

    assert (answer.status_code, answer.json["error"]) == (400, "invalid_grant")
    assert worker.verify_bearer(token).subject.client == "ehr-one"


@pytest.mark.parametrize("token", ["nonsense", "a.b.c"])
def test_revoking_what_does_not_hold_is_no_error(world, token):
    """RFC 7009, 2.2: there is nothing left to do."""
    world.register()
    answer = world.http().post("/oauth/revoke", data=form(world.assertion(), token=token), content_type=FORM)

    assert answer.status_code == 200


def test_revoking_without_a_token_is_invalid(world):
    """It is the one required parameter."""
    world.register()
    answer = world.http().post("/oauth/revoke", data=form(world.assertion()), content_type=FORM)

    assert (answer.status_code, answer.json["error"]) == (400, "invalid_request")


def test_an_unrelated_oauth_client_gets_a_token(world):
    """Authlib's own client, told nothing but the endpoint, authenticates by its private_key_jwt."""
    world.register()
    times = {"iat": int(NOON.timestamp()), "exp": int(NOON.timestamp()) + 240}
    method = PrivateKeyJWT(TOKEN_URL, claims=times, headers={"kid": "key-1"}, alg="ES384")
    auth = ClientAuth("ehr-one", ECKey.import_key(key_pair()), method)
    _, _, body = auth.prepare("POST", TOKEN_URL, {}, "grant_type=client_credentials")
    answer = ask(world.http(), body)

    assert parse_qs(body)["client_assertion_type"] == [ASSERTION_TYPE]
    assert answer.status_code == 200

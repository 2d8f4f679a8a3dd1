"""Tokens that were given: who may end them, and who is told what they mean.

https://www.rfc-editor.org/rfc/rfc7009, https://www.rfc-editor.org/rfc/rfc7662.
"""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest

from fhir_dmp.errors import Unauthenticated
from fhir_dmp.service.clients import NewClient
from tests.oauth_world import CALLBACK, NOW, PUBLIC_URL, context, form, post, redeem, refresh


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

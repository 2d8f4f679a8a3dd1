"""Refresh tokens: each gives the next one, and all of them end together. https://www.rfc-editor.org/rfc/rfc6749#section-6."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import parse_qsl

import pytest

from fhir_dmp.errors import Unauthenticated
from tests.oauth_world import (
    CALLBACK,
    VERIFIER,
    context,
    form,
    jwks,
    key_pair,
    post,
    redeem,
    refresh,
)


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

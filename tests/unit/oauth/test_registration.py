"""What may be registered, and what a token may hold."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from fhir_dmp.errors import Invalid
from fhir_dmp.oauth.client_credentials import granted_scopes
from fhir_dmp.oauth.clients import require_registrable
from fhir_dmp.oauth.errors import (
    InvalidRequest,
    InvalidScope,
    OAuthError,
    UnauthorizedClient,
)
from fhir_dmp.oauth.form import read_form
from fhir_dmp.oauth.metadata import smart_configuration
from fhir_dmp.store.grants import Client
from tests.oauth_world import FORM, jwks, key_pair, restrict

BACKEND = Client("ehr-one", "r", "backend", "ehr", ("system/*.rs",), 0, "urn:oid:1.2|42", jwks(key_pair()))
APP = replace(
    BACKEND,
    kind="public",
    role="app",
    scopes=("patient/*.rs", "openid", "fhirUser"),
    jwks=None,
    redirect_uris=("https://app.example/cb",),
)


@pytest.mark.parametrize(
    "client",
    [
        BACKEND,
        replace(BACKEND, jwks=None, jwks_url="https://ehr.example/jwks"),
        replace(BACKEND, role="lab", organization=None, scopes=("system/Observation.cruds", "system/Patient.read")),
        replace(
            BACKEND,
            kind="confidential",
            scopes=("user/*.read", "launch"),
            redirect_uris=("https://a.example/cb",),
        ),
        APP,
        replace(APP, redirect_uris=("http://127.0.0.1:8001/cb",)),
    ],
)
def test_clients_that_keep_the_rules_are_registrable(client):
    """Each kind with what it needs."""
    require_registrable(client, restrict())


@pytest.mark.rule("L18")
@pytest.mark.parametrize("role", ["insurer", "mutual", "employer", "insurance", "", "EHR"])
def test_roles_that_lead_to_the_record_of_others_do_not_exist(role):
    """Insurers, mutual funds and employers cannot be registered by anybody."""
    with pytest.raises(Invalid, match="There is no role"):
        require_registrable(replace(BACKEND, role=role), restrict())


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"id": ""}, "client id"),
        ({"id": "a b"}, "client id"),
        ({"id": "a/b"}, "client id"),
        ({"id": "$where"}, "client id"),
        ({"id": "é"}, "client id"),
        ({"id": "ok\n"}, "client id"),
        ({"id": "x" * 65}, "client id"),
        ({"kind": "secret"}, "no kind"),
        ({"organization": "no-bar"}, "SYSTEM"),
        ({"organization": "a|b c"}, "SYSTEM"),
        ({"scopes": ()}, "at least one"),
        ({"scopes": ("system/Observation.rs?colour=red",)}, "cannot be kept"),
        ({"scopes": ("system/Observation.rs?subject:Patient.name=x",)}, "plain"),
        ({"scopes": ("system/Observation.rs?date=ap2020",)}, "plain"),
        ({"scopes": ("system/Nonsense.rs",)}, "no resource type"),
        ({"scopes": ("system/*.rs?category=laboratory",)}, "no scope"),
        ({"scopes": ("system/Observation.read?category=laboratory",)}, "no scope"),
        ({"secret_hash": "0"}, "confidential"),
        ({"kind": "confidential", "role": "auditor"}, "acts for itself"),
        ({"name": "<b>"}, "1 to 100"),
        ({"scopes": ("patient/*.rs",)}, "system/"),
        ({"scopes": ("openid",)}, "no scope"),
        ({"scopes": ("system/*.sr",)}, "no scope"),
        ({"scopes": ("system/*.rs",) * 201}, "at most 200"),
        ({"jwks": None}, "one of the two"),
        ({"jwks_url": "https://a.example/jwks"}, "one of the two"),
        ({"jwks": "{}"}, "list of keys"),
        ({"jwks": None, "jwks_url": "http://a.example/jwks"}, "https"),
        ({"redirect_uris": ("https://a.example/cb",)}, "never redirected"),
        ({"kind": "public", "scopes": ("patient/*.rs",)}, "no key"),
        ({"kind": "confidential", "scopes": ("user/*.rs",)}, "redirect"),
        ({"kind": "confidential"}, "patient or user"),
    ],
)
def test_a_client_that_breaks_a_rule_is_refused(changed, reason):
    """The first thing that is wrong is named."""
    with pytest.raises(Invalid, match=reason):
        require_registrable(replace(BACKEND, **changed), restrict())


@pytest.mark.parametrize(
    "uri",
    [
        "http://app.example/cb",
        "https://*.example/cb",
        "https://a.example/#x",
        "app:cb",
        "https://[/",
        "javascript:alert(1)",
    ],
)
def test_a_redirect_uri_is_https_and_exact(uri):
    """Wildcards, fragments and other schemes are refused."""
    with pytest.raises(Invalid):
        require_registrable(replace(APP, redirect_uris=(uri,)), restrict())


def test_no_scope_asked_means_all_that_are_registered():
    """RFC 6749, 3.3: the server's default is what the client is registered for."""
    assert granted_scopes(BACKEND, None, restrict()) == ("system/*.rs",)


def test_scopes_are_cut_to_what_is_registered():
    """What goes beyond falls away, in the order asked."""
    asked = "system/Patient.rs system/Patient.cruds user/Patient.rs openid system/Condition.read"

    assert granted_scopes(BACKEND, asked, restrict()) == ("system/Patient.rs", "system/Condition.read")


@pytest.mark.parametrize("asked", ["system/Patient.cud", "nonsense", "openid fhirUser", " "])
def test_nothing_left_is_invalid_scope(asked):
    """A token without any right is never made."""
    with pytest.raises(InvalidScope, match="none of the scopes"):
        granted_scopes(BACKEND, asked, restrict())


def test_a_restriction_that_is_not_understood_is_refused_and_never_left_out():
    """One such restriction spoils the request, whatever stands beside it."""
    with pytest.raises(InvalidScope, match="cannot be kept"):
        granted_scopes(BACKEND, "system/Patient.rs system/Observation.rs?colour=red", restrict())


def test_a_restricted_scope_covers_what_is_restricted_further_and_no_more():
    """Restrictions add up."""
    client = replace(BACKEND, scopes=("system/Observation.rs?category=laboratory",))
    asked = (
        "system/Observation.rs system/Observation.r?status=final&category=laboratory system/Observation.rs?status=final"
    )

    assert granted_scopes(client, asked, restrict()) == ("system/Observation.r?status=final&category=laboratory",)


def test_an_app_does_not_act_for_itself():
    """client_credentials is for backend clients."""
    with pytest.raises(UnauthorizedClient):
        granted_scopes(APP, None, restrict())


def test_a_form_is_read_with_its_empty_parameters_left_out():
    """RFC 6749, 3.2: without a value is as good as omitted."""
    assert read_form(f"{FORM}; charset=UTF-8", b"a=1&b=x+y&scope=") == {"a": "1", "b": "x y"}


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("", b"a=1"),
        ("multipart/form-data; boundary=x", b"a=1"),
        (FORM, b"a=1&a=2"),
        (FORM, b"&".join(b"a%d=1" % number for number in range(31))),
        (FORM, b"a=" + b"x" * 40_000),
        (FORM, "a=é".encode()),
        (FORM, b"a=%FF"),
    ],
)
def test_a_form_over_its_bounds_is_refused(content_type, body):
    """Another type, a parameter twice, too many, too long, not text."""
    with pytest.raises(InvalidRequest):
        read_form(content_type, body)


def test_a_description_holds_no_forbidden_character():
    """RFC 6749, 5.2: printable ASCII without quote and backslash, and not without end."""
    error = OAuthError('a"b\\c\né' + "x" * 500)

    assert error.description[:8] == "a?b?c??x"
    assert len(error.description) == 300


def test_the_smart_configuration_says_what_the_server_does():
    """Required by SMART: token endpoint, grants, capabilities, PKCE methods."""
    document = smart_configuration("https://dmp.example")

    assert document["token_endpoint"] == "https://dmp.example/oauth/token"
    assert document["grant_types_supported"] == ["authorization_code", "refresh_token", "client_credentials"]
    assert document["token_endpoint_auth_signing_alg_values_supported"] == ["RS384", "ES384"]
    assert document["code_challenge_methods_supported"] == ["S256"]
    assert document["authorization_endpoint"] == "https://dmp.example/oauth/authorize"
    assert document["issuer"] == "https://dmp.example"


def test_the_smart_configuration_advertises_both_ways_to_write_scopes():
    """The capability of each, and scopes in its words."""
    document = smart_configuration("https://dmp.example")

    assert {"permission-v1", "permission-v2"} <= set(document["capabilities"])
    assert {"patient/*.read", "patient/*.rs"} <= set(document["scopes_supported"])

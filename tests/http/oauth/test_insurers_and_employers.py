"""Complementary insurers, mutual funds and employers: each way in, and none of them leads anywhere.

Code de la santé publique, L.1111-18: access cannot be demanded outside of care, even with the person's agreement.
"""

from __future__ import annotations

import pytest
from pymongo import MongoClient

from fhir_dmp.access.decide import decide
from fhir_dmp.access.model import Person, Subject
from fhir_dmp.access.rules import rules_for
from fhir_dmp.cli.client import ROLES as CHOICES
from fhir_dmp.definitions.loader import load
from fhir_dmp.errors import Invalid, Unauthenticated
from fhir_dmp.oauth.clients import OF_PEOPLE, ROLES
from fhir_dmp.oauth.errors import OAuthError
from fhir_dmp.oauth.people import PROFESSIONS
from fhir_dmp.service.accounts import NewAccount
from fhir_dmp.service.authorize import Go
from fhir_dmp.service.clients import NewClient
from fhir_dmp.settings import Readings
from fhir_dmp.store.accounts import Situation
from fhir_dmp.store.query import NOTHING
from tests.oauth_world import (
    CALLBACK,
    NOON,
    authorize,
    context,
    form,
    jwks,
    key_pair,
    post,
    redeem,
    refresh,
)

OUTSIDE = ("insurer", "insurance", "mutual", "mutuelle", "employer", "payer", "bank", "")
PURPOSES = ("HPAYMT", "COVERAGE", "COVERUR", "CLMATTCH", "ELIGDTRM", "EMPL", "HOPERAT", "HMARKT")
"""Of v3-ActReason: payment, coverage, eligibility, and others that are not care."""


def turn(world, client_id, role):
    """Change a client's role in the database, as somebody could who has it in hand."""
    with MongoClient(world.uri) as client:
        client[world.database].grants.update_one({"_id": f"client/{client_id}"}, {"$set": {"role": role}})


@pytest.mark.rule("L18")
@pytest.mark.parametrize("kind", ["backend", "confidential", "public"])
@pytest.mark.parametrize("role", OUTSIDE)
def test_there_is_no_role_to_register_them_by(world, role, kind):
    """Whatever the kind of client."""
    new = NewClient("x", kind, role, ("system/*.rs",), jwks=jwks(key_pair()), redirect_uris=(CALLBACK,))
    with pytest.raises(Invalid):
        world.clients().add(new, context())

    assert world.grants().list_clients() == ()


@pytest.mark.rule("L18")
def test_the_roles_that_there_are_name_none_of_them():
    """At the command line, at registration, and for apps of people; the care history of the compulsory insurance only writes."""
    assert not set(OUTSIDE) & {*ROLES, *CHOICES, *OF_PEOPLE}


@pytest.mark.rule("L18")
@pytest.mark.parametrize("profession", ["insurer", "employer", "00", "", "ALIM_AM"])
def test_no_account_has_such_a_profession(world, profession):
    """A professional is one of health."""
    situations = (Situation(profession),)
    new = NewAccount(
        "professional", "X", "Practitioner/x", "urn:x|1", "x.y", "cheval agrafe pile", situations=situations
    )
    with pytest.raises(Invalid):
        world.accounts().add(new, context())

    assert profession not in PROFESSIONS


@pytest.mark.rule("L18")
@pytest.mark.parametrize("kind", ["insurer", "employer"])
def test_no_account_is_of_such_a_kind(world, kind):
    """Patients and professionals, nobody else."""
    with pytest.raises(Invalid):
        world.accounts().add(NewAccount(kind, "X", "Organization/x", "urn:x|1", "x.y", "cheval agrafe pile"), context())


@pytest.mark.rule("L18")
@pytest.mark.parametrize("role", ["insurer", "employer"])
def test_a_role_that_was_written_into_the_database_gets_no_token(world, role):
    """By its key, by a code and by a refresh token."""
    world.register("system")
    world.app()
    signed, http = world.sign_in(), world.http()
    code = world.code(signed)["code"]
    given = redeem(http, world.code(signed)["code"]).json
    turn(world, "system", role)
    turn(world, "phone", role)

    assertion = world.assertion("system")
    assert (
        http.post("/oauth/token", data=form(assertion), content_type="application/x-www-form-urlencoded").status_code
        == 401
    )
    assert redeem(http, code).status_code == 401
    assert refresh(http, given["refresh_token"]).status_code == 401
    assert post(http, "token", grant_type="refresh_token", refresh_token=given["refresh_token"]).status_code == 401
    with pytest.raises(OAuthError):
        world.worker().operator_token("system", (), "operator", context())


@pytest.mark.rule("L18")
@pytest.mark.parametrize("role", ["insurer", "employer"])
def test_a_role_that_was_written_into_the_database_holds_no_token(world, role):
    """Those that were issued before stop at once, on every worker."""
    world.register("system")
    world.app()
    tokens = [
        world.worker().operator_token("system", (), "operator", context()),
        redeem(world.http(), world.code(world.sign_in())["code"]).json["access_token"],
    ]
    turn(world, "system", role)
    turn(world, "phone", role)

    for token in tokens:
        with pytest.raises(Unauthenticated):
            world.worker().verify_bearer(token)


@pytest.mark.rule("L18")
@pytest.mark.parametrize("purpose", PURPOSES)
def test_no_purpose_of_theirs_can_be_asked_for(world, purpose):
    """Not at the authorization endpoint, whatever the person would say."""
    world.app()
    answer = world.authorizations().ask(authorize(purpose_of_use=purpose), world.sign_in(), context())

    assert isinstance(answer, Go)
    assert "error=invalid_request" in answer.url


@pytest.mark.rule("L18")
@pytest.mark.parametrize("role", OUTSIDE)
@pytest.mark.parametrize("action", ["read", "search", "create", "update", "delete"])
def test_no_rule_permits_anything_to_such_a_role(role, action):
    """Even if everything before had failed."""
    subject = Subject("x", role, ("system/*.cruds",), "urn:s|1")
    rules = rules_for(subject, action, {}, NOON, load().matrix, lambda scope: NOTHING, readings=Readings())

    assert [rule for rule in rules if rule.permit] == []


@pytest.mark.rule("L18")
@pytest.mark.parametrize("profession", ["insurer", "employer", None])
def test_no_profession_of_theirs_reads_a_record(profession):
    """What a matrix does not name it refuses, even where the record is opened by an emergency."""
    person = Person(
        *("professional", "a", "urn:x|1", "Practitioner/x"),
        profession=profession,
        patient="Patient/p",
        purpose="BTG",
        reason="whatever",
    )
    subject = Subject("x", "app", ("user/*.cruds",), "urn:s|1", person=person)
    rules = rules_for(subject, "read", {}, NOON, load().matrix, lambda scope: NOTHING, readings=Readings())
    row = {"_id": "Observation/o", "ty": "Observation", "pt": ["Patient/p"], "ca": ["10"], "t": ["Observation"]}

    assert not decide(rules, row).permit

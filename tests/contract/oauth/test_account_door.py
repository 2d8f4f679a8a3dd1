"""The door of accounts on a real database: what an operator may do, and that each act is told."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from fhir_dmp.app.server import create_server
from fhir_dmp.errors import Conflict, Invalid, NotFound
from fhir_dmp.oauth.totp import hash_recovery_code
from fhir_dmp.service.accounts import NewAccount
from fhir_dmp.store.accounts import Represented, Situation
from tests.conftest import server_settings
from tests.oauth_world import context

PASSWORD = "cheval agrafe pile correct"
ZOE = NewAccount("patient", "Zoé Petit", "Patient/z", "urn:ins|1", "Zoe.Petit", PASSWORD)
DOCTOR = NewAccount(
    kind="professional",
    name="Dr Anne Martin",
    resource="Practitioner/p1",
    identifier="urn:oid:1.2.250.1.71.4.2.1|899700218896",
    situations=(Situation("10", "SM26", "urn:x|1", "Cabinet du Port"),),
    provider="psc",
    subject="f:1",
)


def told(world):
    """Return what was announced, as (kind, account, error), and forget it."""
    acts = [(act.kind, act.account, act.error) for act in world.acts]
    world.acts.clear()
    return acts


def test_an_account_is_added_listed_and_removed_and_each_is_told(world):
    """Ids are never given twice; the password itself is nowhere."""
    door, other = world.accounts(), world.accounts()

    zoe = door.add(ZOE, context())
    doctor = door.add(DOCTOR, context())
    listed = other.list(context())
    other.remove("ZOE.petit", context())

    assert listed == (zoe, doctor)
    assert zoe.login == "zoe.petit"
    assert PASSWORD not in str(listed)
    assert door.list(context()) == (doctor,)
    assert told(world) == [
        ("account-add", zoe.id, None),
        ("account-add", doctor.id, None),
        ("account-list", "", None),
        ("account-remove", zoe.id, None),
        ("account-list", "", None),
    ]
    assert door.add(ZOE, context()).id != zoe.id


@pytest.mark.parametrize(
    ("new", "error"),
    [
        (ZOE, Conflict),
        (NewAccount("patient", "X", "Patient/x", "urn:ins|2", "xavier", "motdepasse123"), Invalid),
        (NewAccount("insurer", "AXA", "Organization/x", "urn:x|2", "axa", PASSWORD), Invalid),
        (NewAccount("professional", "AXA", "Practitioner/x", "urn:x|2", "axa", PASSWORD, (Situation("999"),)), Invalid),
    ],
    ids=["taken", "guessed", "insurer", "no health profession"],
)
def test_who_may_not_have_an_account_has_none_and_that_is_told(world, new, error):
    """A taken login, a weak password, an insurer by any name."""
    door = world.accounts()
    door.add(ZOE, context())
    told(world)

    with pytest.raises(error):
        door.add(new, context())

    assert told(world) == [("account-add", "", error.code)]
    assert len(door.list(context())) == 1


def test_what_ends_sessions_moves_the_time_from_which_they_hold(world):
    """A new password, a second factor, and being disabled."""
    door = world.accounts()
    account = door.add(ZOE, context())
    for act in (
        lambda: door.set_password("zoe.petit", "une autre phrase, longue", context()),
        lambda: door.new_totp(account.id, context()),
        lambda: door.disable("zoe.petit", context()),
    ):
        before = door.list(context())[0].holds_from
        world.forward(5)
        act()
        assert door.list(context())[0].holds_from == before + 5_000_000

    assert door.list(context())[0].disabled
    door.enable("zoe.petit", context())
    assert not door.list(context())[0].disabled


def test_a_second_factor_is_told_once_and_kept_sealed(world):
    """The database holds neither the secret nor the codes."""
    door = world.accounts()
    account = door.add(ZOE, context())
    enrolment = door.new_totp("zoe.petit", context())
    kept = door.list(context())[0]

    secret = enrolment.uri.partition("secret=")[2].partition("&")[0]
    assert door.seal.open(kept.totp).decode() == secret
    assert secret not in str(kept)
    assert kept.recovery == tuple(hash_recovery_code(code) for code in enrolment.recovery)
    assert told(world)[1] == ("account-totp", account.id, None)


def test_an_account_of_a_provider_has_neither_password_nor_second_factor(world):
    """Both are the provider's."""
    door = world.accounts()
    account = door.add(DOCTOR, context())

    with pytest.raises(Invalid, match="provider"):
        door.set_password(account.id, PASSWORD, context())
    with pytest.raises(Invalid, match="provider"):
        door.new_totp(account.id, context())


def test_a_parent_stands_in_the_records_of_children(world):
    """Each once; a professional's account in none; who is no related person in none."""
    door = world.accounts()
    zoe = door.add(ZOE, context())
    door.add(DOCTOR, context())
    leo, mia = (
        Represented("RelatedPerson/r1", "Patient/leo", "Léo"),
        Represented("RelatedPerson/r2", "Patient/mia", "Mia"),
    )
    for each in (leo, mia, replace(leo, resource="RelatedPerson/r3")):
        door.represent("zoe.petit", each, context())

    assert door.list(context())[0].represents == (mia, replace(leo, resource="RelatedPerson/r3"))
    assert told(world)[2] == ("account-represent", zoe.id, None)
    for which, wrong in (
        (door.list(context())[1].id, leo),
        ("zoe.petit", replace(leo, resource="Patient/leo")),
        ("zoe.petit", replace(leo, patient="Practitioner/leo")),
    ):
        with pytest.raises(Invalid):
            door.represent(which, wrong, context())


def test_an_act_on_nobody_is_told_as_well(world):
    """By any of the acts."""
    door = world.accounts()
    for act in (
        lambda: door.disable("nobody", context()),
        lambda: door.remove("nobody", context()),
        lambda: door.set_password("nobody", PASSWORD, context()),
        lambda: door.new_totp("nobody", context()),
    ):
        with pytest.raises(NotFound):
            act()

    assert {(act.error, act.account) for act in world.acts} == {("not-found", "")}
    assert len(world.acts) == 4


def test_a_server_keeps_passwords_at_the_costs_of_the_rfc(mongodb_uri, database_name, tmp_path):
    """As RFC 9106 recommends it second: 64 MB, three passes, four lanes."""
    server = create_server(server_settings(mongodb_uri, database_name, tmp_path))
    account = server.accounts.add(ZOE, server.operator_context("tester", "test"))

    assert server.accounts.accounts.find_account(account.id).password.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    server.close()

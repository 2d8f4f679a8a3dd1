"""The port of accounts, sessions and counted attempts, kept by MongoDB."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace
from pymongo import MongoClient

from fhir_dmp.clock import DAY, SECOND, micros_of
from fhir_dmp.errors import Unavailable
from fhir_dmp.store.accounts import Account, Represented, Session, Situation
from fhir_dmp.stores.mongo.accounts import MongoAccounts
from tests.at_once import at_once
from tests.oauth_world import NOON

NOW = micros_of(NOON)

HOSPITAL = Situation("10", "SM26", "urn:oid:1.2.250.1.71.4.2.2|1750712184", "Hôpital de la Plage")
DOCTOR = Account(
    id="a-1",
    kind="professional",
    name="Dr Anne Martin",
    resource="Practitioner/p1",
    identifier="urn:oid:1.2.250.1.71.4.2.1|899700218896",
    added=NOW,
    holds_from=NOW,
    login="anne.martin",
    password="$argon2id$x",
    totp="sealed",
    recovery=("h1", "h2"),
    situations=(HOSPITAL, Situation("10")),
    traits="t1",
    provider="psc",
    subject="f:1",
)
OTHER = replace(DOCTOR, id="a-3", login="other", subject="other", identifier="urn:x|other", traits="other")
LEO = Represented("RelatedPerson/r1", "Patient/leo", "Léo Petit")
CHILD = Account(
    *("a-2", "patient", "Zoé Petit", "Patient/z", "urn:ins|1", NOW, NOW), birth_date="2015-02-03", represents=(LEO,)
)
SESSION = Session(
    "s-1",
    "a-1",
    "signed-in",
    "password+totp",
    NOW,
    NOW,
    NOW + 60 * SECOND,
    HOSPITAL,
    (HOSPITAL, Situation("60")),
    secret=True,
)


@pytest.fixture
def port(mongodb_uri, database_name):
    """Two workers' ports on one database."""
    clients = [MongoClient(mongodb_uri), MongoClient(mongodb_uri)]
    yield tuple(MongoAccounts(client[database_name]) for client in clients)
    for client in clients:
        client.close()


def test_an_account_comes_back_as_it_was_kept(port):
    """By id, login, subject, identifier and traits, on any worker; all fields, given or not."""
    one, two = port

    assert one.add_account(DOCTOR)
    assert one.add_account(CHILD)

    assert two.find_account("a-1") == two.find_account_by_login("anne.martin") == DOCTOR
    assert two.find_account_by_subject("psc", "f:1") == DOCTOR
    assert two.find_account_by_identifier("Practitioner", DOCTOR.identifier) == DOCTOR
    assert two.find_account_by_identifier("Patient", DOCTOR.identifier) is None
    assert two.find_account_by_traits("t1") == DOCTOR
    assert two.list_accounts() == (DOCTOR, CHILD)
    assert two.find_account("a-9") is None
    assert two.find_account_by_login("nobody") is None
    assert two.find_account_by_subject("other", "f:1") is None


@pytest.mark.parametrize(
    "taken",
    [
        replace(OTHER, id="a-1"),
        replace(OTHER, login="anne.martin"),
        replace(OTHER, subject="f:1"),
        replace(OTHER, identifier=DOCTOR.identifier),
        replace(OTHER, traits="t1"),
    ],
    ids=["id", "login", "subject", "identifier", "traits"],
)
def test_what_names_an_account_names_no_other(port, taken):
    """Whichever of the five is taken, nothing of the second is kept."""
    one, two = port
    one.add_account(DOCTOR)

    assert not two.add_account(taken)
    assert one.list_accounts() == (DOCTOR,)
    assert one.find_account_by_login("other") is None
    assert one.find_account_by_subject("psc", "other") is None


def test_a_removed_account_leaves_its_names_to_others(port):
    """Login and subject go with it."""
    one, two = port
    one.add_account(DOCTOR)

    assert two.remove_account("a-1")
    assert not two.remove_account("a-1")
    assert one.find_account_by_login("anne.martin") is None
    assert one.add_account(replace(DOCTOR, id="a-4"))


def test_what_changes_of_an_account_is_what_was_named(port):
    """And when it proves itself otherwise, what began before does not hold."""
    one, two = port
    one.add_account(DOCTOR)
    new = (Situation("60", None, "urn:x|2", "Cabinet"),)

    assert one.set_password("a-1", "$argon2id$y", NOW + 1)
    assert two.find_account("a-1") == replace(DOCTOR, password="$argon2id$y", holds_from=NOW + 1)
    assert one.set_totp("a-1", None, (), NOW + 2)
    assert one.set_disabled("a-1", NOW + 3, disabled=True)
    assert one.set_situations("a-1", new)
    assert one.set_represents("a-1", (LEO,))

    changed = replace(DOCTOR, password="$argon2id$y", totp=None, recovery=(), disabled=True)
    assert two.find_account("a-1") == replace(changed, situations=new, represents=(LEO,), holds_from=NOW + 3)


def test_nothing_changes_of_an_account_that_is_not_there(port):
    """Each says so, and makes none."""
    one, _ = port

    assert not one.set_password("a-9", "x", NOW)
    assert not one.set_totp("a-9", "x", (), NOW)
    assert not one.set_disabled("a-9", NOW, disabled=True)
    assert not one.set_situations("a-9", ())
    assert not one.set_represents("a-9", ())
    assert not one.link_subject("a-9", "psc", "f:1")
    assert one.list_accounts() == ()


def test_a_subject_is_linked_to_one_account_and_once(port):
    """Neither can somebody else's be taken, nor a link be replaced."""
    one, two = port
    one.add_account(DOCTOR)
    one.add_account(CHILD)

    assert not two.link_subject("a-2", "psc", "f:1")
    assert two.find_account("a-2") == CHILD
    assert two.link_subject("a-2", "fc", "s-2")
    assert not two.link_subject("a-2", "fc", "s-3")
    assert one.find_account_by_subject("fc", "s-2") == replace(CHILD, provider="fc", subject="s-2")


def test_a_time_step_and_a_recovery_code_are_used_once_on_any_worker(port):
    """A later step is fine, an earlier one is not."""
    one, two = port
    one.add_account(DOCTOR)

    assert [one.use_totp_step("a-1", step) for step in (7, 7, 6, 8)] == [True, False, False, True]
    assert not two.use_totp_step("a-1", 8)
    assert one.use_recovery_code("a-1", "h1")
    assert not two.use_recovery_code("a-1", "h1")
    assert two.find_account("a-1").recovery == ("h2",)


def test_a_session_is_seen_and_ended_on_any_worker(port):
    """It outlives its end in the database by less than a day, and never moves back in time."""
    one, two = port
    bare = Session("s-2", "a-2", "second-factor", "password", NOW, NOW, NOW + SECOND, strong=False)
    one.add_session(SESSION)
    one.add_session(bare)

    assert (two.find_session("s-1"), two.find_session("s-2")) == (SESSION, bare)
    two.touch_session("s-1", NOW + 5)
    two.touch_session("s-1", NOW + 4)
    assert one.find_session("s-1") == replace(SESSION, seen=NOW + 5)
    assert two.remove_session("s-1")
    assert not one.remove_session("s-1")
    assert one.find_session("s-1") is None
    assert one._rows.find("session/s-2")["expires"] == (NOON + timedelta(hours=1, seconds=1)).replace(tzinfo=None)


def test_attempts_wait_longer_each_time_and_are_forgotten(port):
    """The last wait holds for all later ones; a day without any begins anew."""
    one, two = port
    waits, day = (0, 2 * SECOND, 4 * SECOND), DAY

    def turn(now, worker=one):
        return worker.take_turn("login:x", NOW + now, waits, day)

    assert turn(0) == 0
    assert turn(0, two) == 0
    assert turn(SECOND) == SECOND
    assert turn(2 * SECOND, two) == 0
    assert turn(5 * SECOND) == SECOND
    assert turn(6 * SECOND) == 0
    assert turn(9 * SECOND) == SECOND
    assert one.take_turn("login:y", NOW, waits, day) == 0
    later = 6 * SECOND + day
    assert [turn(later), turn(later), turn(later)] == [0, 0, 2 * SECOND]


def test_an_attempt_that_was_no_failure_is_given_back(port):
    """And all are forgotten when the right person came."""
    one, two = port
    waits = (0, 60 * SECOND)
    for _ in range(2):
        one.take_turn("k", NOW, waits, 3600 * SECOND)

    two.give_turn_back("k")
    assert one.take_turn("k", NOW, waits, 3600 * SECOND) == 0
    assert one.take_turn("k", NOW, waits, 3600 * SECOND) == 60 * SECOND
    two.forget_turns("k")
    assert [one.take_turn("k", NOW, waits, 3600 * SECOND) for _ in range(2)] == [0, 0]


def test_attempts_at_the_same_time_are_counted_one_by_one(port):
    """Sixteen at once get no more than what was free."""
    waits = at_once(lambda worker: worker.take_turn("k", NOW, (0, 0, 60 * SECOND), 3600 * SECOND), port * 8)

    assert 1 <= waits.count(0) <= 3


def test_a_database_that_is_gone_is_unavailable_for_accounts(mongodb_uri, database_name):
    """Look-ups and transactions alike, within the time that a call has."""
    client = MongoClient(mongodb_uri)
    gone = MongoAccounts(client[database_name], timeout=0.5)
    client.close()

    for call in (
        lambda: gone.find_account_by_login("x"),
        lambda: gone.add_account(DOCTOR),
        lambda: gone.take_turn("k", NOW, (0,), 1),
    ):
        with pytest.raises(Unavailable):
            call()

"""What is guessed at the sign-in: failures tell nothing, and keep the next attempt waiting, and nobody out who is at home there."""

from __future__ import annotations

import pytest

from fhir_dmp.clock import SECOND
from fhir_dmp.errors import Unauthenticated
from fhir_dmp.service.sign_in import Attempt
from fhir_dmp.service.waits import ACCOUNT_WAITS
from tests.oauth_world import context
from tests.sign_in_world import Visitor


def test_the_same_work_is_done_for_unknown_logins(world):
    """A hash is computed each time, and as many rows are looked up."""
    world.patient()
    door = world.door()
    hashed, looked = [], []
    verify, find = door.passwords._hasher.verify, door.accounts._rows.find
    door.passwords._hasher = type("Hasher", (), {"verify": lambda _, *args: hashed.append(1) or verify(*args)})()
    door.accounts._rows.find = lambda row_id: looked.append(row_id.partition("/")[0]) or find(row_id)
    work = []
    for login in ("zoe.petit", "nobody"):
        hashed.clear(), looked.clear()
        with pytest.raises(Unauthenticated, match="not right"):
            door.by_password(_attempt(login), context())
        work.append((len(hashed), list(looked)))

    assert work[0] == work[1] == (1, ["login", "account"])


def _attempt(login, password="wrong wrong wrong", address="192.0.2.9", device=""):
    return Attempt(login, password, address, device)


def test_failures_make_the_next_attempt_wait_longer_on_any_worker_and_never_for_good(world):
    """Even the right password waits; after the longest wait it is taken, and all is forgotten."""
    world.patient()
    for number in range(5):
        assert Visitor(world.app(), f"192.0.2.{number}").sign_in(password="wrong!").status_code == 401
    locked = Visitor(world.app(), "192.0.2.77").sign_in()

    assert (locked.status_code, locked.headers["Retry-After"]) == (429, "15")
    assert "15 secondes" in locked.text
    assert world.acts[-1].why == "too many attempts by login"
    for number in range(10):
        world.forward(ACCOUNT_WAITS[-1] // SECOND)
        assert Visitor(world.app(), f"192.0.3.{number}").sign_in(password="wrong!").status_code == 401
    assert Visitor(world.app()).sign_in().headers["Retry-After"] == "900"
    world.forward(900)
    assert Visitor(world.app()).sign_in().status_code == 303
    assert Visitor(world.app()).sign_in(password="wrong!").status_code == 401
    assert Visitor(world.app()).sign_in().status_code == 303


def test_a_login_that_nobody_has_locks_like_any_other(world):
    """Who is waiting tells nothing about who exists."""
    for number in range(5):
        Visitor(world.app(), f"192.0.2.{number}").sign_in("nobody")

    assert Visitor(world.app()).sign_in("nobody").status_code == 429


def test_nobody_can_lock_an_owner_out_of_a_device_they_signed_in_from(world):
    """Strangers' failures keep strangers waiting; the device has attempts of its own, which count as well."""
    world.patient()
    owner = Visitor(world.app())
    owner.sign_in()
    for number in range(5):
        Visitor(world.app(), f"192.0.2.{number}").sign_in(password="wrong!")
    assert Visitor(world.app(), "192.0.2.88").sign_in().status_code == 429

    owner.http.delete_cookie("dmp-session")
    assert owner.sign_in().status_code == 303
    for _ in range(5):
        assert owner.sign_in(password="wrong!").status_code == 401
    assert owner.sign_in().status_code == 429


def test_a_device_of_one_person_is_none_of_anothers(world):
    """Nor is one that was made up."""
    world.patient()
    world.patient("other.patient")
    other = Visitor(world.app())
    other.sign_in("other.patient")
    for number in range(5):
        Visitor(world.app(), f"192.0.2.{number}").sign_in(password="wrong!")

    assert other.sign_in().status_code == 429
    other.http.set_cookie("dmp-device", "x" * 80)
    assert other.sign_in().status_code == 429


def test_an_address_that_fails_at_many_logins_waits_too(world):
    """One guess at each of many people is still guessing; another address is not kept waiting."""
    world.patient()
    app = world.app()
    for number in range(31):
        assert Visitor(app).sign_in(f"person-{number}").status_code == 401

    assert Visitor(app).sign_in().status_code == 429
    assert world.acts[-1].why == "too many attempts by address"
    assert Visitor(app, "192.0.2.200").sign_in().status_code == 303


def test_people_behind_one_address_do_not_wait_for_each_others_success(world):
    """A hospital has one address."""
    world.patient()
    app = world.app()

    assert {Visitor(app).sign_in().status_code for _ in range(40)} == {303}

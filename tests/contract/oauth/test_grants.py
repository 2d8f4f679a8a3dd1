"""The port of clients, keys and tokens, kept by MongoDB, and the doors that stand on it."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from pymongo.errors import ExecutionTimeout

from fhir_dmp.access.model import Subject
from fhir_dmp.errors import Conflict, Invalid, NotFound, Unauthenticated, Unavailable
from fhir_dmp.oauth.errors import InvalidClient, InvalidRequest, InvalidScope
from fhir_dmp.oauth.keys import PUBLISHED_BEFORE, SIGNS
from fhir_dmp.service.clients import NewClient
from fhir_dmp.store.grants import Client, Look, PolicyRow, Standing
from fhir_dmp.stores.mongo.lines import Lines
from fhir_dmp.stores.mongo.together import Together
from tests.at_once import at_once
from tests.oauth_world import NOON, context, jwks, key_pair

CLIENT = Client("ehr-one", "r-1", "backend", "ehr", ("system/*.rs",), 7, "urn:x|1", "{}", None, ("https://a/cb",))


def later(world, micros):
    """Move the world's clock."""
    world.clock.set(world.clock.now() + timedelta(microseconds=micros))


def test_a_client_comes_back_as_it_was_registered(world):
    """All fields, given or not."""
    grants = world.grants()
    bare = Client("bare", "r-2", "public", "app", ("patient/*.rs",), 8)

    assert grants.add_client(CLIENT)
    assert grants.add_client(bare)
    assert grants.find_client("ehr-one") == CLIENT
    assert (bare, CLIENT) == grants.list_clients()
    assert not grants.add_client(CLIENT)


def test_a_removed_client_is_gone_for_readers_of_all_workers(world):
    """Both what it is and what holds of it."""
    grants, other = world.grants(), world.grants()
    grants.add_client(CLIENT)
    assert other.find_standing(Look("ehr-one", "t")) == Standing("r-1", "ehr", "urn:x|1", revoked=False)

    assert grants.remove_client("ehr-one")

    assert other.find_client("ehr-one") is None
    assert other.find_standing(Look("ehr-one", "t")) is None
    assert not grants.remove_client("ehr-one")


def test_a_revoked_token_stands_so_for_all_workers(world):
    """That token alone, and to revoke it again changes nothing."""
    grants, other = world.grants(), world.grants()
    grants.add_client(CLIENT)
    for _ in range(2):
        grants.revoke_token("t-1", world.clock.micros())

    assert other.find_standing(Look("ehr-one", "t-1")).revoked
    assert not other.find_standing(Look("ehr-one", "t-2")).revoked


def test_what_one_answer_cannot_hold_is_found_all_the_same(world):
    """A message of the database ends at 16 MB, and what was left out of one would look as if it were not there."""
    grants = world.grants()
    grants.add_client(CLIENT)
    much, held = "x" * 9_000_000, {"disabled": False, "holds_from": 0}
    family = {"revoked": False, "began": 1, "person": {"name": much}}
    rows = {"family/f": family, "account/a": held, "policy/Patient/p": {"v": 3, "b": much.encode()}}
    world.opened[-1][world.database].grants.insert_many([{"_id": row_id, **row} for row_id, row in rows.items()])

    standing = grants.find_standing(Look("ehr-one", "t", "f", "a", "Patient/p"))

    assert standing.person.person == {"name": much}
    assert standing.policy == PolicyRow("Patient/p", 3, much.encode())


def test_what_takes_too_long_is_no_fault_of_who_shows_a_token(world, monkeypatch):
    """Rows that are found by their ids take no time of their own: the database does not answer, whatever it says."""
    grants = world.grants()

    def runs_out(*_):
        raise ExecutionTimeout("operation exceeded time limit", 50)

    monkeypatch.setattr(Lines, "command", runs_out)

    with pytest.raises(Unavailable):
        grants.find_standing(Look("ehr-one", "t"))


def test_what_is_past_is_forgotten_by_an_index(world):
    """Used assertions outlive their end; clients have none."""
    grants = world.grants()
    grants.use_assertion("ehr-one", "j", world.clock.micros())
    grants.add_client(CLIENT)
    database = world.opened[-1][world.database]

    assert database.grants.index_information()["expires_1"]["expireAfterSeconds"] == 0
    kept = database.grants.find_one({"_id": {"$gt": "used/", "$lt": "used0"}})["expires"]
    assert kept == (NOON + timedelta(hours=1)).replace(tzinfo=None)
    assert "expires" not in database.grants.find_one({"_id": "client/ehr-one"})


def test_a_database_that_does_not_answer_is_unavailable(world):
    """Each call says so in the server's own words."""
    grants = world.grants()
    world.opened[-1].close()

    for call in (
        lambda: grants.find_standing(Look("a", "b")),
        lambda: grants.find_client("a"),
        lambda: grants.use_assertion("a", "b", 0),
        grants.list_keys,
    ):
        with pytest.raises(Unavailable):
            call()


def test_readers_that_wait_together_share_a_query_sent_after_they_came():
    """While one query is under way, all who come join the next one."""
    sent, under_way, go = [], threading.Event(), threading.Event()

    def fetch(keys):
        sent.append(set(keys))
        under_way.set()
        assert go.wait(60)
        return {key: key.upper() for key in keys if key != "absent"}

    together, found = Together(fetch), {}
    threads = [threading.Thread(target=lambda: found.update(a=together.find("a")))]
    threads[0].start()
    assert under_way.wait(60)
    for key in ("a2", "b", "c", "absent"):
        threads.append(threading.Thread(target=lambda key=key: found.update({key: together.find(key)})))
        threads[-1].start()
    while not together._waiting or len(together._waiting[-1].keys) < 4:
        pass
    go.set()
    for each in threads:
        each.join()

    assert [{"a"}, {"a2", "b", "c", "absent"}] == sent
    assert found == {"a": "A", "a2": "A2", "b": "B", "c": "C", "absent": None}


def test_a_failed_query_fails_all_who_waited_and_nobody_after():
    """The error belongs to that query."""
    answers = [Unavailable("gone"), {"a": 1}]

    def fetch(keys):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    together = Together(fetch)

    with pytest.raises(Unavailable):
        together.find("a")
    assert together.find("a") == 1


def test_workers_that_start_together_share_one_signing_key(world):
    """The first to store its generation wins; the others take it."""
    workers = [world.worker() for _ in range(4)]
    at_once(lambda worker: worker.prepare(), workers)

    assert len({worker.jwks() for worker in workers}) == 1
    assert len(world.grants().list_keys()) == 1


def test_a_new_key_is_published_before_it_signs_and_the_old_one_verifies_on(world):
    """Tokens of both hold on a worker that has not looked since."""
    world.register()
    one, two = world.worker(), world.worker()
    one.prepare(), two.prepare()
    later(world, SIGNS - PUBLISHED_BEFORE)
    old = one.operator_token("ehr-one", (), "op", context())
    assert [key.generation for key in world.grants().list_keys()] == [1, 2]

    later(world, PUBLISHED_BEFORE - 1)
    still_old = one.operator_token("ehr-one", (), "op", context())
    later(world, 1)
    new = one.operator_token("ehr-one", (), "op", context())

    headers = [token.split(".")[0] for token in (old, still_old, new)]
    assert headers[0] == headers[1] != headers[2]
    for token in (old, still_old, new):
        assert two.verify_bearer(token).subject.operator == "op"


def test_the_next_key_is_made_in_time(world):
    """After thirty days another signs; a day later the first is no longer published."""
    world.register()
    worker = world.worker()
    worker.prepare()
    later(world, SIGNS - PUBLISHED_BEFORE)
    worker.prepare()
    assert [key.generation for key in world.grants().list_keys()] == [1, 2]

    later(world, 2 * 86_400_000_000)
    assert worker.jwks().count(b'"kid"') == 1
    assert worker.verify_bearer(worker.operator_token("ehr-one", (), "op", context())).subject.client == "ehr-one"


def test_a_server_that_slept_for_months_makes_a_new_key(world):
    """Every key is past its end: the next generation signs at once."""
    world.worker().prepare()
    later(world, 4 * SIGNS)
    worker = world.worker()
    world.register()

    assert worker.verify_bearer(worker.operator_token("ehr-one", (), "op", context())).subject.client == "ehr-one"
    assert [key.generation for key in world.grants().list_keys()] == [1, 2]


def test_keys_are_sealed_by_the_servers_secret(world):
    """The row shows nothing of the key, and another secret does not open it."""
    world.worker().prepare()
    [row] = world.grants().list_keys()

    assert '"d"' not in row.sealed
    with pytest.raises(ValueError, match="another secret"):
        world.worker(secret=b"t" * 32).prepare()


def test_a_forged_token_of_an_unknown_key_is_refused(world):
    """A worker that has other keys made it; ours have never seen them."""
    world.register()
    forger = world.worker()
    token = forger.operator_token("ehr-one", (), "op", context())
    world.opened[-1][world.database].grants.delete_many({"_id": {"$gt": "key/", "$lt": "key0"}})
    later(world, 2_000_000)

    with pytest.raises(Unauthenticated, match="not ours"):
        world.worker().verify_bearer(token)


def test_an_operator_gets_a_token_in_the_name_of_a_client(world):
    """The token names both; the event too."""
    world.register()
    worker = world.worker()
    subject = worker.verify_bearer(worker.operator_token("ehr-one", ("system/Patient.rs",), "alice", context())).subject

    assert Subject("ehr-one", "ehr", ("system/Patient.rs",), "urn:oid:1.2|42", subject.token_id, "alice") == subject
    assert [("operator-token", "ehr-one", subject)] == [(act.kind, act.client_id, act.subject) for act in world.acts]


def test_an_operators_token_is_bound_to_a_record_and_says_why(world):
    """Both travel in the token as IHE IUA has them, and stand in the event."""
    world.register()
    worker = world.worker()
    token = worker.operator_token("ehr-one", (), "alice", context(), patient="p1", purpose="PATADMIN")
    subject = worker.verify_bearer(token).subject

    assert (subject.patient, subject.record, subject.purpose) == ("Patient/p1", "Patient/p1", "PATADMIN")
    assert world.acts[-1].subject == subject


@pytest.mark.parametrize(
    "asked",
    [{"patient": "Patient/p/q"}, {"patient": "Practitioner/p"}, {"patient": "nosuch"}]
    + [{"purpose": code} for code in ("BTG", "ETREAT", "HPAYMT", "HMARKT", "")],
)
def test_an_operators_token_is_for_no_emergency_and_nothing_but_care(world, asked):
    """What only a person may claim, what nobody may, and what names no record, or none that is there."""
    world.register()
    with pytest.raises(InvalidRequest):
        world.worker().operator_token("ehr-one", (), "alice", context(), **asked)

    assert [act.error for act in world.acts] == ["invalid_request"]


@pytest.mark.parametrize(
    ("client", "scopes", "error"), [("nobody", (), InvalidClient), ("ehr-one", ("user/*.rs",), InvalidScope)]
)
def test_an_operator_reaches_no_further_than_the_client(world, client, scopes, error):
    """The same rules, and an event for the refusal."""
    world.register()
    with pytest.raises(error):
        world.worker().operator_token(client, scopes, "alice", context())

    assert [error.error] == [act.error for act in world.acts]


def test_registration_is_told_whatever_comes_of_it(world):
    """Adding, listing, removing; done or refused."""
    clients = world.clients()
    new = NewClient("lab-one", "backend", "lab", ("system/Observation.c",), jwks=jwks(key_pair()))

    clients.add(new, context())
    with pytest.raises(Conflict):
        clients.add(new, context())
    with pytest.raises(Invalid):
        clients.add(NewClient("axa", "backend", "insurer", ("system/*.rs",), jwks=jwks(key_pair())), context())
    assert [client.id for client in clients.list(context())] == ["lab-one"]
    clients.remove("lab-one", context())
    with pytest.raises(NotFound):
        clients.remove("lab-one", context())

    assert [(act.kind, act.error) for act in world.acts] == [
        ("client-add", None),
        ("client-add", "conflict"),
        ("client-add", "invalid"),
        ("client-list", None),
        ("client-remove", None),
        ("client-remove", "not-found"),
    ]

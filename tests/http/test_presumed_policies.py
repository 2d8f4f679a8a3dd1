"""What a worker remembers of policies saves a question and decides nothing: a word said at another worker holds for the next write."""

from __future__ import annotations

from pathlib import Path

import pytest

from fhir_dmp.app.server import create_server
from fhir_dmp.settings import Settings
from tests.access_world import Actor, World, changed, consent, observation

SYSTEM = "urn:oid:1.2.3"


class _At:
    def __init__(self, world, server):
        self.clock, self.server = world.clock, server


@pytest.fixture
def world(mongodb_uri, database_name, tmp_path):
    """A record, and a second worker where words are said; a third knows nothing of before."""
    made = World(mongodb_uri, database_name, tmp_path)
    settings = Settings(
        mongodb_uri=mongodb_uri,
        mongodb_database=database_name,
        data_dir=Path(tmp_path),
        public_url="http://127.0.0.1:8000",
        log_level="error",
    )
    made.others = [create_server(settings, clock=made.clock) for _ in range(2)]
    yield made
    for server in (made.server, *made.others):
        server.close()


def at(world, place, actor):
    """Return the same caller at another worker."""
    return Actor(_At(world, world.others[place]), actor.subject)


def says(world, *, opens):
    """Close or open the record at the second worker."""
    insurance = at(world, 0, world.insurance)
    assert insurance.update(changed(insurance.read(world.patient).body, active=opens)).status == 200


@pytest.mark.rule("L16", "F1")
def test_a_record_that_was_closed_elsewhere_is_shut_to_the_next_write(world):
    """And open to the next one after it is opened again: neither a permission nor a refusal is remembered."""
    item = world.ehr.made(observation(world.patient))

    says(world, opens=False)
    shut = [
        world.ehr.create(observation(world.patient)),
        world.ehr.update(changed(item, status="amended")),
        world.ehr.transaction(
            {"resource": observation(world.patient), "request": {"method": "POST", "url": "Observation"}}
        ),
    ]
    says(world, opens=True)
    opened = [world.ehr.create(observation(world.patient)), world.ehr.update(changed(item, status="amended"))]

    assert [answer.status for answer in shut][::2] == [403, 403]
    assert shut[1].status in (403, 404, 409)
    assert [answer.status for answer in opened] == [201, 200]


@pytest.mark.rule("L16")
def test_a_worker_that_remembers_answers_like_one_that_does_not(world):
    """Preconditions, matches and absences told of a record that was closed meanwhile are those that a new worker tells."""
    named = {"identifier": [{"system": SYSTEM, "value": "7"}]}
    item = world.ehr.made(observation(world.patient, **named))
    criteria = f"identifier={SYSTEM}|7"
    asks = [
        lambda ehr: ehr.create(observation(world.patient)),
        lambda ehr: ehr.create(observation(world.patient, **named), criteria),
        lambda ehr: ehr.update(changed(item, status="amended"), if_match='W/"9"'),
        lambda ehr: ehr.update(changed(item, status="amended"), if_none_match="*"),
        lambda ehr: ehr.update(item),
        lambda ehr: ehr.delete(f"Observation/{item['id']}", if_match='W/"9"'),
        lambda ehr: ehr.delete("Observation/nobody"),
    ]
    for opens in (False, True):
        for ask in asks:
            says(world, opens=not opens)
            world.ehr.update(item)
            says(world, opens=opens)
            remembers, knows_nothing = ask(world.ehr), ask(at(world, 1, world.ehr))
            assert (remembers.status, remembers.text) == (knows_nothing.status, knows_nothing.text)


def test_a_writer_asks_once_for_the_policy_of_a_record(world, monkeypatch):
    """From then on its commits alone look at it, and hold it."""
    world.ehr.made(observation(world.patient))
    store, asked = type(world.server.store), []
    whole = store.find_policies
    monkeypatch.setattr(store, "find_policies", lambda self, names: asked.append(names) or whole(self, names))

    item = world.ehr.made(observation(world.patient))
    assert world.ehr.update(changed(item, status="amended")).status == 200
    assert asked == []

    holder = at(world, 0, world.holder())
    holder.made(consent(world.patient, "permit"))
    asked.clear()
    world.ehr.made(observation(world.patient))
    assert len(asked) == 1

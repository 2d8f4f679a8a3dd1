"""Rows of the log that leave whole tell of whoever's they are: that stands in their journals, as a page of AuditEvents does."""

from __future__ import annotations

import json

import pytest

from fhir_dmp.app.sealing import create_sealing
from fhir_dmp.call import Call
from fhir_dmp.settings import Limits
from tests.access_world import World, document, observation
from tests.http.journal import parent_of, traces
from tests.http.newest_row import HIDDEN, bundle, entry, rows, shown, told, whose
from tests.http.test_damaged_rows import BODIES, INDEXES, Log


@pytest.fixture
def seal(world):
    """Return what seals whatever the log holds by then."""
    made = create_sealing(world.server.settings)
    yield lambda: sealed(made)
    made.close()


def sealed(sealing):
    """Seal whatever the log holds, as who takes over does: no quiet epoch is left for later."""
    sealing.sealer.tick()
    sealing.sealer.release()


def page(reader, **asked):
    """Return the leaves of a page, the place where the next one begins, and the size of the log."""
    call = Call("operation", "AuditEvent", operation="entries", params=tuple((k, str(v)) for k, v in asked.items()))
    _, *leaves, last = [json.loads(line) for line in reader(call).splitlines()]
    return leaves, last["leaf"], last["size"]


def lines_for(world):
    """Return what asks for a page and returns its lines."""
    context = world.server.auditor_context("tester", "audit export")
    return lambda call: world.server.perform(call, context).body


def test_a_page_of_rows_stands_in_the_journals_of_those_whose_rows_they_are(world, world_auditor, seal):
    """Of nobody else's; its event for each is that of a list, and names none of the rows."""
    other, third = world.new_patient(), world.new_patient()
    item = world.ehr.made(observation(world.patient))["id"]
    world.ehr.made(observation(other))
    world.ehr.search("Observation", f"subject:Patient={third}&code:text=none")
    seal()
    read = lines_for(world)
    leaves, end, size = page(read)
    made = [leaf["leaf"] for leaf in leaves if item in json.dumps(leaf)]

    assert (end, whose(world)) == (size, {world.patient, other, third})
    assert "touched" not in told(world)
    assert set(shown(world, world_auditor)) == {world.patient, other, third}
    event = traces(world.holder(), "subtype=$entries")[0]
    assert [each["code"] for each in event["subtype"]] == ["operation", "$entries", "110101"]

    page(read, **{"from": made[0], "_count": 1})
    assert whose(world) == {world.patient}


def test_a_page_ends_before_it_tells_of_more_patients_than_its_event_may_name(mongodb_uri, database_name, tmp_path):
    """A row that tells of more by itself is a page of its own; so the events of pages that tell of pages do not grow."""
    world = World(mongodb_uri, database_name, tmp_path, limits=Limits(page=3, default_page=3))
    sealing = create_sealing(world.server.settings)
    try:
        patients = [world.patient, *(world.new_patient() for _ in range(4))]
        world.ehr.ask(bundle("transaction", *(entry("POST", "Observation", observation(each)) for each in patients)))
        world.ehr.made(observation(world.patient))
        read, named = lines_for(world), []
        for _ in range(2):
            sealed(sealing)
            at, size, leaves = 0, 1, []
            while at < size:
                found, at, size = page(read, **{"from": at, "_count": 1000})
                leaves += found
                named.append(len(whose(world)))
            assert [leaf["leaf"] for leaf in leaves] == list(range(size))
    finally:
        sealing.close()
        world.server.close()

    assert max(named) == 5
    assert [each for each in named if each > 3] == [5] * 3


def test_a_page_with_a_damaged_row_stands_in_the_journals_of_the_others(world):
    """Whatever it is found by names nobody who cannot be a patient, and keeps no line back."""
    log, sealing = Log(world), create_sealing(world.server.settings)
    other = world.new_patient()
    sealing.sealer.tick()
    read = lines_for(world)
    for damage in (*(make(log.row) for make in BODIES.values()), *INDEXES.values()):
        with log.damaged(damage):
            leaves, end, size = page(read, _count=1000)
        assert ([leaf["leaf"] for leaf in leaves], end) == (list(range(size)), size)
        assert whose(world) >= {world.patient, other}
        assert whose(world) <= {world.patient, other, "Patient/x"}
    sealing.close()


def test_a_page_of_what_is_hidden_from_representatives_is_hidden_from_them(world, seal):
    """It says that something was done; where other rows of the same record leave too, it says no more than these."""
    father, read, found = parent_of(world), lines_for(world), []
    for flags in ((HIDDEN,), ()):
        item = world.ehr.made(document(world.patient, *flags))["id"]
        seal()
        leaves, _, _ = page(read)
        [at] = [leaf["leaf"] for leaf in leaves if item in json.dumps(leaf)]
        before = [len(traces(who, "subtype=$entries")) for who in (father, world.holder())]
        page(read, **{"from": at, "_count": 1})
        after = [len(traces(who, "subtype=$entries")) for who in (father, world.holder())]
        found.append([now - then for then, now in zip(before, after, strict=True)])

    assert found == [[0, 1], [1, 1]]


def test_a_proof_that_gives_a_whole_row_stands_in_the_journals_of_all_whose_it_is(world, world_auditor, seal):
    """The entry tells of each patient of a transaction, whichever of its events was asked for."""
    other = world.new_patient()
    made = [entry("POST", "Observation", observation(each)) for each in (world.patient, other)]
    world.ehr.ask(bundle("transaction", *made))
    event = rows(world)[0].id
    seal()
    answer = world_auditor.ask(Call("operation", "AuditEvent", event, operation="proof"))

    assert answer.status == 200
    assert "entry" in {each["name"] for each in answer.body["parameter"]}
    assert whose(world) == {world.patient, other}


def test_that_an_event_has_no_proof_yet_stands_in_the_journal_of_its_patient(world, world_auditor, seal):
    """It tells that there is such an event; so does it that what was sealed is not what is there."""
    world.new_patient()
    seal()
    world.ehr.made(observation(world.patient))
    event = rows(world)[0].id
    proof = Call("operation", "AuditEvent", event, operation="proof")
    assert (world_auditor.ask(proof).status, whose(world)) == (409, {world.patient})

    seal()
    assert (world_auditor.ask(proof).status, whose(world)) == (200, {world.patient})
    log = world.server.store.log
    for name in log.list_collection_names():
        log[name].update_one({"_id": event}, {"$set": {"rec": 1}})
    assert (world_auditor.ask(proof).status, whose(world)) == (500, {world.patient})

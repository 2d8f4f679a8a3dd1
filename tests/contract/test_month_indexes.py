"""Indexes of the log that somebody with all rights put in place of ours: no event is told as absent by them, none is hidden, and nothing stops."""

from __future__ import annotations

import hashlib
import json
import re

import pytest

from fhir_dmp import log
from fhir_dmp.errors import Unavailable
from fhir_dmp.store.change import Commit
from fhir_dmp.store.query import EVERYTHING, Between, In
from tests.packed_log import Log, found
from tests.sealed_world import sealed_world

MONTH = "audit_2026_10"
PLACES, IDS = "w_1_e_1_n_1", "rows.i_1"
KEYS = {
    "t_1_rec_-1": [("t", 1), ("rec", -1)],
    "pt_1_rec_-1": [("pt", 1), ("rec", -1)],
    "rec_-1__id_1": [("rec", -1), ("_id", 1)],
    "at_1": [("at", 1)],
    PLACES: [("w", 1), ("e", 1), ("n", 1)],
    IDS: [("rows.i", 1)],
}
NONE_OF_THEM = {"partialFilterExpression": {"nobody": 1}}
OTHERS = {
    "partial": NONE_OF_THEM,
    "in another order of letters": {"collation": {"locale": "fr", "strength": 1}},
    "hidden": {"hidden": True},
    "of another key": {},
}
"""What somebody makes of an index."""


@pytest.fixture
def world(mongodb_uri, new_database_name, tmp_path):
    """A log of one writer with a block of twelve rows, a row alone, and a block of twelve again, sealed."""
    with sealed_world(mongodb_uri, new_database_name, tmp_path) as made:
        log, made.leader = Log(made), made.sealer()
        made.leader.tick()
        assert made.verify().findings == []
        yield log


def exchange(world, name, other=None, /, **options):
    """Put another index in place of one of ours, of its name and, but for ``other``, of its key."""
    rows = world.rows
    rows.drop_index(name)
    rows.create_index(other or KEYS[name], name=name, **options)


def forged(world, **more):
    """Put a row into the log that follows on the last one, but for ``more`` of it; return its id."""
    last, event = world.rows.find_one(sort=[("n", -1)]), world.event("forged", "Patient/victim")
    row = {"_id": event.id, "rec": event.recorded, "b": event.body, **event.index, "w": last["w"], "e": last["e"]}
    link = {"n": 26, "p": last["h"][-32:], "h": hashlib.sha256(last["h"][-32:] + event.body).digest()}
    world.rows.insert_one({name: value for name, value in {**row, **link, **more}.items() if value is not None})
    return event.id


def told(world):
    """Return the findings as text."""
    return [str(finding) for finding in world.verify().findings]


def shown(world):
    """Return whether a search shows the forged row."""
    return [part.event.id for part in world.store.search_events(In("pt", ("Patient/victim",)), 5, None)[0]]


@pytest.mark.parametrize("finds", ["find_event", "place_of"])
@pytest.mark.parametrize(
    ("key", "options"),
    [(None, NONE_OF_THEM), (None, {"partialFilterExpression": {"n": 1}}), ([("rows.no", 1)], {"sparse": True})],
    ids=["of none", "of some", "of another key"],
)
def test_no_event_is_told_as_absent_by_an_index_that_has_some_rows_alone(world, finds, key, options):
    """Who asks for one that it lacks is not answered, which is no lie; what it has, and what stands alone, is found."""
    find = getattr(world.store if finds == "find_event" else world.ledger(), finds)
    exchange(world, IDS, key, **options)

    for absent in (world.ids[2][3], "nobody"):
        with pytest.raises(Unavailable):
            find(absent)
    assert find(world.ids[1][0])


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("other", OTHERS)
def test_an_index_that_is_not_ours_is_named_and_nothing_else(world, name, other):
    """By its month and its name; the rows are read and counted without it."""
    exchange(world, name, [("strange", 1)] if other == "of another key" else None, **OTHERS[other])

    (finding,) = told(world)
    assert finding.startswith(f"misfiled: index {name} of {MONTH} is not the log's own: it differs in ")


def test_an_index_of_blocks_that_lacks_is_named_where_there_are_blocks(world):
    """Nobody is answered who asks for one of their events; a month of rows alone needs none."""
    world.rows.drop_index(IDS)
    assert told(world) == [f"misfiled: {MONTH} lacks the index {IDS}"]

    alone = world.database[f"{world.name}_log"]["audit_2026_01"]
    alone.insert_one({"_id": "x"})
    assert not any("audit_2026_01 lacks" in each for each in told(world))


@pytest.mark.parametrize(
    ("row", "options"),
    [
        ({}, {"partialFilterExpression": {"n": {"$lt": 26}}, "unique": True}),
        ({"n": 1000}, {"partialFilterExpression": {"n": {"$lt": 26}}, "unique": True}),
        ({"n": 3.5}, {"partialFilterExpression": {"rec": {"$gt": 2**60}}}),
        ({"w": None, "e": None, "n": None}, {"sparse": True}),
    ],
    ids=["next", "far", "no number", "no place"],
)
def test_a_row_that_is_not_in_the_index_of_places_is_found_by_who_verifies(world, row, options):
    """Searches show it, and an index in place of ours that leaves it out made the verifier count without it."""
    exchange(world, PLACES, **options)
    row_id = forged(world, **row)
    assert shown(world) == [row_id]
    report = world.verify()

    assert report.unsealed == (1 if not row else 0) or any(row_id in finding.text for finding in report.findings)
    assert any(PLACES in finding.text for finding in report.findings)


@pytest.mark.parametrize("options", [NONE_OF_THEM, {"sparse": True, "unique": True}, {"hidden": True}, None], ids=str)
def test_rows_are_sealed_whatever_became_of_the_index_of_places(world, options):
    """Nobody handed them in, so they are read."""
    if options is None:
        world.rows.drop_index(PLACES)
    else:
        exchange(world, PLACES, **options)
    world.write(3)
    world.later(seconds=70)
    assert world.leader.tick()

    report = world.verify()
    assert (report.leaves, report.unsealed) == (28, 0)
    assert [finding.kind for finding in report.findings if PLACES not in finding.text] == []


@pytest.fixture
def operator(capsys):
    """What a server tells its operator of indexes."""
    log.configure("error")

    def lines():
        heard = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        return [line for line in heard if line["event"] == "log-index"]

    return lines


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("other", OTHERS)
def test_a_process_that_begins_writes_whatever_became_of_an_index(world, operator, name, other):
    """An index is no reason to leave everybody without an answer; the operator is told which, and what to do."""
    exchange(world, name, [("strange", 1)] if other == "of another key" else None, **OTHERS[other])

    begun = world.writer()
    ids = [each for _ in range(3) for each in world.world.write(begun, 1)]
    event = world.event()
    begun.commit(Commit(events=(event,)))
    assert world.leader.tick()

    assert [begun.find_event(each).id for each in (*ids, event.id)] == [*ids, event.id]
    assert world.verify().leaves == 29
    (line,) = operator()
    assert line["what"].startswith(f"index {name} of {MONTH} is not the log's own")
    assert f'getSiblingDB("{world.name}_log").{MONTH}.dropIndex("{name}")' in line["mend"]
    (finding,) = told(world)
    assert name in finding


def test_an_index_whose_name_is_anothers_is_made_beside_it(world):
    """By it events are found as ever, and once the other is gone the verifier has nothing to say."""
    exchange(world, IDS, **NONE_OF_THEM)
    with pytest.raises(Unavailable):
        world.store.find_event(world.ids[2][3])

    world.world.write(world.writer(), 1)

    for find in (world.store.find_event, world.ledger().place_of):
        assert find(world.ids[2][3])
        assert find("nobody") is None
    world.rows.drop_index(IDS)
    assert world.store.find_event(world.ids[2][3])
    assert told(world) == []
    world.world.write(world.writer(), 1)
    assert told(world) == []


def test_what_an_operator_is_told_to_do_mends_it(world, operator):
    """Ours that was made beside the other goes as well, since one of its key and kind cannot be made twice."""
    exchange(world, IDS, **NONE_OF_THEM)
    world.world.write(world.writer(), 1)
    (line,) = operator()
    dropped, made = re.findall(r'dropIndex\("(.*?)"\)', line["mend"]), re.findall(r"createIndex\((.*)\)", line["mend"])
    for name in dropped:
        world.rows.drop_index(name)
    key, options = json.loads(f"[{made[0]}]")
    world.rows.create_index(list(key.items()), **options)

    world.world.write(world.writer(), 1)
    assert operator() == []
    assert (dropped, told(world)) == ([IDS, f"dmp_{IDS}"], [])
    assert IDS in world.rows.index_information()


def test_a_process_that_begins_writes_to_a_month_where_two_rows_have_one_place(world, operator):
    """The unique index was taken away and a row put where another is: it cannot be made again before that is gone."""
    world.rows.drop_index(PLACES)
    row = world.rows.find_one({"rows": {"$exists": False}})
    world.rows.insert_one({**row, "_id": "copy"})

    world.world.write(world.writer(), 3)

    (line,) = operator()
    assert line["what"] == f"{MONTH} lacks the index {PLACES}"
    assert line["mend"].endswith('.createIndex({"w": 1, "e": 1, "n": 1}, {"unique": true})')
    assert any("copy" in each for each in told(world))


def test_an_index_of_ours_under_another_name_serves(world, operator):
    """As somebody made it anew who gave it a name."""
    world.rows.drop_index(IDS)
    world.rows.create_index(KEYS[IDS], sparse=True, name="mine")

    world.world.write(world.writer(), 1)

    assert operator() == []
    assert told(world) == []
    assert world.store.find_event(world.ids[2][3])
    assert world.store.find_event("nobody") is None


@pytest.mark.parametrize(
    ("suffix", "collection", "name"), [("", "current", "lu_1"), ("_log", "epochs", "at_1"), ("_seal", "runs", "m_1")]
)
def test_a_server_whose_other_indexes_cannot_be_made_says_which_and_does_not_start(world, suffix, collection, name):
    """What is always there is looked at before anybody is served."""
    rows = world.database[world.name + suffix][collection]
    rows.drop_index(name)
    rows.create_index([("strange", 1)], name=name)

    begin = world.world.ledger if suffix == "_seal" else world.writer
    with pytest.raises(Unavailable, match=rf"{world.name}{suffix}.{collection} cannot be made: drop .*{name}"):
        begin()


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("options", [NONE_OF_THEM, {"sparse": True}, OTHERS["in another order of letters"]], ids=str)
def test_searches_and_counts_do_not_go_by_an_index_that_has_some_rows_alone(world, name, options):
    """What the database plans by itself finds all: by patient, token, moment, and all there is."""
    day = Between("rec", 0, 2**60)
    queries = [EVERYTHING, day, In("pt", ("Patient/3",)), In("t", ("Patient/3",)), Between("at", 0, 2**60)]

    def told_of(query):
        return found(world, query), world.store.count_events(query), world.store.tally_events(query, 100)

    before = [told_of(query) for query in queries]
    exchange(world, name, **options)

    assert [told_of(query) for query in queries] == before
    assert before[0][1].told == 25


def test_nothing_is_asked_of_indexes_on_the_way_of_an_event_that_is_there(world, monkeypatch):
    """Neither who writes nor who finds what they ask for waits for a question more, in the month that has it."""
    asked = []
    monkeypatch.setattr("fhir_dmp.stores.mongo.block_rows.fit_indexes", lambda month: asked.append(month.name) or {})
    world.write(3)

    assert world.store.find_event(world.ids[0][3])
    assert world.store.find_event(world.ids[1][0])
    assert world.store.count_events(EVERYTHING).told == 28
    assert MONTH not in asked


OPTIONS = {
    "collation": {"collation": {"locale": "en", "strength": 1}},
    "capped": {"capped": True, "size": 10_000_000},
    "validator": {"validator": {"nothing": 1}},
}


@pytest.mark.parametrize("option", OPTIONS)
def test_a_month_that_is_made_in_another_way_is_named(world, option):
    """What is found in it, kept or taken is another thing, though each row is as it was sealed and each index the log's own."""
    documents, rows = list(world.rows.find()), world.rows
    rows.drop()
    rows.database.create_collection(MONTH, validationLevel="off", **OPTIONS[option])
    rows.create_index(KEYS[IDS], sparse=True, collation={"locale": "simple"})
    rows.insert_many(documents)

    [finding] = world.verify().findings
    assert (finding.kind, f"it has {option}" in finding.text) == ("misfiled", True)

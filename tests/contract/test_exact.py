"""What a row is found by has the types that it was written with: one of another is not found, though it reads the same."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from bson import Binary, Code, Decimal128, Int64, ObjectId, Regex, Timestamp

from fhir_dmp.audit.index import index_of
from fhir_dmp.clock import instant
from fhir_dmp.fhir import codec
from fhir_dmp.store.change import Event
from fhir_dmp.store.query import Between, In
from tests.sealed_world import IDS

MONTH = "audit_2026_10"
ALONE = {"rows": {"$exists": False}}


@pytest.fixture
def world(forty):
    """A log of two writers with forty sealed events under five heads."""
    return forty


def found(world):
    """Return the findings, which are the same whether what events are found by is looked at or not."""
    findings = world.verify().findings
    assert world.verify(index=True).findings == findings
    return findings


def put(world, row, **change):
    """Have the row as it was, but for the change, in its place."""
    world.rows.delete_one({"w": row["w"], "e": row["e"], "n": row["n"]})
    world.rows.insert_one(row | change)


def shown(store, query):
    """Return the ids of what a search finds."""
    return [part.event.id for part in store.search_events(query, 100, None)[0]]


def submitted(world):
    """Have a client's own event sealed, which is found by moments too; return its row."""
    recorded, ident = world.clock.micros(), IDS.new()
    says = {
        "resourceType": "AuditEvent",
        "type": {"code": "rest"},
        "recorded": "2026-10-01T00:00:00Z",
        "period": {"start": "2026-10-01T00:00:00Z"},
        "agent": [],
        "source": {"observer": {"display": "x"}},
        "entity": [{"what": {"reference": "Patient/p"}}],
    }
    row = {"v": 1, "id": ident, "recorded": instant(recorded), "agent": {"client": "c"}, "resource": says}
    world.stores[0].record(Event(ident, recorded, codec.dumps(row), index_of(row)))
    world.leader.tick()
    assert found(world) == []
    return world.rows.find_one({"_id": ident})


def codes(values):
    """Return texts as code, which reads the same and is found by no text."""
    return [Code(each) for each in values]


OTHERWISE = {
    "patients as code": lambda row: {"pt": codes(row["pt"])},
    "tokens as code": lambda row: {"t": codes(row["t"])},
    "patients as bytes": lambda row: {"pt": [Binary(each.encode()) for each in row["pt"]]},
    "patients as one text": lambda row: {"pt": row["pt"][0]},
    "patients by place": lambda row: {"pt": {"0": row["pt"][0]}},
    "common tokens as code": lambda row: {"u": codes(row["u"])},
    "a pattern more": lambda row: {"pt": [*row["pt"], Regex("x")]},
    "a moment more": lambda _: {"more": datetime(2026, 1, 1, tzinfo=UTC)},
    "what no entry has more": lambda _: {"more": [{"a": [ObjectId(), Timestamp(1, 2), Decimal128("1")]}]},
    "a long number more": lambda _: {"m": Int64(1)},
    "the id as code": lambda row: {"_id": Code(row["_id"])},
    "the id as an object": lambda _: {"_id": {"a": 1}},
    "the id as bytes": lambda row: {"_id": row["_id"].encode()},
    "the moment as a fraction": lambda row: {"rec": float(row["rec"])},
    "the text as other bytes": lambda row: {"b": Binary(row["b"], 5)},
    "the hash as other bytes": lambda row: {"h": Binary(row["h"], 5)},
    "the hash as text": lambda row: {"h": row["h"].hex()},
    "no hash before": lambda _: {"p": None},
}
"""What a row alone has of another type."""


@pytest.mark.parametrize("case", OTHERWISE)
def test_a_row_with_another_type_is_named(world, case):
    """Whatever it reads as: the database does not find it as what was sealed."""
    row = world.rows.find_one(ALONE)
    put(world, row, **OTHERWISE[case](row))

    (finding,) = found(world)
    assert finding.kind == "altered"
    assert f"{row['w']}/{row['e']}/{row['n']}" in finding.text


def test_a_patient_that_searches_do_not_find_any_more_is_named(world):
    """The text is there, and no search by it brings the row."""
    row = world.rows.find_one(ALONE)
    assert row["_id"] in shown(world.stores[0], In("pt", ("Patient/p",)))
    world.rows.update_one({"_id": row["_id"]}, {"$set": {"pt": codes(row["pt"])}})
    assert row["_id"] not in shown(world.stores[0], In("pt", ("Patient/p",)))

    (finding,) = found(world)
    assert finding.text.endswith(
        f"({row['w']}/{row['e']}/{row['n']}, leaf 0) is not found by what was sealed: pt, type"
    )


def test_a_patient_whose_bytes_an_entry_would_tell_as_the_same_text_is_named(world):
    """JSON has bytes as base64, which may read like a reference."""
    event = world.event(patient="Patient/abcd")
    world.stores[0].record(event)
    world.leader.tick()
    world.rows.update_one({"_id": event.id}, {"$set": {"pt": [base64.b64decode("Patient/abcd")]}})

    (finding,) = found(world)
    assert finding.text.endswith(": pt, type")


@pytest.mark.parametrize("name", ["at", "ps"])
@pytest.mark.parametrize(
    "make",
    [str, Code, float, Decimal128, lambda value: [Int64(value)]],
    ids=["text", "code", "float", "decimal", "list"],
)
def test_a_moment_of_a_clients_own_event_that_is_no_number_is_named(world, name, make):
    """Entries tell a long number as text; a text is not found by date."""
    row = submitted(world)
    moment = Between(name, 0, 2**60)
    assert shown(world.stores[0], moment) == [row["_id"]]
    text = make is Code or make is Decimal128
    world.rows.update_one({"_id": row["_id"]}, {"$set": {name: make(str(row[name]) if text else int(row[name]))}})

    (finding,) = found(world)
    assert finding.kind == "altered"
    assert row["_id"] in finding.text


@pytest.mark.parametrize("beside", [5, "x", b"", [1], {"a": 1}, Code("x"), True], ids=str)
def test_what_lies_beside_a_row_and_is_no_bytes_is_named(world, beside):
    """As other bytes than those that it names are."""
    row = world.rows.find_one(ALONE)
    world.rows.update_one({"_id": row["_id"]}, {"$set": {"s": beside}})

    (finding,) = found(world)
    assert (finding.kind, row["_id"] in finding.text) == ("altered", True)


def test_no_type_in_a_row_stops_the_sealing_of_those_around_it(world):
    """A row of an unlikely shape among those that wait: who seals takes what there is, and whoever verifies goes on."""
    rows = [world.event(str(number)) for number in range(3)]
    for each in rows:
        world.stores[0].record(each)
    world.rows.update_one({"_id": rows[1].id}, {"$set": {"pt": [Regex("x")], "more": ObjectId()}})
    assert [finding.kind for finding in found(world)] == ["misfiled"]

    world.leader.tick()
    assert world.ledger().size() == 43

"""A row of the log that somebody damaged in the database hides no other: readers are told which one it is, and are given the rest."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest
from bson import Int64

from fhir_dmp.app.sealing import create_sealing
from fhir_dmp.call import Call
from fhir_dmp.stores.mongo.documents import LOG_SUFFIX
from fhir_dmp.stores.mongo.packing import unpack
from tests.access_world import NOON, observation

ROW = b'{"v":2,"id":"x","recorded":"2026-11-23T12:00:00Z","act":"create","outcome":"0"'
BODIES = {
    "packed text that was cut": lambda row: {"$set": {"b": row["b"][:-3]}},
    "packed text with a byte changed": lambda row: {"$set": {"b": row["b"][:9] + b"\xff\xff" + row["b"][11:]}},
    "nothing": lambda _: {"$set": {"b": b""}},
    "no text": lambda _: {"$unset": {"b": 1}},
    "text of another kind": lambda _: {"$set": {"b": "text"}},
    "no JSON": lambda row: {"$set": {"b": unpack(row["b"])[:-1]}},
    "no object": lambda _: {"$set": {"b": b"[]"}},
    "no row": lambda _: {"$set": {"b": b"{}"}},
    "items that are none": lambda _: {"$set": {"b": ROW + b',"touched":5}'}},
    "names that are none": lambda _: {"$set": {"b": ROW + b',"touched":{"":[7]}}'}},
    "consents that are none": lambda _: {"$set": {"b": ROW + b',"consents":7}'}},
    "half a character": lambda _: {"$set": {"b": ROW + b',"requestId":"\\ud800"}'}},
    "an agent that is none": lambda _: {"$set": {"b": ROW + b',"agent":"me"}'}},
}
"""What is left of what the row says."""

INDEXES = {
    "more events than there are": {"$set": {"m": Int64(7)}},
    "a number that is none": {"$set": {"m": "x"}},
    "events that are none": {"$set": {"m": 2, "x": [1, 2]}},
    "events with items that are none": {"$set": {"m": 2, "x": [{"pt": [{}], "t": [1]}, {"pt": ["Patient/x"]}]}},
    "tokens that are none": {"$set": {"t": "x", "u": 7}},
    "items that are none": {"$set": {"t": [1], "u": [{"a": 1}], "pt": [{"a": 1}]}},
    "no moment": {"$unset": {"rec": 1}},
    "a moment that is none": {"$set": {"rec": "x"}},
    "a moment after all years": {"$set": {"rec": Int64(2**62)}},
    "a moment after all numbers": {"$set": {"rec": 1e300}},
    "a moment before all of them": {"$set": {"rec": Int64(-1)}},
}
"""What is done to what the row is found by."""


class Log:
    """A record with three items, whose events are sealed, and the row of the second, for whoever damages it."""

    def __init__(self, world):
        self.world = world
        self.items = [world.ehr.made(observation(world.patient)) for _ in range(3)]
        self.auditor = world.system("auditor-one", "auditor", scopes=("system/AuditEvent.rs",))
        self.holder = world.holder()
        database = world.server.store.database
        self.rows = database.client[f"{database.name}{LOG_SUFFIX}"][f"audit_{NOON:%Y_%m}"]
        self.row = next(row for row in self.rows.find() if self.items[1]["id"].encode() in unpack(row["b"]))

    @property
    def place(self):
        """How a verifier names the row."""
        return f"{self.row['w']}/{self.row['e']}/{self.row['n']}"

    @contextmanager
    def damaged(self, change):
        """Damage the row, straight in the database, and put it back as it was."""
        self.rows.update_one({"_id": self.row["_id"]}, change)
        yield
        self.rows.replace_one({"_id": self.row["_id"]}, self.row)


@pytest.fixture
def log(world):
    """A sealed log with a row that can be damaged."""
    made, sealing = Log(world), create_sealing(world.server.settings)
    sealing.sealer.tick()
    yield made
    sealing.close()


def pages(reader, query):
    """Return the ids of the events on all pages, one to a page, and what is said beside them."""
    ids, said, more = [], [], f"{query}&_count=1"
    while more:
        page = reader.search("AuditEvent", more)
        assert page.status == 200, page
        for entry in page.body.get("entry", ()):
            if entry["search"]["mode"] == "match":
                ids.append(entry["resource"]["id"])
            else:
                said.extend(issue["diagnostics"] for issue in entry["resource"]["issue"])
        links = {link["relation"]: link["url"] for link in page.body["link"]}
        more = links["next"].partition("?")[2] if "next" in links else None
    return ids, said


def counts(reader):
    """Return the status of counting by day and actor."""
    asked = (("date", "ge2000"), ("agent", "ehr-one"))
    return reader.ask(Call("operation", "AuditEvent", operation="counts", params=asked)).status


@pytest.mark.parametrize("reader", ["auditor", "holder"])
def test_a_damaged_row_is_named_by_its_place_and_the_others_are_given(log, reader):
    """On a page with others, and on its own; its event cannot be read, and what is counted by the database is counted."""
    asking = getattr(log, reader)
    query = f"date=ge{NOON:%Y-%m-%d}&subtype=create&agent=ehr-one"
    whole = [entry["resource"]["id"] for entry in asking.search("AuditEvent", query).body["entry"]]
    others = [each for each in whole if each != log.row["_id"]]
    assert len(whole) == len(others) + 1 == 3
    for damage, change in BODIES.items():
        with log.damaged(change(log.row)):
            page = asking.search("AuditEvent", query)
            told = [entry["resource"] for entry in page.body["entry"] if entry["search"]["mode"] == "outcome"]
            assert (damage, page.ids) == (damage, set(others))
            [issue] = told[0]["issue"]
            assert (issue["severity"], issue["code"]) == ("warning", "incomplete")
            assert log.row["_id"] in issue["diagnostics"]
            assert f"({log.place}, leaf " in issue["diagnostics"]
            assert pages(asking, query) == (others, [issue["diagnostics"]])
            answer = asking.read(f"AuditEvent/{log.row['_id']}")
            assert (answer.status, answer.issues[0].code, answer.text) == (500, "incomplete", issue["diagnostics"])
            assert counts(asking) == 200
    assert pages(asking, query) == (whole, [])


@pytest.mark.parametrize("reader", ["auditor", "holder"])
def test_a_row_that_is_found_by_nothing_that_makes_sense_hides_no_other(log, reader):
    """It is not found by what was altered, which the verifier names, or named as damaged; every other is, once, on every kind of page and count."""
    asking = getattr(log, reader)
    period = f"date=ge{NOON:%Y-%m-%d}" if reader == "auditor" else "outcome=0"
    queries = [f"{period}&action=C&{more}" for more in ("agent=ehr-one", "_total=accurate", "_sort=date")]
    whole = [pages(asking, query)[0] for query in queries]
    for damage, change in INDEXES.items():
        with log.damaged(change):
            for query, ids in zip(queries, whole, strict=True):
                found, said = pages(asking, query)
                others = [[each for each in some if each != log.row["_id"]] for some in (found, ids)]
                assert (damage, others[0]) == (damage, others[1])
                assert len(found) == len(set(found))
                lost = [each for each in said if "nowhere in time" in each]
                assert lost == [] or ("moment" in damage and "_total" in query)
                assert all("events" in damage and log.row["_id"] in each for each in said if each not in lost)
            assert counts(asking) == 200
            assert asking.read(f"AuditEvent/{log.row['_id']}").status in (200, 404)


@pytest.mark.parametrize("reader", ["auditor", "holder"])
def test_what_is_counted_is_what_the_pages_tell(log, reader):
    """A row whose moment is none of time is left out of both, and it is said that there is one; what a page names as damaged it counts."""
    asking = getattr(log, reader)
    period = f"date=ge{NOON:%Y-%m-%d}&" if reader == "auditor" else ""
    query = f"{period}action=C&agent=ehr-one"
    assert len(pages(asking, query)[0]) == 3
    moments = {damage: change for damage, change in INDEXES.items() if "moment" in damage}
    assert len(moments) == 5
    for damage, change in moments.items():
        with log.damaged(change):
            found = pages(asking, query)[0]
            assert (damage, len(found)) == (damage, 2)
            for asked in ("_summary=count", "_count=1&_total=accurate", "_count=0"):
                page = asking.search("AuditEvent", f"{query}&{asked}").body
                said = [entry for entry in page.get("entry", ()) if entry["search"]["mode"] == "outcome"]
                assert (damage, asked, page["total"]) == (damage, asked, 2)
                if reader == "holder" or "after" in damage:  # a date that is asked for is met by none of the others
                    [issue] = said[0]["resource"]["issue"]
                    assert "counted: 1 of the log's events that stand nowhere in time" in issue["diagnostics"]
                    assert f"damaged: {log.row['_id']} ({log.place}, leaf " in issue["diagnostics"]
                    assert issue["code"] == "incomplete"
    with log.damaged(BODIES["no JSON"](log.row)):
        found, named = pages(asking, query)
        assert asking.search("AuditEvent", f"{query}&_summary=count").body["total"] == len(found) + len(named) == 3
    whole = asking.search("AuditEvent", f"{query}&_count=1&_total=accurate").body
    assert (whole["total"], len(whole["entry"])) == (3, 1)


def test_of_many_rows_that_stand_nowhere_in_time_ten_are_named(log):
    """The holder is told of those of the record alone, and that there are more; whoever wants all asks the verifier."""
    for _ in range(12):
        log.world.ehr.made(observation(log.world.patient))
    others = log.world.ehr.made(observation(log.world.new_patient()))
    log.rows.update_many({}, {"$set": {"rec": -1}})
    theirs = [row["_id"] for row in log.rows.find({"pt": log.world.patient})]
    foreign = next(row["_id"] for row in log.rows.find() if others["id"].encode() in unpack(row["b"]))

    page = log.holder.search("AuditEvent", "_summary=count").body
    [issue] = page["entry"][0]["resource"]["issue"]
    said = issue["diagnostics"]

    assert sum(each in said for each in theirs) == 10
    assert "; …. fhir-dmp audit verify names each." in said
    assert foreign not in said


def test_the_log_leaves_as_lines_with_a_damaged_row(log):
    """Whoever verifies it is given all that is there: the others whole, and the damaged one as it lies there, or its place."""
    page, server = Call("operation", "AuditEvent", operation="entries"), log.world.server
    for damage in (*(make(log.row) for make in BODIES.values()), *INDEXES.values()):
        with log.damaged(damage):
            body = server.perform(page, server.auditor_context("tester", "audit export")).body
        lines = [json.loads(line) for line in body.splitlines()]
        leaves = [line for line in lines if "hash" in line]
        assert [line["leaf"] for line in leaves] == list(range(lines[-1]["size"]))
        assert [line["place"] for line in leaves if line["entry"] is None] in ([], [log.place])

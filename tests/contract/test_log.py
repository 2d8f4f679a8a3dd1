"""A row of the log holds several AuditEvents: what is searched, counted, paged and rendered is the same."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime

import pymongo
import pytest
from msgspec.structs import replace

from fhir_dmp.audit.event import describe, submit
from fhir_dmp.audit.render import render
from fhir_dmp.audit.search import compile_clause, union
from fhir_dmp.clock import DAY, RandomIds, SystemClock
from fhir_dmp.fhir.dates import interval
from fhir_dmp.settings import Settings
from fhir_dmp.store.period import period_of
from fhir_dmp.store.query import EVERYTHING, In, Not
from fhir_dmp.stores.mongo.chain import Chain
from fhir_dmp.stores.mongo.months import Months
from fhir_dmp.stores.mongo.store import MongoStore
from tests.unit.audit.world import BASE, CALLERS, FAILURES, HIDING, SUCCESSES, UNPROFILED, context, salt, transaction

HIDDEN = 1 + 9 * 5 + 8
"""AuditEvents that are hidden: of the secret read, and of each who asked; of an attempt of the holder their own journal tells."""

IDS = RandomIds()

NOW = interval("2026-11-25T12:00:00Z")[0]
REPORTED = {
    "resourceType": "AuditEvent",
    "type": {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "110100"},
    "subtype": [{"system": "urn:x", "code": "local"}],
    "action": "R",
    "outcome": "0",
    "recorded": "2026-11-20T10:00:00Z",
    "period": {"start": "2026-11-19T10:00:00Z"},
    "agent": [{"requestor": True, "who": {"reference": "Practitioner/elsewhere"}}],
    "source": {"observer": {"display": "their system"}},
    "entity": [{"what": {"reference": "Patient/p1"}}, {"what": {"reference": "Condition/c1"}}],
}


def lay_together(store, rows):
    """Have rows of a day become durable in groups that lie across each other in time, each of a chain of its own."""
    months = Months(store.log)
    months.prepare({period_of(row.recorded) for row in rows})
    for writer in range(4):
        chain = Chain(f"{writer}t")
        for _, day in itertools.groupby(sorted(rows, key=lambda row: row.recorded), lambda row: row.recorded // DAY):
            part = [*day][writer::4]
            random.Random(writer).shuffle(part)
            placed = chain.rows(part)
            assert months.insert_alone(placed)
            chain.advance(placed)


@pytest.fixture(scope="module", params=["alone", "together"])
def log(request, mongodb_uri):
    """A store with some two hundred rows over several days, each alone or in blocks, and the AuditEvents that they hold."""
    name = f"test_log_{IDS.new()[-12:]}"
    store = MongoStore.connect(mongodb_uri, name, clock=SystemClock(), settings=Settings(mongodb_uri=mongodb_uri))
    acts = [*SUCCESSES.values(), *UNPROFILED.values(), *FAILURES.values(), *HIDING.values(), transaction()]
    rows = []
    for place, (act, subject) in enumerate(itertools.product(acts, CALLERS.values())):
        recorded = NOW - (place % 9) * DAY - place
        rows.append(describe(act, context(subject), IDS.new(), recorded, salt))
    secret = replace(CALLERS["holder"], person=replace(CALLERS["holder"].person, secret=True))
    rows.append(describe(SUCCESSES["read"], context(secret), IDS.new(), NOW, salt))
    rows.append(submit(REPORTED, context(), IDS.new(), NOW - 3, IDS.new))
    if request.param == "together":
        lay_together(store, rows)
    for row in rows if request.param == "alone" else ():
        store.record(row)
    yield store, [render(row, number, BASE) for row in rows for number in range(1, row.index.get("m", 1) + 1)]
    store.close()
    with pymongo.MongoClient(mongodb_uri) as client:
        for each in client.list_database_names():
            if each.startswith(name):
                client.drop_database(each)


def ids(store, query, size, *, oldest_first=False):
    """Return the ids of all pages, in their order, rendered."""
    found, after = [], None
    while True:
        parts, after = store.search_events(query, size, after, oldest_first=oldest_first)
        found += [render(part.event, part.number, BASE)["id"] for part in parts]
        assert len(parts) <= size
        if after is None:
            return found


def references(event, *kinds):
    """Return what an AuditEvent refers to, without versions."""
    whats = [entity.get("what", {}).get("reference") for entity in event.get("entity", ())] if "entity" in kinds else []
    whos = [agent["who"].get("reference") for agent in event["agent"]] if "agent" in kinds else []
    return {each.partition("/_history/")[0] for each in (*whats, *whos) if each}


def codings(event, name):
    """Return codes and ``system|code`` of a coded element."""
    found = event.get(name, [])
    found = found if isinstance(found, list) else [found]
    flat = [coding for each in found for coding in each.get("coding", [each])]
    return {text for each in flat for text in (each["code"], f"{each['system']}|{each['code']}")}


def identifiers(event):
    """Return what agents are called by, but the server itself, which is in every event."""
    found = [agent["who"].get("identifier", {}) for agent in event["agent"]]
    named = {text for each in found for text in (each.get("value"), f"{each.get('system', '')}|{each.get('value')}")}
    return {each for each in named if each and BASE not in each}


def judge(event, name, value):
    """Tell from the resource alone whether it meets a parameter: the plain reading that the index is held to."""
    moment = {"date": event["recorded"], "period-start": event.get("period", {}).get("start", "")}
    return {
        "patient": lambda: f"Patient/{value}" in references(event, "entity", "agent"),
        "entity": lambda: value in references(event, "entity"),
        "agent": lambda: value in references(event, "agent") | identifiers(event),
        "agent:identifier": lambda: value in identifiers(event),
        "action": lambda: event.get("action") in value.split(","),
        "outcome": lambda: event.get("outcome") in value.split(","),
        "subtype": lambda: value in codings(event, "subtype"),
        "type": lambda: value in codings(event, "type"),
        "purpose": lambda: value in codings(event, "purposeOfEvent") if event.get("purposeOfEvent") else False,
        "date": lambda: moment["date"][:10] >= value.removeprefix("ge"),
        "period-start": lambda: moment["period-start"][:10] >= value.removeprefix("ge"),
        "source": lambda: (
            value in (event["source"]["observer"].get("identifier", {}).get("value"), event["meta"].get("source"))
        ),
        "policy": lambda: any(value in policy for agent in event["agent"] for policy in agent.get("policy", ())),
    }[name]()


VALUES = {
    "patient": ["p1", "p2", "p9"],
    "entity": ["Patient/p1", "Condition/c1", "Organization/o", "Consent/42", "Group/g"],
    "agent": ["ehr-one", "Practitioner/doc", "Patient/p1", "portal", "Practitioner/elsewhere", "899700218896"],
    "agent:identifier": ["urn:oid:1.2.250.1.71.4.2.1|899700218896", "urn:oid:1.2.250.1.71.4.2.2|1750000001"],
    "action": ["R", "E", "C,U", "D"],
    "outcome": ["0", "4,8", "8"],
    "subtype": ["read", "create", "transaction", "AuthZ-Consent", "operation", "$meta", "local", "urn:x|local"],
    "type": ["rest", "110113", "http://dicom.nema.org/resources/ontology/DCM|110106", "urn:wrong|rest", "110100"],
    "purpose": ["TREAT", "BTG", "bris_de_glace", "PATRQT"],
    "date": ["ge2026-11-23", "ge2026-11-20", "ge2026-11-26"],
    "period-start": ["ge2026-11-23", "ge2026-11-19"],
    "policy": ["urn:nobody"],
    "source": [BASE, "urn:fhir-dmp:client:ehr-one", "urn:fhir-dmp:client:other"],
}
ALONE = [(name, value) for name, values in VALUES.items() for value in values]
TOGETHER = [tuple(random.Random(seed).sample(ALONE, 2 + seed % 2)) for seed in range(60)]


@pytest.mark.parametrize("asked", [(), *((each,) for each in ALONE), *TOGETHER], ids=str)
def test_what_is_found_counted_and_paged_is_what_the_resources_say(log, asked):
    """By each parameter and by several: the events are exactly those whose resource meets all of them."""
    store, events = log
    query = union([compile_clause(name, value, BASE) for name, value in asked], EVERYTHING)
    expected = {event["id"] for event in events if all(judge(event, name, value) for name, value in asked)}
    found = ids(store, query, 7)

    assert len(found) == len(set(found))
    assert set(found) == expected
    assert store.count_events(query).told == len(expected)
    assert sum(tally.count for tally in store.tally_events(query, 1000)) == len(expected)


def test_events_come_newest_first_whatever_the_page(log):
    """The order is that of recording, and the same on pages of any size."""
    store, events = log
    recorded = {event["id"]: event["meta"]["lastUpdated"] for event in events}
    whole = ids(store, union([], EVERYTHING), 1000)

    assert [recorded[each] for each in whole] == sorted(recorded.values(), reverse=True)
    assert ids(store, union([], EVERYTHING), 1) == whole == ids(store, union([], EVERYTHING), 13)


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("asked", [[], [("patient", "p2")], [("outcome", "0"), ("action", "R")]])
def test_oldest_first_is_the_very_opposite_order_whatever_the_page(log, asked, size):
    """The events of one row too, so that no page repeats or loses one."""
    store, _ = log
    query = union([compile_clause(name, value, BASE) for name, value in asked], EVERYTHING)

    assert ids(store, query, size, oldest_first=True) == ids(store, query, 1000)[::-1]


def test_an_event_is_found_by_its_id_alone(log):
    """The first event of a row and each further one; an id that no row has finds nothing."""
    store, events = log
    for event in events:
        assert ids(store, union([compile_clause("_id", event["id"], BASE)], EVERYTHING), 5) == [event["id"]]
        assert store.count_events(union([compile_clause("_id", event["id"], BASE)], EVERYTHING)).told == 1
    assert ids(store, union([compile_clause("_id", f"{events[0]['id']}-99,nonsense", BASE)], EVERYTHING), 5) == []


def test_rules_that_allow_and_refuse_are_part_of_the_query(log):
    """A patient's own, without what is labelled as hidden: the same by pages and by counts."""
    store, events = log
    hidden = "INVISIBLE_REPRESENTANTS_LEGAUX"
    label = f"https://mos.esante.gouv.fr/NOS/TRE_A07-StatutVisibiliteDocument/FHIR/TRE-A07-StatutVisibiliteDocument|{hidden}"
    own = In("pt", ("Patient/p2",))
    query = union([], own)
    expected = {event["id"] for event in events if judge(event, "patient", "p2")}

    assert set(ids(store, query, 4)) == expected
    assert store.count_events(query).told == len(expected)
    open_ones = union([], Not(In("sec", (label,))))
    shown = {event["id"] for event in events if hidden not in codings(event.get("meta", {}), "security")}
    assert len(shown) == len(events) - HIDDEN
    for asked, meant in (
        (open_ones, shown),
        (union([], In("sec", (label,))), {*(each["id"] for each in events)} - shown),
    ):
        assert set(ids(store, asked, 50)) == meant
        assert store.count_events(asked).told == len(meant)
        assert sum(tally.count for tally in store.tally_events(asked, 1000)) == len(meant)
    others = union([], Not(In("pt", ("Patient/p1",))))
    elsewhere = {event["id"] for event in events if not judge(event, "entity", "Patient/p1")}
    assert set(ids(store, others, 50)) == elsewhere
    assert store.count_events(others).told == len(elsewhere)


def test_a_tally_names_the_day_and_who_acted(log):
    """The person if there is one, the client otherwise."""
    store, events = log
    tallies = store.tally_events(union([compile_clause("patient", "p2", BASE)], EVERYTHING), 1000)
    days = {event["id"]: event["recorded"][:10] for event in events if judge(event, "patient", "p2")}
    told = {}
    for tally in tallies:
        day = datetime.fromtimestamp(tally.day * 86400, UTC).date().isoformat()
        told[day] = told.get(day, 0) + tally.count

    assert told == {day: list(days.values()).count(day) for day in set(days.values())}
    assert {tally.actor for tally in tallies} >= {
        "ehr-one",
        "urn:oid:1.2.250.1.71.4.2.1|899700218896",
        "urn:fhir-dmp:operator|alice",
    }
    assert [tally.day for tally in tallies] == sorted((tally.day for tally in tallies), reverse=True)

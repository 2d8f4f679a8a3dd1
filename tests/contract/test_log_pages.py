"""Pages and counts of the log are what the query means, whatever lies where, and cost what they bring."""

from __future__ import annotations

import random
from contextlib import contextmanager

import pytest
from msgspec.structs import replace

from fhir_dmp.clock import instant
from fhir_dmp.fhir import codec
from fhir_dmp.store.change import Event
from fhir_dmp.store.log import indexes_of, numbered
from fhir_dmp.store.matching import matches
from fhir_dmp.store.port import Counted
from fhir_dmp.store.query import EVERYTHING, Among, And, Between, Eq, In, Like, Not, Or
from fhir_dmp.stores.mongo.blocks import MOST_ROWS, SPAN, documents_of
from tests.packed_log import Log
from tests.sealed_world import sealed_world

TOKENS = ["a=R", "o=4", "g=x", "g=y", "e=Observation/1", "e=Observation/2", "p=BTG", "z=a.b*c"]
COMMON = ["o=0", "y=rest", "s=read", "n=1.1.1.1"]
PATIENTS = ["Patient/1", "Patient/2", "Patient/3"]
FOUND_BY = {"t": TOKENS, "u": COMMON, "pt": PATIENTS}


@pytest.fixture
def world(mongodb_uri, database_name, tmp_path):
    """A log with some rows alone and in blocks, whose clock stands still."""
    with sealed_world(mongodb_uri, database_name, tmp_path) as made:
        yield Log(made)


def both_kinds(query):
    """Return the query as searches ask it: of the server's own rows and of those of clients."""
    return Or((And((Not(Between("at")), query)), And((Between("at"), query))))


def paged(store, query, size, *, oldest_first=False):
    """Return the keys of the events of all pages."""
    found, after = [], None
    while True:
        parts, after = store.search_events(query, size, after, oldest_first=oldest_first)
        found += [(-part.event.recorded, part.event.id, part.number) for part in parts]
        if after is None:
            return found


class Chance:
    """Events and queries by chance, the same for the same seed."""

    def __init__(self, seed, world):
        self.world, self.random = world, random.Random(seed)
        self.base = world.clock.micros() + 10**7
        self.moments = [self.base + step for step in (0, 0, 1, 5, SPAN // 2, SPAN - 1, SPAN, SPAN + 1, 10**6)]

    def some(self, values, most=3):
        """Return a few of the values."""
        return self.random.sample(values, self.random.randint(0, min(most, len(values))))

    def index(self):
        """Return what an event is found by: mostly of one AuditEvent."""
        kind = self.random.random()
        if kind < 0.15:
            pt = self.random.sample(PATIENTS, 2)
            return {"t": self.some(TOKENS), "u": self.some(COMMON), "pt": pt, "m": 2}
        if kind > 0.3:
            return {"t": self.some(TOKENS), "u": self.some(COMMON), "pt": self.some(PATIENTS, 1)}
        own = [
            {"t": self.some(TOKENS, 2), "u": self.some(COMMON, 1), "pt": self.some(PATIENTS, 1)}
            for _ in range(self.random.randint(2, 3))
        ]
        shared, common = self.some(TOKENS, 2), self.some(COMMON, 1)
        tokens = list(dict.fromkeys([*shared, *(token for each in own for token in each["t"])]))
        more = list(dict.fromkeys([*common, *(token for each in own for token in each["u"])]))
        patients = list(dict.fromkeys(patient for each in own for patient in each["pt"]))
        return {"t": tokens, "u": more, "pt": patients, "m": len(own), "c": shared, "cu": common, "x": own}

    def event(self):
        """Return an event of one of few moments, so that many share one."""
        recorded, event_id = self.random.choice(self.moments), self.world.event().id
        index = self.index()
        if self.random.random() < 0.05:
            index["sec"] = ["l|R"]
        if self.random.random() < 0.05:
            index["at"] = recorded - 1000
        row = {"v": 1, "id": event_id, "recorded": instant(recorded), "act": "read", "outcome": "0"}
        return Event(event_id, recorded, codec.dumps(row), index)

    def query(self, depth=0):
        """Return a query over all that rows are found by."""
        field = self.random.choice([*FOUND_BY])
        values = FOUND_BY[field]
        low = self.random.choice([*self.moments, self.base + 2 * 10**6])
        plain = [
            lambda: In(field, tuple(self.some([*values, "nothing"]))),
            lambda: Eq(field, self.random.choice(values)),
            lambda: Between("rec", *self.random.choice([(low, None), (None, low), (low, low + 10**6), (low, low + 1)])),
        ]
        more = [
            lambda: Among(field, tuple(self.random.sample(values, 2))),
            lambda: Like(
                field, values[0][:2], self.random.choice(["", values[0][-1], "b*"]), self.random.random() < 0.5
            ),
            lambda: Between(field, values[0][:2], values[-1]),
            lambda: In("sec", ("l|R",)),
            lambda: Between("at", self.base, None),
            lambda: Not(self.query(depth + 1)),
            lambda: And(tuple(self.query(depth + 1) for _ in range(self.random.randint(1, 3)))),
            lambda: Or(tuple(self.query(depth + 1) for _ in range(self.random.randint(1, 3)))),
        ]
        return self.random.choice(plain if depth > 2 else plain + more)()


def told_of(events):
    """Return the AuditEvents of events, newest first: their keys, and what each is found by."""
    told = [
        ((-event.recorded, event.id, number), {**index, "_id": event.id, "rec": event.recorded})
        for event in events
        for number, index in enumerate(indexes_of(event.index), 1)
    ]
    return sorted(told, key=lambda each: each[0])


@pytest.mark.parametrize("seed", range(3))
def test_pages_and_counts_are_what_the_query_means(world, seed):
    """Rows alone and blocks that lie across each other and share moments, asked at random: in both orders, by pages of any size.

    Some rows stand nowhere in time, or in another month: they are none of these.
    """
    chance = Chance(seed, world)
    events = []
    for _ in range(14):
        group = [chance.event() for _ in range(chance.random.randint(1, 9))]
        world.put(group)
        events += group
    damaged = chance.random.sample(sorted(each["_id"] for each in world.rows.find({"rows": {"$exists": False}})), 3)
    for row_id, moment in zip(damaged, (-1, "x", 10**15), strict=True):
        world.rows.update_one({"_id": row_id}, {"$set": {"rec": moment}})
    told, window = told_of([event for event in events if event.id not in damaged]), Between("rec", chance.base - 5)
    assert {*damaged} == {*world.store.count_events(EVERYTHING, 10).rows}
    for number in range(90):
        asked = And((window, chance.query() if number % 10 else numbered(*chance.random.choice(told)[0][1:])))
        expected = [keys for keys, index in told if matches(asked, index)]
        query, size = both_kinds(asked), chance.random.choice([1, 3, 7, 50])

        assert paged(world.store, query, size) == expected, asked
        assert paged(world.store, query, size, oldest_first=True) == expected[::-1], asked
        assert world.store.count_events(query).told == len(expected), asked
        assert sum(tally.count for tally in world.store.tally_events(query, 1000)) == len(expected), asked


@contextmanager
def profiled(world):
    """Have the database tell of each question that the log is asked: the rows of its profile."""
    log = world.database[f"{world.name}_log"]
    log.command("profile", 2)
    told = []
    try:
        yield told
    finally:
        log.command("profile", 0)
        months = {"$regex": r"\.audit_"}
        told += log["system.profile"].find({"ns": months, "docsExamined": {"$exists": True}}).sort("ts")
        log["system.profile"].drop()


def of_its_month(world, told):
    """Return what was asked of the month that the world writes to: others may be there, left by other tests and without indexes."""
    return [each for each in told if each["ns"].endswith(f".{world.rows.name}")]


def laid(world, groups, index_of, *, alone=False, apart=1000):
    """Lay so many full blocks, or rows alone, so many microseconds ``apart``; ``index_of`` says what the row at a place has besides."""
    events = [world.event(str(at), f"Patient/{at}") for at in range(1 if alone else MOST_ROWS)]
    rows, documents = world.chain.rows(events), []
    for group in range(groups):
        placed = [
            row._replace(
                id=f"laid-{group:05}-{at:02}",
                number=1000 + MOST_ROWS * group + at,
                recorded=row.recorded + apart * group,
                terms={**row.terms, **index_of(row.terms, group, at)},
            )
            for at, row in enumerate(rows)
        ]
        documents += documents_of(placed)
    world.rows.insert_many(documents)


def test_a_page_fetches_as_many_documents_as_hold_it(world):
    """A block holds many rows: of a page of a hundred, a hundred blocks were fetched."""
    laid(world, 120, lambda *_: {}, apart=2 * SPAN)
    for order in (False, True):
        with profiled(world) as told:
            parts, _ = world.store.search_events(EVERYTHING, 100, None, oldest_first=order)
        assert len(parts) == 100
        assert 0 < sum(each["nreturned"] for each in told) <= 16


def test_a_page_of_rows_alone_takes_few_questions(world):
    """As many documents as rows, fetched by ever more at once."""
    laid(world, 400, lambda *_: {}, alone=True)
    with profiled(world) as told:
        parts, _ = world.store.search_events(EVERYTHING, 200, None)

    assert len(parts) == 200
    told = of_its_month(world, told)
    assert 0 < len(told) <= 8
    assert sum(each["nreturned"] for each in told) <= 500


def test_blocks_without_the_row_that_is_asked_for_do_not_leave_the_database(world):
    """Two things that each block has and no row together: who asked for them had each block taken apart, one after the other."""
    laid(world, 60, lambda terms, _, at: {"t": [*terms["t"], "e=A" if at % 2 else "e=B"]})
    query = And((In("t", ("e=A",)), In("t", ("e=B",))))
    for asked in (query, And((query, Not(Between("k", 2))))):
        with profiled(world) as told:
            assert world.store.search_events(both_kinds(asked), 10, None) == ((), None)
        assert told
        assert sum(each["nreturned"] for each in told) == 0


SENT = {
    "a patient": In("pt", ("Patient/rare",)),
    "patients": In("pt", ("Patient/rare", "Patient/3", "Patient/4")),
    "a token": In("t", ("g=rare",)),
    "tokens": In("t", ("g=rare", "o=4")),
    "a token and a date": And((In("t", ("g=rare",)), Between("rec", 0, 2**60))),
    "a date": Between("rec", 0, 2**60),
    "all": EVERYTHING,
    "others": Not(In("pt", ("Patient/3",))),
}


def rare(terms, place, _):
    """Have one row of five be a rare one, and one of seven a client's own."""
    more = {"t": [*terms["t"], "g=rare"], "pt": ["Patient/rare"]} if place % 5 == 0 else {}
    return more | ({"at": 10**15 + place} if place % 7 == 0 else {})


@pytest.mark.parametrize("asked", SENT)
def test_no_search_sorts_what_it_finds(world, asked):
    """A log of years would be sorted for each page: the index has the order, and what is examined is little more than what is told.

    The plans are those of the questions that searches really send, page after page. What clients reported has an index of its own, by
    which the database goes while it is little, and sorts that. It keeps in mind how it answered like
    questions, even of rows that other tests had in this month: it forgets that first.
    """
    laid(world, 3000, rare, alone=True, apart=2 * SPAN)
    world.rows.database.command("planCacheClear", world.rows.name)
    for order in (False, True):
        after = None
        for _ in range(3):
            with profiled(world) as told:
                parts, after = world.store.search_events(both_kinds(SENT[asked]), 10, after, oldest_first=order)
            assert len(parts) == 10
            told = of_its_month(world, told)
            plans = [(each.get("planSummary", ""), each["docsExamined"], each.get("hasSortStage")) for each in told]
            plans = [each for each in plans if "at: 1" not in each[0]]
            assert plans
            assert not any(sorts or plan.startswith("COLLSCAN") for plan, _, sorts in plans), plans
            assert sum(examined for _, examined, _ in plans) <= 400, plans


def test_what_is_counted_of_a_patient_a_token_or_a_time_is_found_by_an_index(world):
    """No month is gone through for it; for all that there is, each document is looked at, and none by way of an index."""
    laid(world, 1000, rare, alone=True)
    for asked, query in SENT.items():
        with profiled(world) as told:
            assert world.store.count_events(both_kinds(query)).told == sum(
                each.count for each in world.store.tally_events(both_kinds(query), 1000)
            )
        plans = {each["planSummary"].partition(" ")[0] for each in of_its_month(world, told)}
        assert plans <= ({"IXSCAN", "COLLSCAN"} if asked in ("all", "others") else {"IXSCAN"}), (asked, plans)


@pytest.mark.parametrize("value", [{"a": 1}, ["x"], 7, None, True])
@pytest.mark.parametrize("block", [True, False])
def test_a_token_that_is_no_text_does_not_break_the_count_of_the_others(world, value, block):
    """One row that somebody damaged: counts by day and actor were refused to all."""
    document = world.rows.find_one({"rows": {"$exists": block}})
    whole = sum(tally.count for tally in world.store.tally_events(EVERYTHING, 1000))
    world.rows.update_one({"_id": document["_id"]}, {"$set": {"t.0": value}})

    assert sum(tally.count for tally in world.store.tally_events(EVERYTHING, 1000)) == whole
    assert world.store.count_events(EVERYTHING).told == whole


DAMAGE = {
    "x": [
        5,
        "s",
        [5],
        [],
        [{"t": 5, "pt": 7}],
        [{"t": 5, "pt": 7}, 5],
        {"pt": ["Patient/q"]},
        [{"t": [{"a": 1}], "pt": []}],
        None,
    ],
    "pt": [5, [7], [7, "Patient/b"], ["Patient/a", "Patient/b", "Patient/c"], None],
    "c": [5, "c", [7], None],
    "t": [5, [7, "g=x"], None],
    "u": ["x"],
    "m": ["x", 0, -1, 3, 2.0, True, None],
    "rec": [1.7e15, -1, "x", None],
}
"""What is done to a row that holds two AuditEvents."""


@pytest.mark.parametrize("field", DAMAGE)
def test_what_is_counted_of_a_damaged_row_is_what_pages_tell(world, field):
    """Whatever a row that holds several AuditEvents says of them: what the database makes of it is what is made of it here."""
    event = world.event("several", "Patient/a")
    world.put([replace(event, index={**event.index, "pt": ["Patient/a", "Patient/b"], "m": 2})])
    whole = world.rows.find_one({"_id": event.id})
    for value in DAMAGE[field]:
        world.rows.update_one({"_id": event.id}, {"$set": {field: value}})
        for query in (
            EVERYTHING,
            Not(In("pt", ("Patient/a",))),
            In("pt", ("Patient/a", "Patient/b")),
            In("u", ("o=0",)),
        ):
            pages = paged(world.store, query, 3)
            counted = world.store.count_events(query).told
            tallied = sum(tally.count for tally in world.store.tally_events(query, 1000))
            assert (value, len(pages), len(pages)) == (value, counted, tallied)
            assert pages == paged(world.store, query, 100, oldest_first=True)[::-1]
        world.rows.replace_one({"_id": event.id}, whole)


@pytest.mark.parametrize("moment", [-1, 10**15, 2**52, "x"])
@pytest.mark.parametrize("where", ["a row alone", "a row of a block", "a block"])
def test_a_moment_of_another_month_hides_nothing_and_ends_no_page(world, moment, where):
    """Pages went back to where the row says that it stands, and on from there without end; or ended there."""
    month = world.rows
    world.clock.set(world.clock.now().replace(month=11))
    world.write(3)
    document = month.find_one({"rows": {"$exists": where != "a row alone"}})
    ids = {row["i"] for row in document.get("rows", ())} or {document["_id"]}
    field = "rows.3.rec" if where == "a row of a block" else "rec"
    month.update_one({"_id": document["_id"]}, {"$set": {field: moment}})

    for order in (False, True):
        told = paged(world.store, EVERYTHING, 4, oldest_first=order)
        assert len(told) == len(set(told)) == world.store.count_events(EVERYTHING).told
        assert len(told) >= 28 - len(ids)
    if where != "a row of a block":
        counted = world.store.count_events(EVERYTHING, 100)
        assert counted.lost == len(counted.rows) == 28 - len(told)


def test_no_month_is_asked_for_rows_of_another_time(world):
    """What the server recorded in a month lies there; what clients reported may tell of any, and has an index of its own."""
    others = {f"audit_2025_{number:02}" for number in range(1, 9)}
    world.months.prepare(others)
    recorded = world.clock.micros()
    query = Or((And((Not(Between("at")), Between("rec", recorded - 1000, recorded + 1))), Between("at", 1, 2)))

    with profiled(world) as told:
        assert world.store.count_events(query, 10) == Counted(25, 0, ())
        assert len(paged(world.store, query, 100)) == 25
    asked = [name for each in told if (name := each["ns"].partition(".")[2]) in others]
    for name in others:
        world.store.log.drop_collection(name)
    looks = 3  # for what clients reported, for a page of it, for rows that are of a time that is asked for and lie elsewhere
    assert {asked.count(name) for name in others} == {looks}


def test_of_more_days_and_actors_than_may_be_told_none_are(world):
    """Nor are they gathered: the database gives no more of them."""
    laid(world, 30, lambda _, group, at: {"t": [f"g=actor-{group}-{at}"]}, alone=True)

    assert len(world.store.tally_events(EVERYTHING, 31)) == 31
    with profiled(world) as told:
        assert world.store.tally_events(EVERYTHING, 10) is None
    assert max(each["nreturned"] for each in told) <= 11


@pytest.mark.parametrize("back", [False, True])
def test_a_row_that_somebody_copied_is_told_as_often_as_it_is_counted(world, back):
    """A page that ended between the two went on after both: the next begins after what both say."""
    block = world.rows.find_one({"rows": {"$exists": True}})
    world.rows.insert_one({**block, "_id": "copy", "n": 1000})
    whole = paged(world.store, EVERYTHING, 1000, oldest_first=back)

    assert len(whole) == world.store.count_events(EVERYTHING).told == 25 + 12
    for size in (1, 2, 3, 7):
        assert paged(world.store, EVERYTHING, size, oldest_first=back) == whole

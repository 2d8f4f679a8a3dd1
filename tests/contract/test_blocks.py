"""Rows that became durable together lie in one document: each is read, found, proven and missed as if it stood alone."""

from __future__ import annotations

from itertools import pairwise

import pytest
from bson import Code, Decimal128, decode, encode
from msgspec.structs import replace

from fhir_dmp.audit.asked import digest
from fhir_dmp.audit.entry import entry_of
from fhir_dmp.errors import Unavailable
from fhir_dmp.service.handing import Handing
from fhir_dmp.store.query import EVERYTHING, Between, In
from fhir_dmp.stores.mongo.block_rows import rows_in
from fhir_dmp.stores.mongo.blocks import MOST_BYTES, MOST_ROWS, SPAN, documents_of
from fhir_dmp.stores.mongo.chain import Chain
from tests.packed_log import MONTH, ROWS, blocks, found

SECRET = b"s" * 16 + b'{"reason":"x"}'


@pytest.fixture
def world(waiting):
    """A log of one writer with a block of twelve rows, a row alone, and a block of twelve again; nothing of it is sealed."""
    return waiting


def placed(events):
    """Return the rows that the events become."""
    return Chain("7r").rows(events)


def laid(events):
    """Return how many rows lie in each document of them."""
    return [document.get("size", 1) for document in documents_of(placed(events))]


def test_rows_come_back_from_the_database_as_they_were(world):
    """Text, place, what each is found by in its own order, what lies beside it; of rows that hold several events too."""
    several = {"m": 2, "c": ["g=a"], "cu": ["p=TREAT"], "x": [{"t": ["e=1"], "u": [], "pt": ["Patient/1"]}] * 2}
    events = [
        world.event("1", t=["g=a", "e=1"], pt=["Patient/1"]),
        world.event("2", t=["e=1", "g=b", "g=a"], u=[], pt=[]),
        world.event("3", **several),
        replace(world.event("4"), secret=SECRET),
    ]
    rows = placed(events)
    [document] = documents_of(rows)

    assert rows_in(decode(encode(document)), MONTH) == rows
    assert document["t"] == list(dict.fromkeys(token for row in rows for token in row.terms["t"]))


def test_rows_with_labels_and_moments_of_their_own_stand_alone(world):
    """By these they are refused and found in the database: a block tells of any of its rows alone."""
    events = [world.event(), world.event(sec=["x|y"]), world.event(), world.event(), world.event(at=1), world.event()]

    assert laid(events) == [1, 1, 2, 1, 1]


def test_a_block_is_bounded_by_rows_time_and_bytes(world):
    """Whoever looks for a row, pages or unpacks does not work beyond that."""
    one = world.event()
    apart = [replace(one, recorded=one.recorded + step) for step in (0, SPAN, SPAN + 1, 1)]
    large = replace(one, body=b"x" * (MOST_BYTES // 2))

    assert laid([one] * (MOST_ROWS + 1)) == [MOST_ROWS, 1]
    assert laid(apart) == [2, 2]
    assert laid([large, large, one]) == [2, 1]
    assert laid([replace(one, secret=b"x" * MOST_BYTES), one]) == [1, 1]


def test_rows_of_two_months_lie_in_two(world):
    """A group that crosses midnight is taken apart there."""
    world.clock.set(world.clock.now().replace(day=31, hour=23, minute=59, second=59, microsecond=999_900))
    early = world.event()
    late = [replace(early, id=f"late-{number}", recorded=early.recorded + 100 + number) for number in range(2)]
    rows = world.chain.rows([early, *late])
    world.months.prepare({row.period for row in rows})

    assert world.months.insert_alone(rows)
    assert [row.id for row in world.ledger().rows_of("audit_2026_11", "7r", world.chain.epoch, 0)] == [
        "late-0",
        "late-1",
    ]
    assert world.months.stored(rows).keys() == {row.id for row in rows}


def test_each_row_is_found_by_its_id_on_every_page_and_in_every_count(world):
    """Newest first, oldest first, and by what it alone is found by."""
    ids = [each for group in world.ids for each in group]
    store = world.store
    whole = found(world, size=1000)

    assert sorted(whole) == sorted(ids)
    assert found(world) == found(world, size=1) == whole
    assert found(world, oldest_first=True) == whole[::-1]
    assert (
        store.count_events(EVERYTHING).told
        == sum(tally.count for tally in store.tally_events(EVERYTHING, 1000))
        == len(ids)
    )
    for number, each in enumerate(ids):
        event = store.find_event(each)
        assert event.id == each
        assert found(world, In("pt", (f"Patient/{number}",))) == [each]
        assert store.count_events(In("pt", (f"Patient/{number}",))).told == 1
        moment = Between("rec", event.recorded, event.recorded + 1)
        assert found(world, moment) == [each]
        assert store.count_events(moment).told == 1


def test_blocks_that_overlap_in_time_are_told_in_the_order_of_their_rows(world):
    """Two workers, whose groups lie across each other: a page is of time, and not of documents."""
    other = Chain("8r")
    for step in (7, 3, 50, 51, 49, 1000):
        world.later(microseconds=step)
        events = [replace(world.event(), recorded=world.clock.micros() + 7 * number % 40) for number in range(9)]
        for chain, part in ((other, events[::2]), (world.chain, events[1::2])):
            rows = chain.rows(part)
            assert world.months.insert_alone(rows)
            chain.advance(rows)
    whole = found(world, size=1000)
    recorded = [world.store.find_event(each).recorded for each in whole]

    assert len(whole) == len(set(whole)) == 25 + 54
    assert all(
        (-before, one) < (-after, two) for (before, one), (after, two) in pairwise(zip(recorded, whole, strict=True))
    )
    assert found(world, size=4) == found(world, size=11, oldest_first=True)[::-1] == whole


@pytest.mark.parametrize("handed", [True, False])
def test_blocks_are_sealed_and_proven_row_by_row(world, handed):
    """Whether their writer hands in their leaves, or whoever seals reads them."""
    sealer = world.sealer()
    if handed:
        Handing(world.ledger(), world.recent).tick()
    sealer.tick()
    world.later(seconds=5)
    world.write(3)
    sealer.tick()
    report, ledger = world.verify(index=True), world.ledger()

    assert (report.leaves, report.unsealed, report.findings) == (28, 0, [])
    places = [ledger.place_of(each) for group in world.ids for each in group]
    assert [leaf for _, leaf in places] == list(range(25))
    assert [row.number for row, _ in places] == list(range(1, 26))


def test_what_is_read_may_begin_and_end_within_a_block(world):
    """A reader that takes few rows, a window of leaves, a count up to a number."""
    ledger, epoch = world.ledger(), world.chain.epoch
    [tally] = ledger.tallies(MONTH)
    numbers = [row.number for row in ledger.rows_of(MONTH, "7r", epoch, after=17)]
    after = replace(world.chain.last, number=7)

    assert (tally.rows, tally.highest) == (25, 25)
    assert [ledger.count(MONTH, "7r", epoch, last) for last in (0, 5, 12, 13, 20, 25, 99)] == [0, 5, 12, 13, 20, 25, 25]
    assert numbers == list(range(18, 26))
    assert [row.number for row in ledger.fresh([after], 9)] == list(range(8, 17))
    assert [row.number for row in ledger.fresh([world.chain.last], 9)] == []


def change(name, make):
    """Return what makes a change of one field of a block."""
    return lambda block: {"$set": {name: make(block)}}


DAMAGE = {
    "a text": change("b", lambda block: block["b"][:-3]),
    "no text": lambda _: {"$unset": {"b": 1}},
    "a hash": change("h", lambda block: b"x" * 32 + block["h"][32:]),
    "fewer hashes": change("h", lambda block: block["h"][32:]),
    "hashes that are none": change("h", lambda _: 7),
    "a moment": change("rows.3.rec", lambda block: block["rows"][3]["rec"] + 1),
    "a moment that is none": change("rows.3.rec", lambda _: "x"),
    "the last moment": change("rec", lambda block: block["rec"] + 1),
    "no last moment": lambda _: {"$unset": {"rec": 1}},
    "an id": change("rows.3.i", lambda _: "another"),
    "an id that is none": change("rows.3.i", lambda _: 7),
    "the id of another": change("rows.3.i", lambda block: block["rows"][4]["i"]),
    "a token": change("t.0", lambda _: "g=nobody"),
    "a patient": change("pt.2", lambda _: "Patient/other"),
    "no patients": change("pt", lambda _: []),
    "patients that are none": change("pt", lambda _: 7),
    "the place of a patient": change("rows.3.pt", lambda _: [1]),
    "a place that is none": change("rows.3.pt", lambda _: ["x"]),
    "places that are none": change("rows.3.t", lambda _: 7),
    "a length": change("rows.3.l", lambda _: 1),
    "a length that is none": change("rows.3.l", lambda _: "x"),
    "a row fewer": lambda _: {"$pop": {"rows": 1}},
    "a row that is none": change("rows.3", lambda _: 7),
    "rows that are none": change("rows", lambda _: "x"),
    "fewer rows": change("size", lambda _: 3),
    "more rows": change("size", lambda _: 30),
    "a size that is none": change("size", lambda _: "x"),
    "a number": change("n", lambda _: 100),
    "a number that is none": change("n", lambda _: "x"),
    "a number without end": change("n", lambda _: float("inf")),
    "a size in decimals": change("size", lambda block: Decimal128(str(block["size"]))),
    "a moment without end": change("rec", lambda _: float("inf")),
    "a chain as code": change("w", lambda block: Code(block["w"])),
    "a token as code": change("t.0", lambda block: Code(block["t"][0])),
    "an id as code": change("rows.3.i", lambda block: Code(block["rows"][3]["i"])),
    "an id that is an object": change("rows.3.i", lambda _: {"a": 1}),
    "beside a row what is no bytes": change("rows.3.s", lambda _: 5),
    "what it follows on": change("p", lambda _: b"x" * 32),
    "what more a row is found by": change("rows.3.m", lambda _: 2),
    "what it does not say": change("rows.3.more", lambda _: 1),
    "a moment of a client's own": change("at", lambda _: 1),
    "labels": change("sec", lambda _: ["x|y"]),
    "a field that nobody knows": change("more", lambda _: 1),
    "a place from the end": change("rows.3.pt", lambda block: [block["rows"][3]["pt"][0] - len(block["pt"])]),
    "a truth for a place": change("rows.1.pt", lambda _: [True]),
    "a token twice": change("t", lambda block: [*block["t"], block["t"][0]]),
    "a patient more": change("pt", lambda block: [*block["pt"], "Patient/other"]),
    "patients by name": lambda block: {
        "$set": {"pt": {str(at): each for at, each in enumerate(block["pt"])}}
        | {f"rows.{at}.pt": [str(each) for each in row["pt"]] for at, row in enumerate(block["rows"])}
    },
}
"""What is done to a block."""


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_block_that_somebody_damaged_is_named_and_hides_nothing_beside_it(world, damage):
    """Whatever is left of it: the verifier finds it, a reader is given the rows of the others and asks in vain for no count."""
    sealer = world.sealer()
    sealer.tick()
    assert world.verify(index=True).findings == []
    block = blocks(world)[0]
    world.rows.update_one({"_id": block["_id"]}, DAMAGE[damage](block))

    findings = world.verify().findings
    assert findings
    assert all(finding.kind in ("altered", "missing", "chain broken", "reordered", "inserted") for finding in findings)
    others = {*world.ids[1], *world.ids[2]}
    for order in (False, True):
        assert others <= set(found(world, size=4, oldest_first=order))
    for number in range(13, 25):
        assert len(found(world, In("pt", (f"Patient/{number}",)))) == 1
        assert world.store.count_events(In("pt", (f"Patient/{number}",))).told == 1
    assert world.store.count_events(EVERYTHING).told >= 13
    assert sum(tally.count for tally in world.store.tally_events(EVERYTHING, 1000)) >= 13


def test_a_row_of_a_block_that_makes_no_sense_is_told_as_damaged_and_not_as_absent(world):
    """Whoever waits for an event to be told would take absence for an answer."""
    block = blocks(world)[0]
    world.rows.update_one({"_id": block["_id"]}, {"$set": {"size": 3}})

    for each in world.ids[0]:
        assert world.store.find_event(each).id == each
    assert world.store.find_event("nobody") is None


@pytest.fixture
def unindexed(world):
    """The log without the index by which rows of blocks are found; it is there again for the next."""
    world.rows.drop_index("rows.i_1")
    yield world
    world.rows.drop_indexes()


def test_a_row_of_a_month_without_blocks_is_found_without_their_index(unindexed):
    """One that was written before there were blocks: it is asked for by its id."""
    world = unindexed
    world.rows.delete_many({"rows": {"$exists": True}})

    assert world.store.find_event(world.ids[1][0]).id == world.ids[1][0]
    assert world.store.find_event("nobody") is None
    assert world.ledger().place_of("nobody") is None


INDEXES = {
    "none": {},
    "one that is hidden": {"keys": [("rows.i", 1)], "sparse": True, "hidden": True},
    "one of its name": {"keys": [("rows.no", 1)], "sparse": True, "name": "rows.i_1"},
}
"""What is there in place of the index."""


@pytest.mark.parametrize("index", INDEXES)
def test_a_row_that_cannot_be_looked_up_is_not_told_as_absent(unindexed, index):
    """What can be found is, and of all others nothing is said."""
    world = unindexed
    if how := {**INDEXES[index]}:
        world.rows.create_index(how.pop("keys"), **how)

    for find in (world.store.find_event, world.ledger().place_of):
        for known in (world.ids[1][0], world.ids[0][0]):
            assert find(known)
        for other in (world.ids[0][3], "nobody"):
            with pytest.raises(Unavailable):
                find(other)


def test_a_block_that_lies_across_another_is_named(world):
    """Rows copied into one more document, as who may insert could: told twice by searches, and a forged one beside a true copy."""
    world.sealer().tick()
    block = blocks(world)[0]
    rows = rows_in(dict(block), MONTH)
    forged = rows[1]._replace(id="forged", body=rows[1].body.replace(b"read", b"vead"), hash=b"x" * 32)
    for copied in (rows[1:], rows[3:6], [rows[4]], [forged, rows[2]]):
        [document] = documents_of(list(copied))
        world.rows.insert_one({**document, "_id": "stranger"})
        kinds = {finding.kind for finding in world.verify().findings}
        assert kinds & {"duplicated", "altered"}
        world.rows.delete_one({"_id": "stranger"})
    assert world.verify().findings == []


def test_a_copy_of_rows_that_wait_to_be_sealed_is_named_and_stops_nothing(world):
    """The rows are sealed once, and the copy is told for as long as it is there."""
    sealer = world.sealer()
    sealer.tick()
    world.later(seconds=5)
    world.write(ROWS)
    [document] = documents_of(rows_in(blocks(world)[2], MONTH)[4:])
    world.rows.insert_one(document)
    assert {finding.kind for finding in world.verify().findings} == {"duplicated"}
    sealer.tick()

    report = world.verify()
    assert report.leaves == 37
    assert {finding.kind for finding in report.findings} <= {"duplicated", "altered"}
    assert report.findings
    world.rows.delete_one({"_id": document["_id"]})
    assert world.verify().findings == []


def test_one_row_of_a_block_that_was_edited_is_named_alone(world):
    """One byte of what happened to one of them: those around it are whole."""
    world.sealer().tick()
    block = blocks(world)[1]
    edited = rows_in(dict(block), MONTH)[5]
    rows = [
        row._replace(body=row.body.replace(b"read", b"vead")) if row == edited else row for row in rows_in(block, MONTH)
    ]
    world.rows.replace_one({"_id": rows[0].id}, documents_of(rows)[0])

    [finding] = world.verify().findings
    assert finding.kind == "altered"
    assert edited.id in finding.text


def test_a_row_that_was_taken_out_of_a_block_is_missed(world):
    """The block made anew without it, as whoever knows how they are made would; its last row too, which nothing follows on."""
    world.sealer().tick()
    for lacking in (4, 11):
        block = blocks(world)[1]
        rows = rows_in(dict(block), MONTH)
        made = documents_of([row for at, row in enumerate(rows) if at != lacking])
        world.rows.replace_one({"_id": block["_id"]}, made[0])
        assert f"7r/{world.chain.epoch}/{rows[lacking].number}" in str(world.verify().findings)
        world.rows.replace_one({"_id": block["_id"]}, block)
    assert world.verify().findings == []


def test_blocks_that_were_deleted_copied_or_added_are_named(world):
    """By the places of their rows; a copy beside them, and one of an epoch that nobody registered."""
    world.sealer().tick()
    block = blocks(world)[0]
    world.rows.delete_one({"_id": block["_id"]})
    assert [finding.kind for finding in world.verify().findings] == ["missing"] * ROWS
    world.rows.insert_one(block)
    assert world.verify().findings == []
    for stranger in ({"e": "feedfeedfeed"}, {"n": block["n"] + 200}):
        world.rows.insert_one({**block, "_id": "stranger", **stranger})
        assert world.verify().findings
        world.rows.delete_one({"_id": "stranger"})


def test_what_lies_beside_a_row_of_a_block_can_be_taken_away_and_not_exchanged(world):
    """As of a row alone: the row names its digest."""
    events = [world.event(), replace(world.event(digest(SECRET)), secret=SECRET), world.event()]
    world.put(events)
    world.sealer().tick()
    assert world.store.find_event(events[1].id).secret == SECRET
    assert world.verify().findings == []
    place = {"rows.i": events[1].id}
    world.rows.update_one(place, {"$set": {"rows.1.s": SECRET + b" "}})
    [finding] = world.verify().findings
    assert (finding.kind, events[1].id in finding.text) == ("altered", True)
    world.rows.update_one(place, {"$unset": {"rows.1.s": 1}})
    assert world.verify().findings == []


def test_entries_do_not_tell_whether_a_row_lay_in_a_block(world):
    """What is hashed, exported and proven is of the row: stored otherwise, it is the same."""
    rows = placed([world.event(str(number)) for number in range(3)])
    alone = [rows_in(decode(encode(documents_of([row])[0])), MONTH)[0] for row in rows]
    together = rows_in(decode(encode(documents_of(rows)[0])), MONTH)

    assert [entry_of(row) for row in together] == [entry_of(row) for row in alone] == [entry_of(row) for row in rows]

"""Pages and totals tell the same rows, whatever somebody made of the block that they lie in."""

from __future__ import annotations

from struct import pack

import pytest
from bson import Code, Decimal128, Int64, encode

from fhir_dmp.store.query import EVERYTHING, Among, And, Between, In, Like, Not, Or, prefix
from tests.bson_bytes import array, document, element, put
from tests.contract.test_blocks import DAMAGE, change
from tests.contract.test_log_pages import both_kinds, paged
from tests.packed_log import blocks

VICTIM = "Patient/victim"


def first(value):
    """Return the change of the first place that the fourth row names a patient by."""
    return change("rows.3.pt", lambda block: [value(block["rows"][3]["pt"][0])])


MORE = {
    "the place of what is not there": first(lambda _: -1),
    "a place in another kind of number": first(float),
    "a place in decimals": first(lambda place: Decimal128(str(place))),
    "a long place": first(Int64),
    "a part of a place": first(lambda place: place + 0.5),
    "a place without end": first(lambda _: float("inf")),
    "no number for a place": first(lambda _: float("nan")),
    "a text for a place": first(str),
    "nothing for a place": first(lambda _: None),
    "nobody": change("rows.3.pt", lambda _: []),
    "places that are none": change("rows.3.u", lambda _: 7),
    "a place of what comes twice": lambda block: {
        "$set": {"pt": [*block["pt"], block["pt"][0]], "rows.3.pt": [len(block["pt"])]}
    },
    "a patient as code": change("pt.3", lambda block: Code(block["pt"][3])),
    "a list in a list": change("pt.3", lambda block: [block["pt"][3]]),
    "patients that are no list": change("pt", lambda block: block["pt"][0]),
    "no patients": lambda _: {"$unset": {"pt": 1}},
    "no row": change("rows", lambda _: []),
    "a row that is a list": change("rows.3", lambda block: [block["rows"][3]]),
    "a chain as text": change("p", lambda _: "x" * 32),
    "rows that are no list": change("rows", lambda _: "x"),
    "rows that are one": change("rows", lambda block: block["rows"][0]),
    "something that is no row": change("rows.3", lambda _: 5),
    "one row more": change("rows", lambda block: [*block["rows"], {**block["rows"][0], "i": "more"}]),
    "one row less": change("rows", lambda block: block["rows"][1:]),
    "hashes that are none": change("h", lambda _: "x" * 384),
    "half of the hashes": change("h", lambda block: block["h"][:192]),
    "a row that says that it is several": lambda _: {"$set": {"rows.3.m": 2, "rows.3.x": [{"pt": [VICTIM]}] * 2}},
    "a block that says that it has more": change("m", lambda _: 40),
    "a moment of a client's own, of one row": change("rows.3.at", lambda _: 5),
    "labels of one row": change("rows.3.sec", lambda _: ["x|y"]),
}
QUERIES = {
    "everything": both_kinds(EVERYTHING),
    "a patient": In("pt", ("Patient/3",)),
    "one of several patients": In("pt", ("Patient/3", "Patient/14", VICTIM)),
    "patients alone": Or((Among("pt", ("Patient/3", "Patient/14")), Among("pt", ("Patient/0",)))),
    "not a patient": Not(In("pt", ("Patient/3",))),
    "a token that all have": both_kinds(In("u", ("s=read",))),
    "texts that begin so": prefix("pt", "Patient/1"),
    "texts that hold this": Like("pt", "Patient/", "3"),
    "two things": And((In("u", ("s=read",)), In("t", ("e=Observation/o",)))),
    "no label": Not(In("sec", ("x|y",))),
    "what the server saw": And((Not(Between("at")), In("u", ("o=0",)))),
}


def held_to(unlisted, damage):
    """Hold totals and tallies to what all pages tell, of whatever size and in whatever order."""
    for asked, query in QUERIES.items():
        whole = paged(unlisted.store, query, 100)
        counted = unlisted.store.count_events(query, 100).told
        tallied = sum(each.count for each in unlisted.store.tally_events(query, 1000))
        assert (damage, asked, counted, tallied) == (damage, asked, len(whole), len(whole))
        for size, back in ((3, True), (7, False)):
            told = paged(unlisted.store, query, size, oldest_first=back)
            assert (damage, asked, size, told) == (damage, asked, size, whole[::-1] if back else whole)


@pytest.mark.parametrize("damages", [DAMAGE, MORE], ids=["of the block", "of what it is found by"])
def test_what_is_counted_of_a_damaged_block_is_what_pages_tell(unlisted, damages):
    """The verifier names each, and no total says more or less than whoever goes through the pages finds."""
    block = blocks(unlisted)[0]
    for damage, make in damages.items():
        unlisted.rows.update_one({"_id": block["_id"]}, make(block))
        held_to(unlisted, damage)
        assert (damage, bool(unlisted.verify().findings)) == (damage, True)
        unlisted.rows.replace_one({"_id": block["_id"]}, block)


def twice(name, value):
    """Return what says the field twice, first so: as the database finds it, and then as the driver tells it."""

    def tamper(unlisted):
        block = blocks(unlisted)[0]
        put(
            unlisted.rows,
            {name: value, **{other: block[other] for other in block if other != name}, "_id": block["_id"]},
            own(block, name),
        )

    return tamper


def own(block, name):
    """Return the field of the block as its bytes."""
    body = encode({name: block[name]})
    return body[4:-1]


def two_places(unlisted):
    """Have a row of a block be found by the patient of another."""
    block = blocks(unlisted)[0]
    parts = [encode(part) for part in block.pop("rows")]
    other = element(4, document(element(16, pack("<i", 4), b"0")), b"pt")
    parts[3] = document(other + parts[3][4:-1])
    put(unlisted.rows, block, element(4, array(parts), b"rows"))


TWICE = {
    "patients": twice("pt", [VICTIM] * 12),
    "tokens": twice("t", ["g=nobody"]),
    "rows": twice("rows", []),
    "a moment before": twice("rec", Int64(1)),
    "a place": two_places,
}


@pytest.mark.parametrize("case", TWICE)
def test_what_is_counted_of_a_block_that_says_two_things_is_what_pages_tell(unlisted, case):
    """The database finds and counts by the first, and the driver tells the last: pages go by the first, too."""
    TWICE[case](unlisted)

    held_to(unlisted, case)
    assert {finding.kind for finding in unlisted.verify().findings} <= {"altered", "missing"}


@pytest.mark.parametrize("oldest_first", [False, True])
def test_a_block_that_the_database_finds_at_another_moment_than_it_says_is_left_out_by_no_page(unlisted, oldest_first):
    """Its rows came before what a small page began with, and after what the one before had ended with."""
    unlisted.later(seconds=1)
    unlisted.write(12)
    for block, moment in zip(blocks(unlisted), (-40, 40, -40), strict=True):
        lie = {**block, "rec": Int64(blocks(unlisted)[1]["rec"] + moment)}
        put(unlisted.rows, lie, element(18, pack("<q", block["rec"]), b"rec"))
        whole = paged(unlisted.store, EVERYTHING, 100, oldest_first=oldest_first)

        assert len(whole) == unlisted.store.count_events(EVERYTHING).told == 37
        assert all(
            paged(unlisted.store, EVERYTHING, size, oldest_first=oldest_first) == whole for size in (1, 2, 5, 13)
        )
        unlisted.rows.replace_one({"_id": block["_id"]}, block)

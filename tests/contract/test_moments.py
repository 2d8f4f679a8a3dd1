"""Whatever somebody makes of the moment of a row: it stands in time for pages, totals and tallies alike, or is told as lost by all of them."""

from __future__ import annotations

from datetime import UTC, datetime
from math import inf, nan
from struct import pack

import pytest
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp, encode
from bson.raw_bson import RawBSONDocument

from fhir_dmp.store.period import span_of
from fhir_dmp.store.query import EVERYTHING, Between, In, Not
from fhir_dmp.stores.mongo.blocks import SPAN
from tests.bson_bytes import element, put, text
from tests.contract.test_log_pages import both_kinds
from tests.packed_log import found

MONTH = "audit_2026_10"
SINCE, UNTIL = span_of(MONTH)
NOON = (SINCE + UNTIL) // 2
ROWS = 25

MOMENTS = {
    "of the month": Int64(NOON),
    "the first": Int64(SINCE),
    "the last": Int64(UNTIL - 1),
    "before": Int64(SINCE - 1),
    "after": Int64(UNTIL),
    "short": 7,
    "least": Int64(-(2**63)),
    "greatest": Int64(2**63 - 1),
}
"""Whole numbers."""

OTHERS = {
    "double": float(NOON),
    "double with a fraction": NOON + 0.5,
    "double just within": UNTIL - 0.5,
    "no number": nan,
    "infinity": inf,
    "infinity below": -inf,
    "decimal": Decimal128(str(NOON)),
    "decimal with a fraction": Decimal128(f"{NOON}.5"),
    "decimal that is no number": Decimal128("NaN"),
    "decimal without end": Decimal128("Infinity"),
    "decimal of another month": Decimal128("-7"),
    "truth": True,
    "untruth": False,
    "text": str(NOON),
    "empty text": "",
    "code": Code(str(NOON)),
    "code with a scope": Code("x", {"a": NOON}),
    "pattern": Regex("x"),
    "date": datetime(2026, 10, 16, tzinfo=UTC),
    "timestamp": Timestamp(NOON // 1_000_000, 1),
    "id": ObjectId(),
    "bytes": b"12345678",
    "bytes of a user": Binary(b"12345678", 128),
    "null": None,
    "object": {"a": NOON},
    "reference": DBRef("x", NOON),
    "least of all": MinKey(),
    "greatest of all": MaxKey(),
    "empty list": [],
    "list": [Int64(NOON)],
    "list of two": [Int64(NOON), Int64(NOON + 1)],
    "list around the month": [Int64(SINCE - 1), Int64(UNTIL)],
    "list of a list": [[Int64(NOON)]],
    "list of text": ["x"],
}
"""All other kinds that BSON has, and that the driver writes."""

RAW = {"undefined": (None, 0x0A, 0x06), "symbol": (str(NOON), 0x02, 0x0E)}
"""Kinds that it does not write any more: what is written in their place, its type, and theirs."""

ALL = [*MOMENTS, *OTHERS, *RAW, "missing"]


LIES = {
    "text": element(2, text(b"x"), b"rec"),
    "double": element(1, pack("<d", float(NOON)), b"rec"),
    "early": element(18, pack("<q", SINCE + 5), b"rec"),
    "late": element(18, pack("<q", UNTIL - 5), b"rec"),
    "of another month": element(18, pack("<q", 5), b"rec"),
}
"""Moments that a document says beside its own."""


def damaged(document, place, kind):
    """Return the document with this kind of moment at the place, as the database takes it."""
    made = {**document, "rows": [{**row} for row in document["rows"]]} if "rows" in document else {**document}
    holder = made["rows"][3] if place == "a row of a block" else made
    del holder["rec"]
    if kind == "missing":
        return made
    value, written, meant = RAW.get(kind, (None, 0, 0))
    holder["rec"] = value if kind in RAW else {**MOMENTS, **OTHERS}[kind]
    if kind not in RAW:
        return made
    raw = encode(made)
    sign = b"rec\x00"
    assert raw.count(bytes([written]) + sign) == 1
    return RawBSONDocument(raw.replace(bytes([written]) + sign, bytes([meant]) + sign))


def lost_of(document, place, kind):
    """Return the ids of the rows that are lost: one within a block stands where that does, if its own moment does not fit."""
    ids = [row["i"] for row in document["rows"]] if "rows" in document else [document["_id"]]
    stands = kind in ("of the month", "the first", "the last")
    return set() if stands or place == "a row of a block" else {*ids}


@pytest.mark.parametrize("place", ["a row alone", "a block", "a row of a block"])
def test_a_row_stands_in_time_for_all_or_is_lost_to_all(unlisted, place):
    """Pages in both orders, totals and tallies tell the same rows, the others are told as lost, and the verifier names each."""
    document = unlisted.rows.find_one({"rows": {"$exists": place != "a row alone"}})
    everyone = {each for group in unlisted.ids for each in group}
    moment = document["rec"]
    queries = (both_kinds(EVERYTHING), Not(In("pt", ("Patient/x",))), In("t", (document["t"][0],)))
    for kind in ALL:
        unlisted.rows.delete_one({"_id": document["_id"]})
        unlisted.rows.insert_one(damaged(document, place, kind))
        lost = lost_of(document, place, kind)
        for query in queries:
            told = found(unlisted, query, 4)
            counted = unlisted.store.count_events(query, 100)
            tallied = sum(each.count for each in unlisted.store.tally_events(query, 100))

            assert (kind, {*told}) == (kind, everyone - lost)
            assert (kind, len(told)) == (kind, ROWS - len(lost))
            assert found(unlisted, query, 7, oldest_first=True) == told[::-1]
            assert (kind, counted.told, tallied) == (kind, len(told), len(told))
            assert (kind, counted.lost, {*counted.rows}) == (kind, len(lost), lost)
        for bounds in (Between("rec", SINCE, UNTIL), Between("rec", moment - 4, moment + 1)):
            told = found(unlisted, bounds)
            assert (kind, lost.isdisjoint(told)) == (kind, True)
            assert (kind, unlisted.store.count_events(bounds).told) == (kind, len(told))
            assert (kind, sum(each.count for each in unlisted.store.tally_events(bounds, 100))) == (kind, len(told))
        findings = unlisted.verify().findings
        assert (kind, {each.kind for each in findings}) == (kind, {"altered"})
        assert all(any(each in finding.text for finding in findings) for each in lost)
    unlisted.rows.replace_one({"_id": document["_id"]}, document)
    assert unlisted.verify().findings == []


def test_of_a_block_that_begins_before_its_month_the_rows_before_it_are_lost(unlisted):
    """Each stands at its own moment: some of the block are of the month before, and the others are told."""
    block = unlisted.rows.find_one({"rows": {"$exists": True}})
    ids = [row["i"] for row in block["rows"]]
    for latest in (SINCE, SINCE + 5, SINCE + SPAN - 1):
        own = [latest - (SPAN if at == 2 else at) for at in range(len(ids))]
        moments = {f"rows.{at}.rec": Int64(moment) for at, moment in enumerate(own)}
        unlisted.rows.update_one({"_id": block["_id"]}, {"$set": {"rec": Int64(latest), **moments}})
        lost = {each for each, moment in zip(ids, own, strict=True) if moment < SINCE}
        told, counted = found(unlisted), unlisted.store.count_events(EVERYTHING, 100)

        assert 0 < len(lost) < len(ids)
        assert len(told) == counted.told == ROWS - len(lost)
        assert sum(each.count for each in unlisted.store.tally_events(EVERYTHING, 100)) == len(told)
        assert lost.isdisjoint(told)
        assert (counted.lost, {*counted.rows}) == (len(lost), lost)


@pytest.mark.parametrize(("place", "first"), [("a row alone", False), ("a row alone", True), ("a block", False)])
def test_a_row_that_says_two_moments_stands_where_the_database_finds_it(unlisted, place, first):
    """It finds the first, and the driver tells the last: pages told another row than totals, and went on from where it did not stand."""
    document = unlisted.rows.find_one({"rows": {"$exists": place != "a row alone"}})
    own = element(18, pack("<q", document["rec"]), b"rec")
    for lie in LIES.values():
        put(unlisted.rows, document, *((b"", own, lie + own, 1) if first else (lie,)))
        counted = unlisted.store.count_events(EVERYTHING, 100)
        whole = found(unlisted, size=100)

        assert counted.told + counted.lost == ROWS
        assert (len(whole), {*whole, *counted.rows}) == (
            counted.told,
            {each for group in unlisted.ids for each in group},
        )
        assert sum(each.count for each in unlisted.store.tally_events(EVERYTHING, 100)) == counted.told
        assert [found(unlisted, size=size) for size in (1, 4)] == [whole] * 2
        assert [found(unlisted, size=size, oldest_first=True) for size in (1, 4)] == [whole[::-1]] * 2
        assert {finding.kind for finding in unlisted.verify().findings} == {"altered"}


@pytest.mark.parametrize("name", ["audit_", "audit_2026", "audit_2026_13", "audit_2026_10_16", "audit_2026_10x"])
def test_rows_in_what_is_no_month_are_lost_and_told_so(unlisted, name):
    """Pages go through months one after the other: of a time that is another's they told rows twice, or passed over them."""
    row = unlisted.rows.find_one({"rows": {"$exists": False}})
    unlisted.rows.delete_one({"_id": row["_id"]})
    unlisted.rows.database[name].insert_one(row)
    counted = unlisted.store.count_events(EVERYTHING, 100)

    assert (counted.told, counted.lost, counted.rows) == (ROWS - 1, 1, (row["_id"],))
    for size in (1, 4, 100):
        told = found(unlisted, size=size)
        assert len(told) == ROWS - 1
        assert found(unlisted, size=size, oldest_first=True) == told[::-1]
    assert sum(each.count for each in unlisted.store.tally_events(EVERYTHING, 100)) == ROWS - 1
    assert unlisted.store.find_event(row["_id"]).id == row["_id"]
    assert unlisted.verify().findings

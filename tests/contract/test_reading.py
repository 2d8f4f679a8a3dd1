"""Documents that MongoDB keeps and its driver for Python refuses to tell: each is named, none hides another, and nobody is stopped."""

from __future__ import annotations

from struct import pack

import pytest

from fhir_dmp.store.query import EVERYTHING, In
from fhir_dmp.stores.mongo import log_pages
from tests.bson_bytes import document, element, put, scoped, text
from tests.contract.test_log_pages import paged
from tests.packed_log import blocks, found

LATE, WRONG_LENGTH = pack("<q", 2**62), pack("<iB", 5, 2) + pack("<i", 77) + b"x"
EACH_KIND = b"".join(
    element(kind, value, b"more%d" % kind)
    for kind, value in {
        1: bytes(8),
        2: text(b"x"),
        3: document(b""),
        4: document(b""),
        5: pack("<iB", 1, 0) + b"x",
        6: b"",
        7: bytes(12),
        8: b"\1",
        9: bytes(8),
        10: b"",
        11: b"x\0i\0",
        12: text(b"x") + bytes(12),
        13: text(b"x"),
        14: text(b"x"),
        15: scoped(text(b"x") + document(b"")),
        16: bytes(4),
        17: bytes(8),
        18: bytes(8),
        19: bytes(16),
        127: b"",
        255: b"",
    }.items()
)
UNTOLD = {
    "a moment beyond the year 9999": element(9, LATE),
    "a moment before the year 1": element(9, pack("<q", -(2**62))),
    "a moment within": element(3, document(element(9, LATE))),
    "no UTF-8": element(2, text(b"a\xff")),
    "half of a character": element(2, text(b"\xed\xa0\x80")),
    "a name that is no UTF-8": element(16, pack("<i", 5), b"mo\xffre"),
    "a pattern that is no UTF-8": element(11, b"a\xff\0i\0"),
    "code that is no UTF-8": element(13, text(b"a\xff")),
    "bytes of a wrong length": element(5, WRONG_LENGTH),
    "bytes of a wrong length within": element(4, document(element(5, WRONG_LENGTH, b"0"))),
    "bytes of a wrong length behind one of each kind": EACH_KIND + element(5, WRONG_LENGTH),
    "bytes of a wrong length beside code": element(15, scoped(text(b"a") + document(element(5, WRONG_LENGTH)))),
}
"""What is put at the end of a document."""


@pytest.fixture
def world(waiting):
    """A log of one writer with a block of twelve rows, a row alone, and a block of twelve again; nothing of it is sealed."""
    return waiting


@pytest.mark.parametrize("untold", UNTOLD)
def test_an_event_of_which_something_cannot_be_told_is_named_and_hides_no_other(world, untold):
    """Whatever else lies in its document: it is found by its id and on pages, and so are all that lie beside it."""
    world.sealer().tick()
    assert world.verify(index=True).findings == []
    alone = world.rows.find_one({"_id": world.ids[1][0]})
    for stored, named in ((alone, 1), (blocks(world)[0], 12)):
        put(world.rows, stored, UNTOLD[untold])

        assert [finding.kind for finding in world.verify().findings] == ["altered"] * named
        assert sorted(found(world)) == sorted(each for ids in world.ids for each in ids)
        assert world.store.find_event(stored["_id"]).id == stored["_id"]
        assert world.ledger().place_of(stored["_id"])[0].id == stored["_id"]
        put(world.rows, stored)


@pytest.mark.parametrize("untold", UNTOLD)
def test_rows_beside_one_of_which_something_cannot_be_told_are_sealed(world, untold):
    """Behind a gap, where it is looked at in each sweep; of an epoch that nobody registered; and one that waits for its leaf itself."""
    alone = world.rows.find_one({"_id": world.ids[1][0]})
    put(world.rows, alone, UNTOLD[untold])
    put(world.rows, {**alone, "_id": "far", "n": 1000}, UNTOLD[untold])
    put(world.rows, {**alone, "_id": "strange", "e": "feedfeedfeed", "n": 1}, UNTOLD[untold])
    assert world.sealer().tick()

    assert world.ledger().size() == 25
    told = " ".join(finding.text for finding in world.verify(index=True).findings)
    assert alone["_id"] in told
    assert "feedfeedfeed" in told
    assert "far" in told


@pytest.mark.parametrize("name", ["w", "e"])
@pytest.mark.parametrize("value", [element(2, text(b"\xff"), b"x")[3:], WRONG_LENGTH])
def test_a_row_whose_place_cannot_be_told_stops_neither_who_seals_nor_who_verifies(world, name, value):
    """The database tells of it in what it counts and lists, too."""
    sealer = world.sealer()
    alone = world.rows.find_one({"_id": world.ids[1][0]})
    kind = 5 if value == WRONG_LENGTH else 2
    put(
        world.rows,
        {**{each: alone[each] for each in alone if each != name}, "_id": "x"},
        element(kind, value, name.encode()),
    )

    assert sealer.tick()
    world.later(seconds=70)
    assert sealer.tick()
    assert world.ledger().size() == 25
    assert [finding.kind for finding in world.verify().findings] == ["inserted"]


@pytest.mark.parametrize("other", [b"\xff\xfe\xfd", b"\xed\xa0\x80", b"\xf0\x9f\x98"])
def test_no_text_that_was_sealed_is_read_where_there_is_no_text_any_more(world, other):
    """What stands for bytes that are no UTF-8 can be part of what a client sends: then the row would be what was sealed, and found by nothing."""
    sent = "Patient/\ufffd"
    world.put([world.event("sent", sent)])
    world.sealer().tick()
    assert found(world, In("pt", (sent,)))
    assert world.verify(index=True).findings == []
    stored = world.rows.find_one({"pt": sent})
    put(world.rows, stored, b"", text(sent.encode()), text(b"Patient/" + other))

    assert found(world, In("pt", (sent,))) == []
    [finding] = world.verify().findings
    assert (finding.kind, stored["_id"] in finding.text) == ("altered", True)


@pytest.mark.parametrize("oldest_first", [False, True])
@pytest.mark.parametrize("size", [13, 34])
def test_what_is_recorded_while_a_page_is_read_anew_repeats_none_of_it(world, monkeypatch, oldest_first, size):
    """A page that meets what cannot be told asks again: it went on with what had come meanwhile before its beginning, and the next with that."""
    for _ in range(20):
        world.later(seconds=1)
        world.write(1)
    known = paged(world.store, EVERYTHING, 100, oldest_first=oldest_first)
    alone = [row["_id"] for row in world.rows.find({"rows": {"$exists": False}})]
    untold = [each[1] for each in known if each[1] in alone][14]
    put(world.rows, world.rows.find_one({"_id": untold}), UNTOLD["bytes of a wrong length"])
    ask, asked = log_pages.read_as_found, []

    def meanwhile(*stages, **how):
        """Have others record after all that was told, and before."""
        for hour in (world.clock.now().hour, 1, 23):
            world.clock.set(world.clock.now().replace(hour=hour))
            world.write(1)
        asked.append(stages)
        return ask(*stages, **how)

    monkeypatch.setattr(log_pages, "read_as_found", meanwhile)
    told = paged(world.store, EVERYTHING, size, oldest_first=oldest_first)

    assert asked
    assert told == sorted(set(told), reverse=oldest_first)
    assert {*known} <= {*told}

"""Documents that say one thing to the database and another to who reads them: each that has a row is named, whatever it reads as."""

from __future__ import annotations

import pytest
from bson import encode

from fhir_dmp.store.query import In
from tests.bson_bytes import array, document, element, put, text
from tests.packed_log import blocks, found

VICTIM = "Patient/victim"


@pytest.fixture
def world(packed):
    """A log of one writer with a block of twelve rows, a row alone, and a block of twelve again, sealed."""
    return packed


def texts(values):
    """Return an array of texts, as BSON has it."""
    return document(b"".join(element(2, text(each.encode()), b"%d" % at) for at, each in enumerate(values)))


def alone(world):
    """Return the row that stands alone."""
    return world.rows.find_one({"_id": world.ids[1][0]})


def twice(world):
    """Have the row alone be found by another patient, and read as it was."""
    row = alone(world)
    put(world.rows, {**row, "pt": [VICTIM]}, element(4, texts(row["pt"]), b"pt"))
    return [row["_id"]]


def twice_in_a_block(world):
    """Have a block be found by a patient that none of its rows names."""
    block = blocks(world)[0]
    put(world.rows, {**block, "pt": [VICTIM] * 12}, element(4, texts(block["pt"]), b"pt"))
    return world.ids[0]


def twice_in_a_part(world):
    """Have a row of a block be found by the patient of another."""
    block = blocks(world)[0]
    parts = [encode(part) for part in block.pop("rows")]
    inner = parts[3][4:-1]
    first = element(4, document(element(16, (4).to_bytes(4, "little"), b"0")), b"pt")
    parts[3] = document(first + inner)
    put(world.rows, block, element(4, array(parts), b"rows"))
    return world.ids[0]


def as_symbol(world):
    """Have the patient of the row alone be a symbol, which is no text to the database."""
    row = alone(world)
    patient = text(row["pt"][0].encode())
    put(world.rows, row, b"", element(2, patient, b"0"), element(14, patient, b"0"))
    return [row["_id"]]


def as_other_place(world):
    """Have the patient of the row alone stand at no place of a list."""
    row = alone(world)
    patient = text(row["pt"][0].encode())
    put(world.rows, row, b"", element(2, patient, b"0"), element(2, patient, b"7"))
    return [row["_id"]]


@pytest.mark.parametrize("tamper", [twice, twice_in_a_block, twice_in_a_part, as_symbol, as_other_place])
def test_what_the_database_reads_otherwise_than_the_verifier_is_named(world, tamper):
    """All else is as it was sealed: the same texts, chain and hashes."""
    ids = tamper(world)

    for report in (world.verify(), world.verify(index=True)):
        assert {finding.kind for finding in report.findings} == {"altered"}
        assert all(any(each in finding.text for finding in report.findings) for each in ids)


def test_the_database_finds_a_row_by_the_patient_who_is_named_first(world):
    """So that it matters: a search of theirs shows somebody else's access, or hides their own."""
    [one] = twice(world)

    assert found(world, In("pt", (VICTIM,))) == [one]
    assert found(world, In("pt", ("Patient/12",))) == []


def test_what_was_said_twice_before_it_was_sealed_is_named_after(world):
    """Who seals takes what it reads; what else is stored there was never sealed."""
    world.later(seconds=5)
    [[one]] = [world.write(1)]
    row = world.rows.find_one({"_id": one})
    put(world.rows, {**row, "pt": [VICTIM]}, element(4, texts(row["pt"]), b"pt"))
    assert [finding.kind for finding in world.verify().findings] == ["misfiled"]
    world.leader.tick()

    assert world.ledger().size() == 26
    [finding] = world.verify().findings
    assert (finding.kind, one in finding.text) == ("altered", True)


def test_a_run_that_names_two_writers_is_named(world):
    """Proofs look for the leaf of a row by the first of them."""
    run = world.seals["runs"].find_one()
    put(world.seals["runs"], {**run, "w": "nobody"}, element(2, text(run["w"].encode()), b"w"))
    assert world.ledger().place_of(world.ids[0][0])[1] is None

    assert "tree altered" in {finding.kind for finding in world.verify().findings}


def test_an_epoch_that_was_registered_at_two_times_is_named(world):
    """Who seals asks for what was registered lately by the first of them."""
    opening = world.store.log["epochs"].find_one()
    put(world.store.log["epochs"], {**opening, "at": 0}, element(18, opening["at"].to_bytes(8, "little"), b"at"))

    [finding] = world.verify().findings
    assert str(opening["_id"]) in finding.text

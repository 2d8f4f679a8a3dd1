"""The log as a file: cut and gone on with, tampered with, and verified by the server's verifier and by a stranger's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fhir_dmp.audit import export
from fhir_dmp.audit.heads import SignedHead
from fhir_dmp.service.audit_verify import lookers, verify_export
from fhir_dmp.stores.mongo.packing import unpack
from tests.sealed_world import sealed_world

STRANGER = Path(__file__).parents[1] / "stranger_verifier.py"


@pytest.fixture
def world(mongodb_uri, database_name, tmp_path):
    """A log of two writers with forty sealed events under five heads."""
    with sealed_world(mongodb_uri, database_name, tmp_path) as made:
        made.begin()
        yield made


def exported(world, first=0, number=None):
    """Return the lines of an export."""
    ledger = world.ledger()
    return export.page(ledger, first, SignedHead.from_line(ledger.head(number)), 1000).splitlines(keepends=True)


def found(world, lines):
    """Return what the verifier finds in the lines, as text."""
    bare = (line.rstrip(b"\n") for line in lines)
    return [str(finding) for finding in verify_export(bare, world.published(), lambda _: lambda _: None).findings]


def stranger(world, lines):
    """Return whether the stranger's verifier finds the lines whole, and what it says."""
    file = world.folder / "export.ndjson"
    file.write_bytes(b"".join(lines))
    words = [sys.executable, "-I", STRANGER, file, world.sink.path, world.keys.public_path]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode == 0, done.stdout


def both_find(world, lines, kind, name):
    """Assert that each verifier finds something, and that ours says what and where first."""
    told = found(world, lines)
    assert told
    assert told[0].startswith(kind), told
    assert name in told[0], told
    assert not stranger(world, lines)[0]


def change(line, **members):
    """Return the line with members of its entry changed, written as the server writes it."""
    told = json.loads(line)
    told["entry"].update(members)
    return json.dumps(told, separators=(",", ":")).encode() + b"\n"


def test_an_export_is_whole_to_its_own_and_to_a_strangers_verifier(world):
    """Forty leaves, each once, in order."""
    lines = exported(world)

    assert [json.loads(line)["leaf"] for line in lines[1:-1]] == list(range(40))
    assert found(world, lines) == []
    assert stranger(world, lines) == (True, "whole\n")


def test_the_verifiers_share_no_code():
    """The stranger imports nothing of the server's."""
    assert "fhir_dmp" not in STRANGER.read_text()


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_an_export_that_was_cut_goes_on_without_loss_or_repeat(world, cut):
    """Its parts one after the other are one export, though the log grew meanwhile."""
    begun = exported(world)[: 1 + cut]
    world.write(world.stores[0], 3)
    world.leader.tick()
    lines = [*begun, *exported(world, cut)]

    numbers = [json.loads(line)["leaf"] for line in lines if b'"hash"' in line]
    assert numbers == list(range(43))
    assert found(world, lines) == []
    assert stranger(world, lines)[0]


@pytest.mark.parametrize("bound", [{"PAGE_BYTES": 3000}, {"PAGE_BYTES": 1}, {}])
def test_pages_one_after_the_other_are_one_export(world, bound, monkeypatch):
    """Each says how far it goes and of how many leaves; none is larger than its bounds by more than a leaf."""
    for name, value in bound.items():
        monkeypatch.setattr(export, name, value)
    ledger = world.ledger()
    head, pages, told = SignedHead.from_line(ledger.head()), [], {"leaf": 0, "size": 1}
    while told["leaf"] < told["size"]:
        pages.append(export.page(ledger, told["leaf"], head, 7))
        told = json.loads(pages[-1].splitlines()[-1])
        assert told["size"] == 40
    lines = [line for page in pages for line in page.splitlines(keepends=True)]
    leaves = [[json.loads(line)["leaf"] for line in page.splitlines() if b'"hash"' in line] for page in pages]

    assert [number for page in leaves for number in page] == list(range(40))
    assert max(map(len, leaves)) == {3000: len(leaves[0]), 1: 1}.get(bound.get("PAGE_BYTES"), 7)
    assert len(leaves[0]) < 7 or not bound
    assert found(world, lines) == []
    assert stranger(world, lines)[0]


def test_a_page_that_is_not_the_last_is_no_whole_log(world):
    """Both verifiers say that more was published; so somebody who did not go on notices."""
    ledger = world.ledger()
    lines = export.page(ledger, 0, SignedHead.from_line(ledger.head()), 7).splitlines(keepends=True)

    both_find(world, lines, "tail cut", "ends at leaf 6")


@pytest.mark.parametrize("first", [1, 10, 27, 39, 40])
def test_a_part_of_the_log_verifies_by_itself(world, first):
    """Its edge stands for what comes before, and the heads hold both."""
    lines = exported(world, first)

    assert found(world, lines) == []
    assert stranger(world, lines)[0]
    forged = lines[0].replace(b'"edge":["', b'"edge":["00', 1).replace(b'00",', b'",', 1)
    assert forged == lines[0] or found(world, [forged, *lines[1:]]) != []


def test_an_edited_line_is_named(world):
    """By its event."""
    lines = exported(world)
    lines[8] = lines[8].replace(b'"read"', b'"vead"')

    both_find(world, lines, "altered", json.loads(lines[8])["entry"]["id"])


def test_an_edited_index_is_named(world):
    """What a row is found by is part of the entry."""
    lines = exported(world)
    lines[8] = change(lines[8], index={})

    both_find(world, lines, "altered", json.loads(lines[8])["entry"]["id"])


def test_a_line_that_was_taken_out_is_named(world):
    """By the number of its leaf."""
    lines = exported(world)
    del lines[8]

    both_find(world, lines, "missing", "leaf 7")


def test_a_line_that_was_put_in_is_named(world):
    """Under a number that is taken."""
    lines = exported(world)
    invented = change(lines[8], id="invented")

    both_find(world, [*lines[:9], invented, *lines[9:]], "duplicated", "leaf 7")


def test_lines_that_changed_places_are_named(world):
    """Both verifiers see it; ours says that it is the order alone."""
    lines = exported(world)
    lines[8], lines[9] = lines[9], lines[8]

    both_find(world, lines, "reordered", "leaf 7")


@pytest.mark.parametrize("last", [b"", b'{"leaf":30,"head":5}\n'])
def test_a_cut_tail_is_found_back_to_the_head_that_the_export_names(world, last):
    """Or to the last published one, if it names none."""
    lines = [*exported(world)[:31], *([last] if last else [])]

    both_find(world, lines, "tail cut", "head 5")


def test_an_export_cut_to_an_earlier_head_is_an_older_export(world):
    """It is whole, and the verifier says how many heads are later; a demand for the last one finds it short."""
    lines = [line.rstrip(b"\n") for line in exported(world, number=4)]
    lenient = verify_export(lines, world.published(), lambda _: lambda _: None)
    strict = verify_export(lines, world.published(), lambda _: lambda _: None, to_the_last=True)

    assert (lenient.findings, lenient.later, lenient.newest.number) == ([], 1, 4)
    assert stranger(world, exported(world, number=4))[0]
    assert [finding.kind for finding in strict.findings] == ["tail cut"]


def test_lines_numbered_and_hashed_anew_meet_the_signed_heads(world):
    """A row is taken out and all that follow get new numbers: chains are broken, and no root fits."""
    lines = exported(world)
    kept = [*lines[:8], *lines[9:-1]]
    told = [json.loads(line) for line in kept[1:]]
    renumbered = [
        line.replace(b'"leaf":%d,' % each["leaf"], b'"leaf":%d,' % number, 1)
        for number, (line, each) in enumerate(zip(kept[1:], told, strict=True))
    ]

    assert any("tree altered" in each for each in found(world, [kept[0], *renumbered]))
    assert not stranger(world, [kept[0], *renumbered])[0]


def test_an_export_of_a_tampered_database_names_the_row(world):
    """The tree's hash goes along, so that a stranger sees which row it was."""
    edited = world.rows.find_one({"n": 7})
    world.rows.update_one({"_id": edited["_id"]}, {"$set": {"b": unpack(edited["b"]).replace(b"read", b"vead")}})

    both_find(world, exported(world), "altered", edited["_id"])


@pytest.mark.parametrize("left", [slice(-3), slice(1), slice(0)])
def test_an_export_of_a_database_that_has_a_damaged_row_names_its_place(world, left):
    """What a fault of a disk leaves of a packed row is no JSON: the export goes on, and every line of it can be read."""
    damaged = world.rows.find_one({"n": 7})
    world.rows.update_one({"_id": damaged["_id"]}, {"$set": {"b": damaged["b"][left]}})

    both_find(world, exported(world), "missing", f"{damaged['w']}/{damaged['e']}/7")


def test_an_export_of_a_database_that_lacks_a_row_names_its_place(world):
    """Writer, epoch and number."""
    deleted = world.rows.find_one_and_delete({"n": 7})

    both_find(world, exported(world), "missing", f"{deleted['w']}/{deleted['e']}/7")


def test_several_processes_find_in_lines_what_one_finds(world, monkeypatch):
    """Windows of a few lines, in one of which a line lacks and in another one is altered."""
    monkeypatch.setattr("fhir_dmp.audit.export.WINDOW", 6)
    lines = [line.rstrip(b"\n") for line in exported(world)]
    with lookers(2) as looking:
        whole = verify_export(lines, world.published(), lambda _: lambda _: None, looking, index=True)
        lines[8] = lines[8].replace(b'"read"', b'"vead"')
        del lines[20]
        told = verify_export(lines, world.published(), lambda _: lambda _: None, looking)

        assert (whole.findings, whole.leaves, whole.newest.number) == ([], 40, 5)
        assert [finding.kind for finding in told.findings][:2] == ["altered", "missing"]
        assert told == verify_export(lines, world.published(), lambda _: lambda _: None)
        with pytest.raises(ValueError, match="Line 14"):
            verify_export([*lines[:13], b"[]", *lines[14:]], world.published(), lambda _: lambda _: None, looking)


def test_what_is_no_export_is_refused_in_words(world):
    """A file of something else."""
    with pytest.raises(ValueError, match="Line 1"):
        found(world, [b"hello\n"])
    with pytest.raises(ValueError, match="Line 3"):
        found(world, [*exported(world)[:2], b"[]\n"])

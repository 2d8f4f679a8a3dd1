"""Rows as they lie in the database: what was packed comes back letter for letter, and what was not comes back as it lies there."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_dmp.stores.mongo import packing
from fhir_dmp.stores.mongo.packing import pack, unpack
from tests.unit.audit.world import EHR, FAILURES, SUCCESSES, row

ROWS = [row(act, EHR).body for act in (*SUCCESSES.values(), *FAILURES.values())]


def test_a_row_of_each_kind_of_act_comes_back_letter_for_letter():
    """And takes less room than before."""
    packed = pack(ROWS)

    assert [unpack(each) for each in packed] == ROWS
    assert sum(map(len, packed)) < sum(map(len, ROWS)) / 2


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=5))
def test_whatever_was_packed_comes_back(texts):
    """Not rows alone."""
    assert [unpack(each) for each in pack(texts)] == texts


def test_a_row_of_an_earlier_release_is_read_as_it_is():
    """It lies there as text."""
    assert [unpack(each) for each in ROWS] == ROWS


@pytest.mark.parametrize(
    "damage", [lambda each: each[:-3], lambda each: each[:1], lambda each: each[:1] + b"{}", lambda _: b""]
)
def test_what_cannot_be_unpacked_is_returned_as_it_lies_there(damage):
    """The verifier names its row then: its hash is another."""
    damaged = damage(pack(ROWS)[0])

    assert unpack(damaged) == damaged


def test_a_frame_that_would_unpack_to_more_than_a_row_can_be_is_not_unpacked(monkeypatch):
    """Whoever writes into the database fills nobody's memory by it."""
    bomb = pack([b"a" * 1_000_000])[0]
    monkeypatch.setattr(packing, "LARGEST", 1000)

    assert unpack(bomb) == bomb


def test_rows_are_unpacked_by_several_threads_at_once():
    """Each has a reader of its own."""
    packed = pack(ROWS * 50)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(unpack, packed, chunksize=20)) == ROWS * 50


def test_the_text_that_rows_are_packed_beside_stays_as_it_is():
    """Rows that lie there cannot be read without it: another text needs another number."""
    assert (
        hashlib.sha256(packing._TEXT).hexdigest() == "9daf56f619fdbe4c4c62afbeedfe1c14434296a56b21840a073661ac1b26ff24"
    )

"""Any one change of any document of the log, by chance and the same in each run: it is named, or changes nothing of what is told."""

from __future__ import annotations

import random

import pytest
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

from fhir_dmp.store.query import EVERYTHING, In
from tests.bson_tree import changed
from tests.contract.test_log_pages import both_kinds, paged
from tests.packed_log import Log
from tests.sealed_world import sealed_world

QUERIES = (both_kinds(EVERYTHING), In("pt", ("Patient/3", "Patient/12", "Patient/20")), In("u", ("s=read",)))
CHANGES = 60


@pytest.fixture
def world(mongodb_uri, new_database_name, tmp_path):
    """A sealed log with a block of twelve rows, a row alone, and a block of twelve again. Who can write a list can drop what refuses it."""
    with sealed_world(mongodb_uri, new_database_name, tmp_path) as made:
        log = Log(made)
        log.sealer().tick()
        for index in ("t_1_rec_-1", "pt_1_rec_-1", "rec_-1__id_1", "at_1", "w_1_e_1_n_1"):
            log.rows.drop_index(index)
        yield log


def told(world):
    """Return what pages tell, once they and totals are held to each other."""
    pages = []
    for query in QUERIES:
        whole = paged(world.store, query, 100)
        assert paged(world.store, query, 4, oldest_first=True) == whole[::-1]
        assert world.store.count_events(query).told == len(whole)
        assert sum(each.count for each in world.store.tally_events(query, 1000)) == len(whole)
        pages.append(whole)
    return pages


@pytest.mark.parametrize("seed", range(3))
def test_any_change_is_named_or_changes_nothing_and_is_told_by_pages_as_it_is_counted(world, seed):
    """A document that the verifier takes for whole is told as it was."""
    chance = random.Random(seed)
    rows = world.rows.with_options(CodecOptions(document_class=RawBSONDocument))
    documents, before = [bytes(each.raw) for each in rows.find().sort("n")], told(world)
    for _ in range(CHANGES):
        stored = chance.choice(documents)
        tampered, how = changed(chance, stored)
        own = RawBSONDocument(stored)["_id"]
        rows.delete_one({"_id": own})
        rows.insert_one(RawBSONDocument(tampered))
        try:
            findings, now = world.verify().findings, told(world)
        except BaseException as fault:
            raise AssertionError(f"{how}: {fault!r}") from fault
        assert (how, bool(findings) or now == before) == (how, True)
        rows.delete_one({"_id": own})
        rows.insert_one(RawBSONDocument(stored))

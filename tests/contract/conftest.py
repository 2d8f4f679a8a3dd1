"""Stores and logs on the run's MongoDB that several files of tests begin with."""

from __future__ import annotations

import pytest

from fhir_dmp.settings import Settings
from fhir_dmp.stores.mongo.store import MongoStore
from tests.contract.changes import CLOCK
from tests.packed_log import Log
from tests.sealed_world import sealed_world


@pytest.fixture
def forty(mongodb_uri, database_name, tmp_path):
    """A log of two writers with forty sealed events under five heads."""
    with sealed_world(mongodb_uri, database_name, tmp_path) as made:
        made.begin()
        assert made.verify(index=True).findings == []
        yield made


@pytest.fixture
def waiting(mongodb_uri, database_name, tmp_path):
    """A log of one writer with a block of twelve rows, a row alone, and a block of twelve again; nothing of it is sealed."""
    with sealed_world(mongodb_uri, database_name, tmp_path) as made:
        yield Log(made)


@pytest.fixture
def packed(waiting):
    """The same, sealed by its ``leader``."""
    waiting.world.leader = waiting.sealer()
    waiting.leader.tick()
    assert waiting.verify(index=True).findings == []
    return waiting


@pytest.fixture
def unlisted(mongodb_uri, new_database_name, tmp_path):
    """A sealed log with a block of twelve rows, a row alone, and a block of twelve again. Who can write a list can drop what refuses it."""
    with sealed_world(mongodb_uri, new_database_name, tmp_path) as made:
        log = Log(made)
        log.sealer().tick()
        for index in ("t_1_rec_-1", "pt_1_rec_-1"):
            log.rows.drop_index(index)
        yield log


@pytest.fixture
def store(mongodb_uri, database_name):
    """An empty store."""
    made = MongoStore.connect(mongodb_uri, database_name, clock=CLOCK, settings=Settings())
    yield made
    made.close()

"""The tree beside the heads: what of it is gone or altered is named by the verifier, and told by who would go by it."""

from __future__ import annotations

import pytest

from fhir_dmp.audit.export import page
from fhir_dmp.audit.heads import SignedHead
from fhir_dmp.errors import Damaged
from fhir_dmp.service.seal_state import SealError
from tests.sealed_world import sealed_world

EVENTS = 2 * 256 + 40


@pytest.fixture
def world(mongodb_uri, database_name, tmp_path):
    """A log with three tiles of leaves and one above."""
    with sealed_world(mongodb_uri, database_name, tmp_path) as made:
        store = made.writer()
        made.stores = [store]
        handing, made.leader = made.handing(store), made.sealer()
        made.write(store, EVENTS)
        handing.tick()
        made.leader.tick()
        assert made.verify().findings == []
        assert made.ledger().size() == EVENTS
        yield made


def exported(world, first):
    """Return a page of the log from that leaf on."""
    ledger = world.ledger()
    return page(ledger, first, SignedHead.from_line(ledger.head()), 10)


def test_a_tree_that_is_gone_is_named_and_told_by_exports(world):
    """Entries alone make up the heads, and so nothing of them is wrong: whoever goes on from the tree stands still."""
    world.seals["tiles"].delete_many({})

    assert {finding.kind for finding in world.verify().findings} == {"tree altered"}
    with pytest.raises(Damaged, match="audit verify"):
        exported(world, 5)
    assert exported(world, 0)
    world.leader.release()
    with pytest.raises(SealError, match="audit verify"):
        world.sealer().tick()


@pytest.mark.parametrize("tile", ["0/0", "0/1", "0/2", "1/0"])
@pytest.mark.parametrize("left", [None, 0, 5, slice(16), slice(-16), slice(-32)], ids=str)
def test_a_tile_that_lacks_hashes_is_named(world, tile, left):
    """Gone, emptied, of another type, cut, within a hash too: of the leaves and above."""
    content = world.seals["tiles"].find_one({"_id": tile})["b"]
    kept = {None: "x", 0: b"", 5: 5}[left] if not isinstance(left, slice) else content[left]
    world.seals["tiles"].update_one({"_id": tile}, {"$set": {"b": kept}})

    kinds = {finding.kind for finding in world.verify().findings}
    assert "tree altered" in kinds
    assert kinds <= {"tree altered", "altered"}


@pytest.mark.parametrize("tile", ["0/2", "1/0"])
@pytest.mark.parametrize("more", [b"x", b"x" * 32, b"x" * 8192])
def test_a_tile_that_holds_more_than_its_leaves_is_named(world, tile, more):
    """Whoever takes over sealing refuses to go on from it, and points at the verifier."""
    content = world.seals["tiles"].find_one({"_id": tile})["b"]
    world.seals["tiles"].update_one({"_id": tile}, {"$set": {"b": content + more}})

    (finding,) = world.verify().findings
    assert finding.kind == "tree altered"
    assert f"tile {tile} " in finding.text


def test_a_tile_above_the_leaves_that_was_altered_is_named(world):
    """Proofs and exports by it would prove nothing."""
    content = world.seals["tiles"].find_one({"_id": "1/0"})["b"]
    world.seals["tiles"].update_one({"_id": "1/0"}, {"$set": {"b": content[:32] + b"x" * 32}})

    (finding,) = world.verify().findings
    assert finding.text == "tile 1/0 of the tree is not what tile 0/1 makes it"

"""The tree of RFC 9162 against its definition, written out recursively."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_dmp.audit.merkle import (
    EMPTY,
    Frontier,
    Tree,
    consistency_ranges,
    edge_tiles,
    inclusion_ranges,
    leaf_hash,
    range_hash,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [leaf_hash(str(number).encode()) for number in range(70_000)]
sizes = st.one_of(st.integers(1, 40), st.integers(1, 1500))


def digest(data):
    return hashlib.sha256(data).digest()


def split(leaves):
    """Return the largest power of two below the number of leaves."""
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return half


def mth(leaves):
    """MTH of RFC 9162, 2.1.1, over hashes of leaves."""
    if not leaves:
        return digest(b"")
    if len(leaves) == 1:
        return leaves[0]
    half = split(leaves)
    return digest(b"\x01" + mth(leaves[:half]) + mth(leaves[half:]))


def path(index, leaves):
    """PATH of RFC 9162, 2.1.3.1."""
    if len(leaves) == 1:
        return []
    half = split(leaves)
    if index < half:
        return [*path(index, leaves[:half]), mth(leaves[half:])]
    return [*path(index - half, leaves[half:]), mth(leaves[:half])]


def subproof(old, leaves, whole):
    """SUBPROOF of RFC 9162, 2.1.4.1."""
    if old == len(leaves):
        return [] if whole else [mth(leaves)]
    half = split(leaves)
    if old <= half:
        return [*subproof(old, leaves[:half], whole), mth(leaves[half:])]
    return [*subproof(old - half, leaves[half:], False), mth(leaves[:half])]


def grown(size, batch):
    """Return the tree and all its tiles after growing by batches."""
    tree, tiles = Tree(0, {}), {}
    for first in range(0, size, batch):
        tiles.update(tree.append(LEAVES[first : min(first + batch, size)]))
    return tree, tiles


@given(sizes, st.integers(1, 600))
def test_however_it_grows_a_tree_has_the_root_of_its_leaves(size, batch):
    """By batches with tiles, leaf by leaf and by batches at the frontier, and by the definition: one root."""
    tree, _ = grown(size, batch)
    frontier, by_batches = Frontier(), Frontier()
    for leaf in LEAVES[:size]:
        frontier.append(leaf)
    for first in range(0, size, batch):
        by_batches.extend(LEAVES[first : min(first + batch, size)])

    assert tree.root() == frontier.root() == by_batches.root() == mth(LEAVES[:size])
    assert tree.size == frontier.size == by_batches.size == size


@given(sizes, st.integers(1, 600), st.integers(0, 600))
def test_a_tree_goes_on_from_its_edge_alone(size, batch, more):
    """Whoever takes over reads one short tile of each level."""
    _, tiles = grown(size, batch)
    taken_over = Tree(size, {tile: tiles[tile] for tile in edge_tiles(size) if tile in tiles})

    taken_over.append(LEAVES[size : size + more])

    assert taken_over.root() == mth(LEAVES[: size + more])


@given(st.data(), sizes)
def test_an_inclusion_proof_is_the_path_of_the_definition_and_holds(data, size):
    """Made from tiles alone; any other leaf, place, root or path fails."""
    index = data.draw(st.integers(0, size - 1))
    _, tiles = grown(size, 300)
    proof = [range_hash(leaves, tiles.__getitem__) for leaves in inclusion_ranges(index, size)]
    root = mth(LEAVES[:size])

    assert proof == path(index, LEAVES[:size])
    assert verify_inclusion(LEAVES[index], index, size, proof, root)
    assert not verify_inclusion(LEAVES[index + 1], index, size, proof, root)
    assert not verify_inclusion(LEAVES[index], index, size, [*proof, root], root)
    assert not verify_inclusion(LEAVES[index], index, size, proof, EMPTY)
    assert not verify_inclusion(LEAVES[index], size, size, proof, root)
    if proof:
        assert not verify_inclusion(LEAVES[index], index, size, proof[:-1], root)


@given(st.data(), sizes)
def test_a_consistency_proof_is_the_proof_of_the_definition_and_holds(data, size):
    """From any smaller tree to the larger one; another root on either side fails."""
    old = data.draw(st.integers(1, size))
    _, tiles = grown(size, 300)
    proof = [range_hash(leaves, tiles.__getitem__) for leaves in consistency_ranges(old, size)]
    old_root, new_root = mth(LEAVES[:old]), mth(LEAVES[:size])

    assert proof == subproof(old, LEAVES[:size], True)
    assert verify_consistency(old, size, old_root, new_root, proof)
    assert not verify_consistency(old, size, EMPTY, new_root, proof)
    assert not verify_consistency(old, size, old_root, EMPTY, proof)
    assert not verify_consistency(old, size, old_root, new_root, [*proof, EMPTY])


def test_every_small_tree_grows_into_every_larger_one():
    """All pairs up to 40 leaves, without chance."""
    _, tiles = grown(40, 7)
    for new in range(1, 41):
        for old in range(new + 1):
            proof = [range_hash(leaves, tiles.__getitem__) for leaves in consistency_ranges(old, new)]
            assert verify_consistency(old, new, mth(LEAVES[:old]), mth(LEAVES[:new]), proof), (old, new)


def test_three_levels_of_tiles_prove_like_one():
    """Beyond 65,536 leaves a third level begins."""
    size = 66_001
    tree, tiles = grown(size, 10_000)
    root = tree.root()

    assert max(tile.level for tile in tiles) == 2
    for index in (0, 255, 256, 65_535, 65_536, size - 1):
        proof = [range_hash(leaves, tiles.__getitem__) for leaves in inclusion_ranges(index, size)]
        assert verify_inclusion(LEAVES[index], index, size, proof, root)


def test_proofs_of_what_is_not_there_are_refused():
    """A leaf outside of the tree, a tree that shrinks."""
    with pytest.raises(ValueError, match="no leaf"):
        inclusion_ranges(5, 5)
    with pytest.raises(ValueError, match="does not grow"):
        consistency_ranges(6, 5)

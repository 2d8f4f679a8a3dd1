"""The Merkle tree over the log's entries: hashes, proofs and their verification. https://www.rfc-editor.org/rfc/rfc9162#section-2.1.

Nothing here reads a database: a proof is first a list of ranges of leaves, each made of complete subtrees (``Node``), and whoever
has the hashes of those fills it in. Hashes are SHA-256, 32 bytes. Hashes are kept in tiles: tile ``(t, i)`` holds those of the
nodes ``256 i`` to ``256 i + 255`` at height ``8 t``, one after the other; the last tile of a height may be short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256 as _sha256
from typing import NamedTuple

HASH_BYTES = 32
TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
EMPTY = _sha256(b"").digest()
"""The root of the tree without leaves."""

Range = tuple[int, int]
"""Leaves from the first number up to, without, the second."""


class Node(NamedTuple):
    """A complete subtree: ``2**height`` leaves from ``place * 2**height`` on."""

    height: int
    place: int


class Tile(NamedTuple):
    """The place of a tile: ``level`` 0 holds hashes of leaves."""

    level: int
    place: int


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of a leaf."""
    return _sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return _sha256(b"\x01" + left + right).digest()


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """Return the ranges whose hashes prove the leaf, from the leaf upwards. Section 2.1.3.1."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    low, high = 0, size
    ranges = []
    while high - low > 1:
        middle = low + _half(high - low)
        ranges.append((middle, high) if index < middle else (low, middle))
        low, high = (low, middle) if index < middle else (middle, high)
    return ranges[::-1]


def consistency_ranges(old: int, new: int) -> list[Range]:
    """Return the ranges whose hashes prove that the smaller tree begins the larger one. Section 2.1.4.1."""
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} leaves does not grow from one of {old}")
    if old in (0, new):
        return []
    low, high, whole = 0, new, True
    ranges = []
    while high != old:
        middle = low + _half(high - low)
        if old <= middle:
            ranges.append((middle, high))
            high = middle
        else:
            ranges.append((low, middle))
            low, whole = middle, False
    return ranges[::-1] if whole else [(low, high), *ranges[::-1]]


def subtrees(leaves: Range) -> list[Node]:
    """Return the complete subtrees that the range is made of, the largest first; the range begins where RFC 9162 splits."""
    low, high = leaves
    nodes = []
    while low < high:
        height = (high - low).bit_length() - 1
        nodes.append(Node(height, low >> height))
        low += 1 << height
    return nodes


def fold(hashes: Sequence[bytes]) -> bytes:
    """Return the hash of a range from those of its subtrees, the largest first."""
    if not hashes:
        return EMPTY
    folded = hashes[-1]
    for left in reversed(hashes[:-1]):
        folded = node_hash(left, folded)
    return folded


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Tell whether the path proves that the tree with this root holds the leaf's hash there. Section 2.1.3.2."""
    if not 0 <= index < size:
        return False
    number, last, found = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if number & 1 or number == last:
            found = node_hash(sibling, found)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        number, last = number >> 1, last >> 1
    return last == 0 and found == root


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Tell whether the path proves that the smaller tree begins the larger one. Section 2.1.4.2."""
    if not 0 <= old <= new:
        return False
    if old in (0, new):
        return not path and (old_root == new_root if old == new else old_root == EMPTY)
    hashes = [old_root, *path] if old & (old - 1) == 0 else list(path)
    if not hashes:
        return False
    number, last = old - 1, new - 1
    while number & 1:
        number, last = number >> 1, last >> 1
    older = newer = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            return False
        if number & 1 or number == last:
            older, newer = node_hash(sibling, older), node_hash(sibling, newer)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            newer = node_hash(newer, sibling)
        number, last = number >> 1, last >> 1
    return last == 0 and older == old_root and newer == new_root


class Frontier:
    """The right edge of a growing tree: enough for its root, in constant memory.

    ``edge`` are the hashes of the complete subtrees that the tree begins with, the largest first.
    """

    def __init__(self, size: int = 0, edge: Sequence[bytes] = ()) -> None:
        self.size = size
        self._edge = list(edge)

    def append(self, leaf: bytes) -> None:
        """Add the hash of one leaf."""
        self.extend((leaf,))

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Add the hashes of leaves, in their order."""
        size, hashes, single = self.size, leaves, []
        while hashes:
            if size & 1:
                hashes = [self._edge.pop(), *hashes]
            if len(hashes) & 1:
                single.append(hashes[-1])
            hashes = _pairs(hashes)
            size >>= 1
        self._edge.extend(reversed(single))
        self.size += len(leaves)

    def root(self) -> bytes:
        """Return the hash of the tree as it is."""
        return fold(self._edge)


def tile_of(node: Node) -> Tile:
    """Return the tile that the node's hash is found in, or made from."""
    level, above = divmod(node.height, TILE_HEIGHT)
    return Tile(level, (node.place << above) >> TILE_HEIGHT)


def in_tile(node: Node, content: bytes) -> bytes:
    """Return the node's hash from what its tile holds; raise ``ValueError`` if that is too short."""
    above = node.height % TILE_HEIGHT
    first = (node.place << above) % TILE_WIDTH
    hashes = _hashes(content)[first : first + (1 << above)]
    if len(hashes) != 1 << above:
        raise ValueError(f"the tile lacks hashes of {node}")
    return _complete(hashes)


def edge_tiles(size: int) -> list[Tile]:
    """Return the last tile of each level, the leaves' first; one that would be empty is named too."""
    tiles: list[Tile] = []
    while size:
        tiles.append(Tile(len(tiles), size >> TILE_HEIGHT))
        size >>= TILE_HEIGHT
    return tiles


def range_hash(leaves: Range, tiles: Callable[[Tile], bytes]) -> bytes:
    """Return the hash of a range that RFC 9162 splits into, from tiles."""
    return fold([in_tile(node, tiles(tile_of(node))) for node in subtrees(leaves)])


def tiles_of(ranges: Iterable[Range]) -> set[Tile]:
    """Return the tiles that the hashes of these ranges are made from."""
    return {tile_of(node) for leaves in ranges for node in subtrees(leaves)}


def tile_hash(content: bytes) -> bytes:
    """Return the hash of the subtree that a full tile holds."""
    return _complete(_hashes(content))


class Tree:
    """A tree that grows by batches and says which tiles a batch changes.

    It begins from what the short tiles at its right edge hold (those of ``edge_tiles``), and keeps nothing else.
    """

    def __init__(self, size: int, edge: Mapping[tuple[int, int], bytes]) -> None:
        self.size = size
        self._edge = [edge.get(tile, b"") for tile in edge_tiles(size)]

    def append(self, leaves: Sequence[bytes]) -> dict[tuple[int, int], bytes]:
        """Add the hashes of leaves; return what the changed tiles hold now."""
        changed: dict[tuple[int, int], bytes] = {}
        level, hashes = 0, leaves
        while hashes:
            hashes, level = self._push(level, hashes, changed), level + 1
        self.size += len(leaves)
        return changed

    def root(self) -> bytes:
        """Return the hash of the tree as it is."""
        nodes = [
            in_tile(node, content)
            for content in reversed(self._edge)
            for node in subtrees((0, len(content) // HASH_BYTES))
        ]
        return fold(nodes)

    def _push(self, level: int, hashes: Sequence[bytes], changed: dict[tuple[int, int], bytes]) -> list[bytes]:
        """Add hashes to a level; return those of the tiles that became full."""
        if level == len(self._edge):
            self._edge.append(b"")
        index = (self.size >> TILE_HEIGHT * level) >> TILE_HEIGHT
        full = []
        while hashes:
            room = TILE_WIDTH - len(self._edge[level]) // HASH_BYTES
            content = self._edge[level] + b"".join(hashes[:room])
            changed[Tile(level, index)] = content
            hashes = hashes[room:]
            if len(content) == TILE_WIDTH * HASH_BYTES:
                full.append(_complete(_hashes(content)))
                index, content = index + 1, b""
            self._edge[level] = content
        return full


def _half(leaves: int) -> int:
    """Return the largest power of two below the number, which is above 1."""
    return 1 << (leaves - 1).bit_length() - 1


def _hashes(content: bytes) -> list[bytes]:
    return [content[at : at + HASH_BYTES] for at in range(0, len(content), HASH_BYTES)]


def _complete(hashes: list[bytes]) -> bytes:
    """Return the hash of a complete subtree from those of its leaves or nodes."""
    while len(hashes) > 1:
        hashes = _pairs(hashes)
    return hashes[0]


def _pairs(hashes: Sequence[bytes]) -> list[bytes]:
    """Return the hashes of the nodes above; a last one without a partner has none."""
    return [_sha256(b"\x01" + left + right).digest() for left, right in zip(hashes[::2], hashes[1::2], strict=False)]

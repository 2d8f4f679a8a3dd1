"""The tree as it is stored: its hashes and its heads for exports and proofs, and whether they are there at all.

Tiles are not signed. Those of the leaves are compared with the entries, one by one (``audit.verify``); those above are made of them, and
whoever exports from a leaf on, proves an event or seals the next ones goes by them. Heads are signed, and published: what ``$head`` and
proofs answer with are those that are stored beside the tiles.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain as chained

from fhir_dmp.audit.heads import BrokenHeadError, HeadChain, SignedHead
from fhir_dmp.audit.merkle import (
    HASH_BYTES,
    TILE_WIDTH,
    Range,
    Tile,
    edge_tiles,
    in_tile,
    range_hash,
    subtrees,
    tile_hash,
    tile_of,
    tiles_of,
)
from fhir_dmp.errors import Damaged
from fhir_dmp.store.ledger import Ledger

_LACKING = "The tree of the log lacks hashes that were sealed: fhir-dmp audit verify tells which."


def range_hashes(ledger: Ledger, ranges: Sequence[Range]) -> list[bytes]:
    """Return the hashes of these ranges of leaves; raise ``Damaged`` if the tree lacks one."""
    tiles = ledger.tiles(list(tiles_of(ranges)))
    try:
        return [range_hash(leaves, tiles.__getitem__) for leaves in ranges]
    except (LookupError, ValueError):
        raise Damaged(_LACKING) from None


def edge_of(ledger: Ledger, size: int) -> list[bytes]:
    """Return the hashes of the complete subtrees of the first leaves, the largest first; raise ``Damaged`` if the tree lacks one."""
    nodes = subtrees((0, size))
    tiles = ledger.tiles([tile_of(node) for node in nodes])
    try:
        return [in_tile(node, tiles.get(tile_of(node), b"")) for node in nodes]
    except ValueError:
        raise Damaged(_LACKING) from None


def stored_size(ledger: Ledger) -> int:
    """Return the size of the last head that is stored; none, if that is no head."""
    try:
        return SignedHead.from_line(ledger.head() or b"").head.size
    except BrokenHeadError:
        return 0


def wrong_heads(ledger: Ledger, published: Iterable[bytes], chain: HeadChain) -> Iterator[str]:
    """Yield what is wrong with the heads that are stored: the first of the published ones (lines, in order) that is not stored as it was.

    Those after, which are not published yet, follow on the last of them, to which the ``chain`` was read; that is read on.
    """
    for own in ledger.odd_heads():
        yield f"{own} is stored among the heads, and is none"
    lines = iter(published)
    first = next(lines, None)
    if first is None:
        return
    since = SignedHead.from_line(first).head.number
    stored = ledger.heads(since - 1)
    for number, line in enumerate(chained((first,), lines), since):
        if next(stored, None) != line:
            yield f"head {number} is not stored as it was published"
            return
    try:
        for _ in chain.read(stored):
            pass
    except BrokenHeadError as fault:
        yield f"of what is stored after the published heads, {fault}"


def wrong_tiles(ledger: Ledger, size: int) -> Iterator[str]:
    """Yield what is wrong with the tiles of a tree of so many leaves, but for those of the leaves themselves, as far as they go."""
    level, below = 1, size // TILE_WIDTH
    while below:
        for first in range(0, below, TILE_WIDTH):
            yield from _wrong_above(
                ledger, Tile(level, first // TILE_WIDTH), range(first, min(first + TILE_WIDTH, below))
            )
        level, below = level + 1, below // TILE_WIDTH
    yield from _too_long(ledger, size)


def _wrong_above(ledger: Ledger, tile: Tile, places: range) -> Iterator[str]:
    """Yield a tile that does not hold what those below make; of one below that is not whole another line tells."""
    below = [Tile(tile.level - 1, place) for place in places]
    stored = ledger.tiles([tile, *below])
    own = stored.get(tile, b"")
    for at, each in enumerate(below):
        content = stored.get(each, b"")
        if len(content) != TILE_WIDTH * HASH_BYTES:
            continue
        if tile_hash(content) != own[at * HASH_BYTES : (at + 1) * HASH_BYTES]:
            yield f"tile {tile.level}/{tile.place} of the tree is not what tile {each.level}/{each.place} makes it"
            return


def _too_long(ledger: Ledger, size: int) -> Iterator[str]:
    """Yield the tiles at the edge of the tree that hold more than it has by now: whoever seals would go on from that."""
    tiles = edge_tiles(size)
    stored = ledger.tiles(tiles)
    now = stored_size(ledger)
    for tile in tiles:
        most = (now // TILE_WIDTH**tile.level - TILE_WIDTH * tile.place) * HASH_BYTES
        if len(stored.get(tile, b"")) > max(most, 0):
            yield f"tile {tile.level}/{tile.place} of the tree holds more than its leaves"

"""The log as a file that anybody can verify: lines of JSON, each a leaf of the tree, in the order of the leaves.

==========================================  ========================================================================
``{"log":…,"leaf":N,"edge":[…]}``           first line: where the export begins, and the hashes (hex) of the complete
                                            subtrees that leaves 0 to N-1 make, the largest first
``{"leaf":N,"hash":…,"entry":{…}}``         a leaf: its number for ever, its hash in the tree (hex), and its entry
                                            (``audit.entry``): the hash is SHA-256 of a zero byte and the entry's bytes
``{"leaf":N,"hash":…,"entry":null,…}``      a leaf whose row is not there, or no JSON: ``place`` (``w/e/n``) and ``period`` say whose
``{"leaf":N,"head":M,"size":S}``            last line: the leaves up to, without, ``N`` were told, and head ``M`` holds ``S``
==========================================  ========================================================================

It leaves by pages. What ends without a last line was cut, and what ends with ``N`` below ``S`` is not all: both go on from the number
after the last whole line. The parts, one after the other, are one export again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import msgspec
from msgspec import Struct, field

from fhir_dmp.audit.heads import SignedHead
from fhir_dmp.audit.look import WINDOW, Leaf, Seen, look
from fhir_dmp.audit.tiles import edge_of
from fhir_dmp.audit.walk import leaves
from fhir_dmp.fhir import codec
from fhir_dmp.store.ledger import Ledger

PAGE_BYTES = 4 * 1024 * 1024
"""A page ends with the leaf that reaches this: what a slow reader has not taken yet waits in memory."""


def page(
    ledger: Ledger, first: int, head: SignedHead, most: int, room: Callable[[Leaf], bool] = lambda _: True
) -> bytes:
    """Return the lines of a page from the leaf ``first`` on: ``most`` leaves at most, and none beyond the head.

    It ends before a leaf for which there is no ``room``. Raises ``ValueError`` if it would begin beyond the head, ``Damaged`` if the tree lacks
    what proves its beginning.
    """
    size = head.head.size
    if not 0 <= first <= size:
        raise ValueError(f"the log has {size} leaves: it cannot go on from {first}")
    edge = [digest.hex() for digest in edge_of(ledger, first)]
    lines = [codec.dumps({"log": head.head.origin, "leaf": first, "edge": edge}) + b"\n"]
    left, end = PAGE_BYTES, first
    for leaf in leaves(ledger, first, min(first + most, size)):
        if not room(leaf):
            break
        lines.append(line_of(leaf))
        left, end = left - len(lines[-1]), leaf.number + 1
        if left <= 0:
            break
    lines.append(codec.dumps({"leaf": end, "head": head.head.number, "size": size}) + b"\n")
    return b"".join(lines)


def line_of(leaf: Leaf) -> bytes:
    """Return the line of one leaf, with its end."""
    digest = leaf.hash.hex() if leaf.hash else ""
    if leaf.entry is None or not _is_a_line(leaf.entry):
        absent = {"leaf": leaf.number, "hash": digest, "entry": None, "place": leaf.place, "period": leaf.period}
        return codec.dumps(absent) + b"\n"
    return b'{"leaf":%d,"hash":"%b","entry":%b}\n' % (leaf.number, digest.encode(), leaf.entry)


def _is_a_line(entry: bytes) -> bool:
    """Tell whether the entry can stand in a line: a row that was damaged where it lies packed is no JSON any more."""
    try:
        entry.decode()
        _one.decode(entry)
    except ValueError:
        return False
    return b"\n" not in entry


_one = msgspec.json.Decoder(msgspec.Raw)


class _Line(msgspec.Struct):
    leaf: int
    log: str | None = None
    edge: list[str] | None = None
    hash: str = ""
    entry: msgspec.Raw = msgspec.Raw(b"null")
    place: str = ""
    period: str = ""
    head: int | None = None

    @property
    def digest(self) -> bytes | None:
        return bytes.fromhex(self.hash) or None


_decoder = msgspec.json.Decoder(_Line)


class Exported(Struct):
    """An export that is read: ``first`` and ``edge`` once ``begin`` was called, ``head`` at its last line, if that names one."""

    lines: Iterator[bytes]
    first: int = 0
    edge: list[bytes] = field(default_factory=list)
    head: int | None = None

    @classmethod
    def begin(cls, lines: Iterable[bytes]) -> Exported:
        """Read the first line; raise ``ValueError`` if it is not that of an export."""
        made = cls(iter(lines))
        line = _line(next(made.lines, b"{}"), 1)
        if line.edge is None:
            raise ValueError("Line 1 is not the first line of an export.")
        made.first, made.edge = line.leaf, [bytes.fromhex(digest) for digest in line.edge]
        return made

    def windows(self, *, index: bool) -> Iterator[Lines]:
        """Yield the leaves a window at a time; reading them raises ``ValueError`` naming a line that is none.

        ``index`` says what is looked at of each.
        """
        number = 2
        while lines := list(islice(self.lines, WINDOW)):
            self.head = _line(lines[-1], number + len(lines) - 1).head
            yield Lines(lines, number, index)
            number += len(lines)


class Lines(Struct, frozen=True):
    """A window of leaves as lines of an export, the first of which has this ``number``."""

    lines: Sequence[bytes]
    number: int
    index: bool

    def look(self) -> Seen | None:
        """Return what is to be told of the leaves, or None if anything is wrong with one."""
        return look(self.leaves(), index=self.index)

    def leaves(self) -> Iterator[Leaf]:
        """Yield the leaves. Where parts of an export were put together, theirs go on."""
        for number, text in enumerate(self.lines, self.number):
            line = _line(text, number)
            if line.edge is not None or line.head is not None:
                continue
            entry = bytes(line.entry)
            yield Leaf(line.leaf, line.digest, None if entry == b"null" else entry, line.place, line.period)


def _line(text: bytes, number: int) -> _Line:
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, ValueError) as fault:
        raise ValueError(f"Line {number} is no line of an export: {fault}") from None

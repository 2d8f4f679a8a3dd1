"""The rows of a document as pages tell them: of a block that somebody damaged so many, found by what the database finds them by (``in_blocks``).

Whoever verifies, seals or proves takes a damaged block for what it is (``block_rows.rows_in``). Pages and totals must tell the same rows
besides, whatever is left of it. So a block has as many as its ``rows`` has items, but for lists, and for rows that hold several
AuditEvents of a block that does not say so. A place is a whole number, of whatever kind, that its list has, where the text that stands
there stands first; what is no text is none that is asked for. One whose ``rows`` is no list at all is a row that is found by nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from math import isfinite
from typing import Any, NamedTuple

from bson import Decimal128, Int64

from fhir_dmp.store.chain import Row
from fhir_dmp.stores.mongo.block_rows import NO_SENSE, moments_in, rows_in, taken_apart
from fhir_dmp.stores.mongo.blocks import FOUND_BY
from fhir_dmp.stores.mongo.exact import is_text
from fhir_dmp.stores.mongo.reading import says

_OF_EVENTS = ("m", "x", "c", "cu")
_NUMBERS, _TEXT = frozenset((int, Int64)), frozenset((str,))
_KNOWN = frozenset((*FOUND_BY, *_OF_EVENTS, "i", "rec", "l", "s"))
_Document = dict[str, Any]


class Contradicted(Exception):
    """A document says more than one thing: the database may have found it by another than the driver tells."""


class Told(NamedTuple):
    """A document as it was read; of a ``plain`` one rows are found by what they name as it stands."""

    document: _Document
    plain: bool

    @classmethod
    def once(cls, document: _Document, stored: bytes) -> Told:
        """Return a document that the database and the driver read alike; raise ``Contradicted`` for one whose bytes say anything besides.

        To look at a block closely takes a third of the time that its rows take, so it is remembered which were looked at.
        """
        if "rows" not in document:
            if not says(document, stored):
                raise Contradicted
            return cls(document, plain=True)
        known = hash(stored)
        if known in _plain:
            return cls(document, plain=True)
        if not says(document, stored):
            raise Contradicted
        told = cls(document, _is_plain(document))
        if told.plain:
            if len(_plain) >= _MOST_KNOWN:
                _plain.clear()
            _plain.add(known)
        return told

    def rows(self, period: str) -> list[Row]:
        """Return its rows, as the database finds them. Takes the document apart."""
        if "rows" not in self.document:
            return rows_in(self.document, period)
        if self.plain:
            with suppress(*NO_SENSE):
                return taken_apart(self.document, period)
        return list(_salvaged(self.document, period))


_MOST_KNOWN = 100_000
_plain: set[int] = set()
"""The hashes of the bytes of plain blocks: nobody outside of this process can make bytes of a given one."""


def _is_plain(block: Mapping[str, Any]) -> bool:
    """Tell whether rows are found by what they name as it stands: places that there are, of texts that are there once."""
    try:
        parts = block["rows"]
        if type(parts) is not list or not all(type(part) is dict and part.keys() <= _KNOWN for part in parts):
            return False
        return all(type(part["i"]) is str for part in parts) and all(
            _is_named(block[name], list(chain.from_iterable([part[name] for part in parts]))) for name in FOUND_BY
        )
    except NO_SENSE:
        return False


def _is_named(texts: Any, places: Sequence[Any]) -> bool:
    if type(texts) is not list or not _TEXT.issuperset(map(type, texts)) or len(set(texts)) != len(texts):
        return False
    return not places or (_NUMBERS.issuperset(map(type, places)) and min(places) >= 0 and max(places) < len(texts))


def _salvaged(block: Mapping[str, Any], period: str) -> Iterator[Row]:
    """Yield what is left of each row; what happened is not told of any: the texts of a damaged block may be anybody's."""
    parts, latest = block["rows"], block.get("rec")
    if not isinstance(parts, list):
        yield _row(block.get("_id"), moments_in([{}], latest)[0], {}, period)
        return
    known = [part if isinstance(part, dict) else {} for part in parts]
    for each, part, recorded in zip(parts, known, moments_in(known, latest) if known else (), strict=True):
        if isinstance(each, list) or ("m" in part and "m" not in block):
            continue
        terms = {name: _named(part.get(name), block.get(name)) for name in FOUND_BY}
        terms |= {name: part[name] for name in _OF_EVENTS if name in part}
        yield _row(part.get("i"), recorded, terms, period)


def _row(ident: Any, recorded: int, terms: Mapping[str, Any], period: str) -> Row:
    return Row(ident if is_text(ident) else "", recorded, "", "", 0, b"", b"", b"", terms, period)


def _named(places: Any, texts: Any) -> list[str]:
    """Return what is named, with nothing for what is no text."""
    if not isinstance(places, list):
        return []
    return [_text_at(place, texts if isinstance(texts, list) else []) for place in places]


def _text_at(place: Any, texts: Sequence[Any]) -> str:
    at = _whole(place)
    if not 0 <= at < len(texts) or not is_text(texts[at]) or texts.index(texts[at]) != at:
        return ""
    return str(texts[at])


def _whole(place: Any) -> int:
    """Return the number as the database compares it, of whatever kind it is; -1 for what is no whole number."""
    if isinstance(place, Decimal128):
        place = float(place.to_decimal())
    if isinstance(place, bool) or not isinstance(place, int | float) or not isfinite(place) or place != int(place):
        return -1
    return int(place)

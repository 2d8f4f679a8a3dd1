"""The algebra that searches, rules and conditional keys are written in, and the fields of a row that it speaks of.

A row is a mapping of index fields:

==========  ===========================================================================================
``_id``     ``Type/id``
``ty``      resource type
``v``       version number
``lu``      moment of the last change, unique (``Stamp``)
``co``      moment of creation: the ``lu`` of version 1, which never changes
``t``       tokens: the type's own name, ``Type.param=value`` strings, ``@Patient/p`` for compartments
``r``       ranges: ``{k: "Type.param", lo, hi}`` for dates (microseconds), numbers and quantities (Decimal); a place
            (latitude, longitude)
``pt``      ids of the patients (``Patient/p``) whose record holds the row
``ds``      the main date (start, microseconds), or absent
``w``       words for ``_text`` (``~`` before them) and ``_content``
``au``      who wrote version 1: ``client``, person and structure, stamped by the server
``sec``     security labels (``system|code``)
``ca``      category of the record's matrix
``kept``    True for what says who is who and was written by who keeps the directory; of superseded versions nobody asks it
``del``     True for a deleted resource: no body, and of ``t`` what it is judged by
==========  ===========================================================================================

A superseded version keeps what rules narrow by: all but ``w`` and ``kept``, and of ``pt``, ``sec`` and ``ca`` its own and the present ones.

The adapter compiles a Query to the database's filter; ``store.matching`` says what it must mean. A contract test holds the two
together. An empty ``Or`` or ``In`` matches nothing, an empty ``And`` everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeGuard

from msgspec import Struct

NAMES = ("=Practitioner/", "=PractitionerRole/", "=Organization/", "=Patient/", "=RelatedPerson/", "=Device/")
"""Tokens that a deletion keeps, beside its compartments: rules tell by them whose work it is."""

TARGETS = ("Provenance.target=", "Provenance.target:identifier=")
"""How those tokens begin that tell what a Provenance is about: a deletion keeps them too, for it is seen by who sees all of that."""

LONGEST = 300
"""Characters of an index entry's value; of a longer one the beginning is kept and a digest of the whole."""

_LAST = "\U0010ffff"

Scalar = str | int | bool | Decimal
Row = Mapping[str, Any]

EARTH = 6_371_008.8
"""Mean radius in metres."""


def kept(tokens: Iterable[str]) -> list[str]:
    """Return of a row's tokens those that it is judged by: compartments, who is named, what a Provenance is about."""
    return [
        token
        for token in tokens
        if token[0] == "@" or token.startswith(TARGETS) or any(name in token for name in NAMES)
    ]


class Eq(Struct, frozen=True):
    """The field is the value, or a list field holds it."""

    field: str
    value: Scalar


class In(Struct, frozen=True):
    """The field is one of the values, or a list field holds one of them."""

    field: str
    values: tuple[Scalar, ...]


class Among(Struct, frozen=True):
    """The field has a value, and every value of it is one of these."""

    field: str
    values: tuple[Scalar, ...]


class Between(Struct, frozen=True):
    """``low <= x < high`` for the field, or for one and the same item of a list field; None is open."""

    field: str
    low: Scalar | None = None
    high: Scalar | None = None


class Like(Struct, frozen=True):
    """One item of a list of strings starts with ``prefix`` and holds ``part`` (plain text) after it, at its end if ``last``."""

    field: str
    prefix: str
    part: str
    last: bool = False


class Range(Struct, frozen=True):
    """One item of ``r`` has the key and both ends within half-open bounds: ``low[0] <= lo < low[1]``, likewise ``high``."""

    key: str
    low: tuple[int | Decimal | None, int | Decimal | None] = (None, None)
    high: tuple[int | Decimal | None, int | Decimal | None] = (None, None)


class Lasts(Struct, frozen=True):
    """What begins with the row's main date ends after the moment: one item of ``r`` has ``ds`` for its ``lo`` and a ``hi`` beyond."""

    after: int


class Near(Struct, frozen=True):
    """One item of ``r`` with the key is a place (``lo``, ``hi`` in degrees) within so many metres of a point, over the sphere."""

    key: str
    latitude: float
    longitude: float
    metres: float


class And(Struct, frozen=True):
    """All parts hold."""

    parts: tuple[Query, ...]


class Or(Struct, frozen=True):
    """At least one part holds."""

    parts: tuple[Query, ...]


class Not(Struct, frozen=True):
    """The part does not hold."""

    part: Query


Query = Eq | In | Among | Between | Like | Range | Lasts | Near | And | Or | Not

EVERYTHING = And(())
NOTHING = Or(())


def both(*parts: Query) -> Query:
    """Return the conjunction, flattened, without parts that always hold; NOTHING if one never does."""
    flat: list[Query] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, And) else (part,))
    if NOTHING in flat:
        return NOTHING
    return flat[0] if len(flat) == 1 else And(tuple(flat))


def either(parts: Sequence[Query]) -> Query:
    """Return the disjunction, flattened, without parts that never hold; EVERYTHING if one always does."""
    flat: list[Query] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, Or) else (part,))
    if EVERYTHING in flat:
        return EVERYTHING
    return flat[0] if len(flat) == 1 else Or(tuple(flat))


def together(queries: Sequence[Query]) -> Query:
    """Return the disjunction of the queries: what all of them ask is said once, and values of one field stand side by side."""
    if not queries:
        return NOTHING
    parts = [query.parts if isinstance(query, And) else (query,) for query in queries]
    shared = [part for part in parts[0] if all(part in others for others in parts[1:])]
    own = [both(*(part for part in each if part not in shared)) for each in parts]
    return both(*shared, _side_by_side(own))


def _side_by_side(queries: Sequence[Query]) -> Query:
    single = [query for query in queries if isinstance(query, Eq | In)]
    if len(single) < len(queries) or len({query.field for query in single}) > 1:
        return either(queries)
    values = (value for query in single for value in (query.values if isinstance(query, In) else (query.value,)))
    return In(single[0].field, tuple(dict.fromkeys(values)))


def prefix(field: str, text: str) -> Between:
    """Return the query for values that start with ``text``."""
    return Between(field, text, end_of(text))


def end_of(start: str) -> str:
    """Return the first text, in the order of characters, behind all that begin with ``start``. No surrogate is a character."""
    last = start.rstrip(_LAST)
    return last[:-1] + ("\ue000" if last[-1] == "\ud7ff" else chr(ord(last[-1]) + 1))


def mentions(query: Query, fields: frozenset[str]) -> bool:
    """Tell whether the query looks at one of the fields (``r`` for ranges)."""
    match query:
        case And(parts) | Or(parts):
            return any(mentions(part, fields) for part in parts)
        case Not(part):
            return mentions(part, fields)
        case Range() | Near():
            return "r" in fields
        case Lasts():
            return not fields.isdisjoint(("r", "ds"))
        case _:
            return query.field in fields


_End = int | None


def span(query: Query, field: str) -> tuple[_End, _End]:
    """Return half-open bounds of the whole numbers that the field has in rows which meet the query; None is open."""
    match query:
        case And(parts):
            lows, highs = _ends(parts, field)
            return max(filter(_is_told, lows), default=None), min(filter(_is_told, highs), default=None)
        case Or(parts) if parts:
            lows, highs = _ends(parts, field)
            return (
                None if None in lows else min(filter(_is_told, lows)),
                None if None in highs else max(filter(_is_told, highs)),
            )
        case Eq(name, int() as value) if name == field:
            return value, value + 1
        case Between(name, low, high) if name == field:
            return low if isinstance(low, int) else None, high if isinstance(high, int) else None
        case _:
            return None, None


def _ends(parts: Sequence[Query], field: str) -> tuple[list[_End], list[_End]]:
    spans = [span(part, field) for part in parts]
    return [low for low, _ in spans], [high for _, high in spans]


def _is_told(end: _End) -> TypeGuard[int]:
    return end is not None

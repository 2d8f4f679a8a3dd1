"""UCUM units in canonical form: a factor, and base units. https://ucum.org/ucum.

Factors are exact fractions, so that what was measured keeps its digits; libraries for units count in binary floating point. The
mole is a base unit here, not a number: an amount of substance is never compared with a count. Units on a scale of their own
(pH, decibel) compare with themselves alone.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from fractions import Fraction
from functools import cache, lru_cache
from importlib.resources import files

import msgspec
from msgspec import Struct

LONGEST = 100
"""Characters of a unit that is taken apart."""

_MOST = 60
"""The greatest power of a unit, and the deepest brackets times three."""

_TOKEN = re.compile(r"(\{[^{}]*\})|([./()])|((?:\[[^\[\]]*\]|[^\s\[\](){}./\"=])+)")
_EXPONENT = re.compile(r"(.+?)([+-]?\d+)", re.DOTALL)

Powers = Mapping[str, int]


class Unit(Struct, frozen=True):
    """``canonical = value * factor + offset``; ``base`` names the base units and their powers (``g.m-3``, or ``1``)."""

    factor: Fraction
    base: str
    offset: Fraction = Fraction(0)


class Term(Struct, frozen=True):
    """A factor and the powers of base units; ``offset`` only for a temperature that stands alone."""

    factor: Fraction
    powers: Powers
    offset: Fraction | None = None

    def times(self, other: Term, sign: int) -> Term:
        """Return the product, or for -1 the quotient."""
        if self.offset is not None or other.offset is not None:
            raise ValueError("a temperature that has a zero of its own is no factor")
        powers = dict(self.powers)
        for name, power in other.powers.items():
            powers[name] = powers.get(name, 0) + sign * power
        return Term(self.factor * other.factor**sign, powers)


ONE = Term(Fraction(1), {})


class Atoms(Struct, frozen=True):
    """Prefixes, and the units that are no product of others, each with whether it takes a prefix."""

    prefixes: Mapping[str, Fraction]
    units: Mapping[str, tuple[bool, Term]]

    def find(self, symbol: str) -> Term | None:
        """Return ``g`` or ``mg``, or None."""
        if symbol in self.units:
            return self.units[symbol][1]
        for length in (1, 2):
            prefix, known = self.prefixes.get(symbol[:length]), self.units.get(symbol[length:])
            if prefix is not None and known is not None and known[0]:
                return Term(known[1].factor * prefix, known[1].powers, known[1].offset)
        return None


@cache
def _atoms() -> Atoms:
    packed = files("fhir_dmp.definitions").joinpath("units.json.gz").read_bytes()
    tables = msgspec.json.decode(gzip.decompress(packed))
    units = {
        code: (metric, Term(Fraction(factor), powers, None if offset is None else Fraction(offset)))
        for code, (metric, factor, powers, offset) in tables["units"].items()
    }
    return Atoms({code: Fraction(value) for code, value in tables["prefixes"].items()}, units)


@lru_cache(maxsize=4096)
def canonical(code: str) -> Unit | None:
    """Return the unit in canonical form, or None for what is no UCUM unit."""
    try:
        term = evaluate(code, _atoms())
    except (ValueError, IndexError):
        return None
    base = ".".join(f"{name}{power if power != 1 else ''}" for name, power in sorted(term.powers.items()) if power)
    return Unit(term.factor, base or "1", term.offset or Fraction(0))


def evaluate(code: str, atoms: Atoms) -> Term:
    """Return what the code means in base units; raise ``ValueError`` or ``IndexError`` for what is no unit."""
    if len(code) > LONGEST:
        raise ValueError("too long")
    return _Parser(code, atoms).whole()


class _Parser:
    """Reads ``mg/dL``, ``10*3/uL``, ``/min``, ``kg.m/s2``, ``{score}`` from left to right, as UCUM says."""

    def __init__(self, code: str, atoms: Atoms) -> None:
        self._atoms = atoms
        self._tokens: list[str] = []
        place = 0
        while place < len(code):
            found = _TOKEN.match(code, place)
            if found is None:
                raise ValueError(f"{code!r} is no unit")
            place = found.end()
            self._tokens.append(found[0])
        self._place = 0

    def whole(self) -> Term:
        if not self._tokens:
            raise ValueError("no unit")
        term = self._term(0)
        if self._place != len(self._tokens):
            raise ValueError("brackets do not close")
        return term

    def _next(self) -> str | None:
        return self._tokens[self._place] if self._place < len(self._tokens) else None

    def _take(self) -> str:
        self._place += 1
        return self._tokens[self._place - 1]

    def _term(self, depth: int) -> Term:
        if depth > _MOST // 3:
            raise ValueError("too deep")
        term = ONE if self._next() == "/" else self._component(depth)
        while self._next() in (".", "/"):
            sign = 1 if self._take() == "." else -1
            term = term.times(self._component(depth), sign)
        return term

    def _component(self, depth: int) -> Term:
        given = self._take()
        if given == "(":
            term = self._term(depth + 1)
            if self._take() != ")":
                raise ValueError("brackets do not close")
        elif given in (".", "/", ")"):
            raise ValueError("a unit is missing")
        else:
            term = ONE if given[0] == "{" else _simple(given, self._atoms)
        following = self._next()
        if following is not None and following[0] == "{" and given[0] != "{":
            self._take()
        return term


def _simple(symbol: str, atoms: Atoms) -> Term:
    if symbol.isascii() and symbol.isdigit() and int(symbol):
        return Term(Fraction(int(symbol)), {})
    known = atoms.find(symbol)
    if known is not None:
        return known
    found = _EXPONENT.fullmatch(symbol)
    unit = atoms.find(found[1]) if found else None
    if found is None or unit is None or unit.offset is not None or abs(int(found[2])) > _MOST:
        raise ValueError(f"{symbol!r} is no unit")
    power = int(found[2])
    return Term(unit.factor**power, {name: each * power for name, each in unit.powers.items()})

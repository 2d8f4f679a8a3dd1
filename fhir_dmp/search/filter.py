"""``_filter``: one boolean expression over search parameters. https://hl7.org/fhir/R4/search_filter.html.

    filter  = all *( "or" all )
    all     = one *( "and" one )
    one     = "not" one / "(" filter ")" / path operator value

A path is a parameter's name as it stands in a URL, chains and ``_has`` with it. Filters in square brackets are not read.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from fhir_dmp.errors import Invalid
from fhir_dmp.search.model import Comparison, Criterion, EachOf, NoneOf, OneOf

LONGEST = 4000
_DEEPEST = 20
_TOKEN = re.compile(r'\s*(?:([()])|("(?:[^"\\]|\\.)*")|([^\s()"]+))', re.DOTALL)
_OPERATORS = frozenset("eq ne co sw ew gt lt ge le ap sa eb pr po ss sb in ni re".split())

Leaf = Callable[[str, Comparison], Criterion]


def parse_filter(text: str, leaf: Leaf, most: int) -> Criterion:
    """Return the criterion; ``leaf`` makes one of a path and a comparison, of which ``most`` may stand in it.

    Raises ``Invalid`` for what does not parse.
    """
    if len(text) > LONGEST:
        raise Invalid(f"_filter may have {LONGEST} characters.", expression="_filter")
    return _Parser(text, leaf, most).whole()


class _Parser:
    """Reads from left to right, one token ahead."""

    def __init__(self, text: str, leaf: Leaf, most: int) -> None:
        self._tokens = _tokens(text)
        self._place = 0
        self._leaf = leaf
        self._most = most

    def whole(self) -> Criterion:
        found = self._any(0)
        if self._place != len(self._tokens):
            raise self._fault("nothing more was expected")
        return found

    def _fault(self, why: str) -> Invalid:
        place = " ".join(self._tokens[max(self._place - 2, 0) : self._place + 1])
        return Invalid(f"_filter does not parse near {place[:60]!r}: {why}.", expression="_filter")

    def _next(self) -> str:
        return self._tokens[self._place] if self._place < len(self._tokens) else ""

    def _take(self) -> str:
        if self._place >= len(self._tokens):
            raise self._fault("it ends too soon")
        self._place += 1
        return self._tokens[self._place - 1]

    def _any(self, depth: int) -> Criterion:
        parts = [self._all(depth)]
        while self._next().lower() == "or":
            self._take()
            parts.append(self._all(depth))
        return parts[0] if len(parts) == 1 else OneOf(tuple(parts))

    def _all(self, depth: int) -> Criterion:
        parts = [self._one(depth)]
        while self._next().lower() == "and":
            self._take()
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else EachOf(tuple(parts))

    def _one(self, depth: int) -> Criterion:
        if depth > _DEEPEST:
            raise self._fault(f"brackets may be {_DEEPEST} deep")
        first = self._take()
        if first.lower() == "not":
            return NoneOf(self._one(depth + 1))
        if first == "(":
            found = self._any(depth + 1)
            if self._next() != ")":
                raise self._fault("a bracket is not closed")
            self._take()
            return found
        return self._compared(first)

    def _compared(self, path: str) -> Criterion:
        if path == ")" or path[0] == '"' or "[" in path:
            raise self._fault("the name of a search parameter was expected")
        operator = self._take().lower()
        if operator not in _OPERATORS:
            raise self._fault("an operator was expected")
        value = self._take()
        if value in ("(", ")"):
            raise self._fault("a value was expected")
        self._most -= 1
        if self._most < 0:
            raise Invalid("_filter has too many criteria.", expression="_filter")
        return self._leaf(path, Comparison(operator, self._plain(value)))

    def _plain(self, value: str) -> str:
        if value[0] != '"':
            return value
        try:
            return msgspec.json.decode(value.encode(), type=str)
        except (msgspec.DecodeError, UnicodeEncodeError):
            raise self._fault("the text in quotes is not written as in JSON") from None


def _tokens(text: str) -> list[str]:
    found, place = [], 0
    text = text.rstrip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise Invalid(f"_filter does not parse near {text[place : place + 30]!r}.", expression="_filter")
        found.append(match[0].strip())
        place = match.end()
    return found

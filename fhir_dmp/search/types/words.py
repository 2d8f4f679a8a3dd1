"""``_text`` and ``_content``: the words of the narrative, and of all text. https://hl7.org/fhir/R4/search.html#content.

Words are folded as strings are. They stand in ``w``, those of the narrative also with ``~`` before them. Text is what elements of the types
string and markdown hold, and the narrative; codes, identifiers of resources, dates and attachments' data are not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from html import unescape
from typing import Any

from fhir_dmp.definitions.model import Definitions
from fhir_dmp.errors import Invalid
from fhir_dmp.fhir.fold import fold
from fhir_dmp.store.query import Eq, Query, both, either

NARRATIVE = "~"
LONGEST = 40
"""Characters of a word that are kept."""

MOST_ASKED = 20
_TEXTS = frozenset({"string", "markdown"})
_CODES = frozenset("code id uri url canonical oid uuid date dateTime instant time base64Binary".split())
_TAG = re.compile(r"<[^>]*>")
_TOKEN = re.compile(r"[()]|[^\s()]+")

Words = Callable[[Mapping[str, Any]], list[str]]


def indexer(definitions: Definitions, most: int) -> Words:
    """Return the function from a resource to its words: at most ``most`` of all its text, and as many of its narrative."""
    names = _names(definitions)

    def words(tree: Mapping[str, Any]) -> list[str]:
        texts: list[str] = []
        _collect(tree, names, texts)
        narrative = _split(_narrative(tree), most)
        every = dict.fromkeys([*narrative, *_split("\n".join(texts), most)])
        return [*list(every)[:most], *(NARRATIVE + word for word in narrative)]

    return words


def _names(definitions: Definitions) -> frozenset[str]:
    """Return the properties that hold text, and never a code, an address or a date."""
    elements = [element for kind in definitions.types.values() for element in kind.elements.values()]
    coded = {each.name for each in elements if each.type in _CODES}
    return frozenset(each.name for each in elements if each.type in _TEXTS) - coded - {"id", "reference"}


def _split(text: str, most: int) -> list[str]:
    return list(dict.fromkeys(word[:LONGEST] for word in fold(text).split()))[:most] if text else []


def _narrative(tree: Mapping[str, Any]) -> str:
    narrative = tree.get("text")
    div = narrative.get("div") if isinstance(narrative, Mapping) else None
    return unescape(_TAG.sub(" ", div)) if isinstance(div, str) else ""


def _collect(tree: Mapping[str, Any], names: frozenset[str], texts: list[str]) -> None:
    for name, value in tree.items():
        kind = type(value)
        if kind is str:
            if name in names:
                texts.append(value)
        elif kind is dict:
            _collect(value, names, texts)
        elif kind is list:
            for item in value:
                if type(item) is dict:
                    _collect(item, names, texts)
                elif type(item) is str and name in names:
                    texts.append(item)


def compile_words(code: str, text: str) -> Query:
    """Return the query for words that all stand there; ``or``, ``and`` and brackets between them mean what they say."""
    start = NARRATIVE if code == "_text" else ""
    tokens = _TOKEN.findall(text)
    if not 0 < len(tokens) <= MOST_ASKED:
        raise Invalid(f"{code} takes between 1 and {MOST_ASKED} words.", expression=code)
    reader = _Reader(code, start, tokens)
    found = reader.any_of()
    if reader.place != len(tokens):
        raise reader.fault()
    return found


class _Reader:
    """Reads words, and what stands between them, from left to right."""

    def __init__(self, code: str, start: str, tokens: list[str]) -> None:
        self._code = code
        self._start = start
        self._tokens = tokens
        self.place = 0

    def fault(self) -> Invalid:
        """Return what is wrong at this place."""
        return Invalid(
            f"{self._code} does not parse: words, with and, or and brackets between them.", expression=self._code
        )

    def _next(self) -> str:
        return self._tokens[self.place].lower() if self.place < len(self._tokens) else ""

    def any_of(self) -> Query:
        """Read ``all or all``."""
        parts = [self._all_of()]
        while self._next() == "or":
            self.place += 1
            parts.append(self._all_of())
        return either(parts)

    def _all_of(self) -> Query:
        parts: list[Query] = []
        while self._next() not in ("", "or", ")"):
            if self._next() == "and" and parts:
                self.place += 1
            parts.append(self._one())
        if not parts:
            raise self.fault()
        return both(*parts)

    def _one(self) -> Query:
        given = self._next()
        self.place += 1
        if given == "(":
            inner = self.any_of()
            if self._next() != ")":
                raise self.fault()
            self.place += 1
            return inner
        words = fold(given).split()
        if given in ("and", "or", ")", "") or not words:
            raise self.fault()
        return both(*(Eq("w", self._start + word[:LONGEST]) for word in words))

"""``_text`` and ``_content``: the words of the narrative, and of all text. https://hl7.org/fhir/R4/search.html#content.

Words are folded as strings are. They stand in ``w``, those of the narrative also with ``~`` before them. Text is what elements of the types
string and markdown hold (values of identifiers and contact points among them), and the narrative; codes, ids of resources, dates and
attachments' data are not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from html import unescape
from typing import Any

from msgspec import Struct

from fhir_dmp.definitions.model import Definitions
from fhir_dmp.errors import Invalid
from fhir_dmp.fhir.fold import fold
from fhir_dmp.store.query import Eq, Query, both, either

NARRATIVE = "~"
LONGEST = 40
"""Characters of a word that are kept."""

MOST_ASKED = 20
_TEXTS = frozenset({"string", "markdown"})
_NO_TEXTS = frozenset({"id", "reference"})
"""Properties of the type string that are no text."""

_TAG = re.compile(r"<[^>]*>")
_TOKEN = re.compile(r"[()]|[^\s()]+")

Words = Callable[[Mapping[str, Any]], list[str]]


def indexer(definitions: Definitions, most: int) -> Words:
    """Return the function from a resource to its words: at most ``most`` of all its text, and as many of its narrative."""
    kinds = _Kinds(definitions)

    def words(tree: Mapping[str, Any]) -> list[str]:
        texts: list[str] = []
        _collect(tree, kinds[str(tree.get("resourceType"))], kinds, texts)
        narrative = _split([_narrative(tree)], most)
        every = dict.fromkeys([*narrative, *_split(texts, most)])
        return [*list(every)[:most], *(NARRATIVE + word for word in narrative)]

    return words


class _Kind(Struct, frozen=True):
    """Which properties of a type hold text, and which hold more, of which type."""

    texts: frozenset[str]
    below: Mapping[str, str]


class _Kinds(dict[str, "_Kind | None"]):
    """The kinds by the names of their types, None for what is no type; each is found out when it is first met: few of them ever are."""

    def __init__(self, definitions: Definitions) -> None:
        super().__init__({"": None})
        self._types = definitions.types

    def __missing__(self, name: str) -> _Kind | None:
        table = self._types.get(name)
        if table is None:
            return None  # and is not kept: whoever writes may make up as many names as they like
        texts = frozenset(each.name for each in table.elements.values() if each.type in _TEXTS) - _NO_TEXTS
        below = {each.name: each.type for each in table.elements.values() if each.type[:1].isupper()}
        made = self[name] = _Kind(texts, below)
        return made


def _split(texts: Iterable[str], most: int) -> list[str]:
    return list(dict.fromkeys([word[:LONGEST] for text in texts for word in fold(text).split()]))[:most]


def _narrative(tree: Mapping[str, Any]) -> str:
    narrative = tree.get("text")
    div = narrative.get("div") if isinstance(narrative, Mapping) else None
    return unescape(_TAG.sub(" ", div)) if isinstance(div, str) else ""


def _collect(tree: Mapping[str, Any], kind: _Kind | None, kinds: _Kinds, texts: list[str]) -> None:
    if kind is None:
        return
    for name, value in tree.items():
        found = type(value)
        if found is str:
            if name in kind.texts:
                texts.append(value)
        elif found is dict:
            _collect(value, _kind(value, kind.below.get(name), kinds), kinds, texts)
        elif found is list:
            for item in value:
                if type(item) is dict:
                    _collect(item, _kind(item, kind.below.get(name), kinds), kinds, texts)
                elif type(item) is str and name in kind.texts:
                    texts.append(item)


def _kind(tree: Mapping[str, Any], declared: str | None, kinds: _Kinds) -> _Kind | None:
    """Return what is known of a node: by the type that its element has, or for a resource within by its own."""
    return kinds[str(tree.get("resourceType")) if declared == "Resource" else declared or ""]


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

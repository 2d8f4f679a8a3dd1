"""Text as it is compared: without case, accents, punctuation and double spaces. https://hl7.org/fhir/R4/search.html#string."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

_JOINED = {ord(char): None for char in "'`\u2019\u02bc\u00ad"}
"""Apostrophes and soft hyphens stand within a word: O'Brien is found as obrien."""

_LETTERS = {ord("œ"): "oe", ord("æ"): "ae", ord("ø"): "o", ord("ł"): "l", ord("đ"): "d", ord("ð"): "d", ord("ı"): "i"}
_ASCII = _JOINED | {ord(char): " " for char in '!"#%&()*,-./:;?@[\\]_{}'}


_SHORT = 80
"""Characters of a text that is remembered: names of codes and units, and cities, are the same in many resources."""


def fold(text: str) -> str:
    """Return the text in lower case without combining marks and punctuation, white space folded."""
    return _remembered(text) if len(text) <= _SHORT else _folded(text)


def _folded(text: str) -> str:
    text = text.casefold()
    if text.isascii():
        return " ".join(text.translate(_ASCII).split())
    apart = unicodedata.normalize("NFKD", text).casefold().translate(_LETTERS).translate(_JOINED)
    return " ".join("".join(map(_plain, apart)).split())


_remembered = lru_cache(maxsize=4096)(_folded)


def _plain(char: str) -> str:
    category = unicodedata.category(char)
    if category[0] == "P":
        return " "
    return "" if category in ("Mn", "Me", "Cf") else char

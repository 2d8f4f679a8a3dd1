"""Text as it is compared: without case, accents, punctuation and double spaces. https://hl7.org/fhir/R4/search.html#string."""

from __future__ import annotations

import unicodedata

_JOINED = {ord(char): None for char in "'`\u2019\u02bc\u00ad"}
"""Apostrophes and soft hyphens stand within a word: O'Brien is found as obrien."""

_LETTERS = {ord("œ"): "oe", ord("æ"): "ae", ord("ø"): "o", ord("ł"): "l", ord("đ"): "d", ord("ð"): "d", ord("ı"): "i"}
_ASCII = _JOINED | {ord(char): " " for char in '!"#%&()*,-./:;?@[\\]_{}'}


def fold(text: str) -> str:
    """Return the text in lower case without combining marks and punctuation, white space folded."""
    text = text.casefold()
    if text.isascii():
        return " ".join(text.translate(_ASCII).split())
    apart = unicodedata.normalize("NFKD", text).casefold().translate(_LETTERS).translate(_JOINED)
    return " ".join("".join(map(_plain, apart)).split())


def _plain(char: str) -> str:
    category = unicodedata.category(char)
    if category[0] == "P":
        return " "
    return "" if category in ("Mn", "Me", "Cf") else char

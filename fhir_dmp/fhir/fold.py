"""Text as it is compared: without case, accents and double spaces. https://hl7.org/fhir/R4/search.html#string."""

from __future__ import annotations

import unicodedata


def fold(text: str) -> str:
    """Return the text in lower case without combining marks, white space folded."""
    if not text.isascii():
        apart = unicodedata.normalize("NFKD", text.casefold())
        text = "".join(char for char in apart if not unicodedata.combining(char))
    return " ".join(text.casefold().split())

r"""Taking apart what was sent: ``\,`` ``\|`` ``\$`` and ``\\`` stand for themselves. https://hl7.org/fhir/R4/search.html#escaping."""

from __future__ import annotations

import re
from hashlib import sha256

from fhir_dmp.errors import Invalid, NotSupported
from fhir_dmp.store.query import LONGEST

_ESCAPED = re.compile(r"\\(.?)", re.DOTALL)
_PREFIX = re.compile(r"(eq|ne|gt|lt|ge|le|sa|eb|ap)?(.*)", re.DOTALL)

_KEPT = 240


def split(text: str, mark: str) -> list[str]:
    """Return the parts between unescaped marks, still escaped."""
    if "\\" not in text:
        return text.split(mark)
    parts, start, place = [], 0, 0
    while place < len(text):
        if text[place] == "\\":
            place += 1
        elif text[place] == mark:
            parts.append(text[start:place])
            start = place + 1
        place += 1
    return [*parts, text[start:]]


def halves(text: str) -> tuple[str | None, str]:
    """Return what stands before the first unescaped bar (None if there is none) and what comes after it, unescaped."""
    first, *rest = split(text, "|")
    return (unescape(first), unescape("|".join(rest))) if rest else (None, unescape(first))


def unescape(text: str) -> str:
    """Return the text without its escapes; raise ``Invalid`` for a backslash that escapes nothing."""
    return _ESCAPED.sub(_meant, text) if "\\" in text else text


def _meant(found: re.Match[str]) -> str:
    if found[1] not in (",", "|", "$", "\\"):
        raise Invalid("A backslash escapes a comma, a bar, a dollar sign or itself: write \\\\ for one backslash.")
    return found[1]


def bounded(text: str) -> str:
    """Return the text as it stands in an index entry: whole, or its beginning and a digest if it is very long."""
    if len(text) <= LONGEST:
        return text
    return f"{text[:_KEPT]}…{sha256(text.encode()).hexdigest()}"


def prefixed(text: str) -> tuple[str, str]:
    """Return the prefix (``eq`` if there is none) and the rest."""
    found = _PREFIX.fullmatch(text)
    if found is None:  # the pattern matches everything
        return "eq", text
    return found[1] or "eq", found[2]


def unsupported(modifier: str | None, name: str) -> NotSupported:
    """Return the error for a modifier that the parameter does not take."""
    shown = (modifier or "")[:64]
    return NotSupported(f"The modifier :{shown} is not supported for {name}.", expression=name)

r"""Taking apart what was sent: ``\,`` ``\|`` ``\$`` and ``\\`` stand for themselves. https://hl7.org/fhir/R4/search.html#escaping."""

from __future__ import annotations

import re

from fhir_dmp.errors import Invalid

_ESCAPED = re.compile(r"\\(.)")
_PREFIX = re.compile(r"(eq|ne|gt|lt|ge|le|sa|eb|ap)?(.*)\Z", re.DOTALL)


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


def unescape(text: str) -> str:
    """Return the text without its escapes."""
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text


def prefixed(text: str) -> tuple[str, str]:
    """Return the prefix (``eq`` if there is none) and the rest."""
    found = _PREFIX.match(text)
    if found is None:  # the pattern matches everything
        return "eq", text
    return found[1] or "eq", found[2]


def unsupported(modifier: str | None, code: str) -> Invalid:
    """Return the error for a modifier that the parameter does not take."""
    return Invalid(f"The modifier :{modifier} is not supported for {code!r}.", expression=code)

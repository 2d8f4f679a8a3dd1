"""References between resources. https://hl7.org/fhir/R4/references.html."""

from __future__ import annotations

import re
from functools import lru_cache

from msgspec import Struct

ID = re.compile(r"[A-Za-z0-9\-.]{1,64}\Z")
_LITERAL = re.compile(
    r"(?:(?P<base>https?://.+)/)?(?P<type>[A-Z][A-Za-z]+)/(?P<id>[A-Za-z0-9\-.]{1,64})"
    r"(?:/_history/(?P<version>[A-Za-z0-9\-.]{1,64}))?\Z"
)

_SHORT = 200
"""Characters of a reference that is remembered: one is read several times, and its target is named by many resources."""


class Ref(Struct, frozen=True):
    """The identity of a resource on this server."""

    type: str
    id: str

    def __str__(self) -> str:
        return f"{self.type}/{self.id}"


class Literal(Struct, frozen=True):
    """A literal reference taken apart; ``base`` is None for a relative one."""

    base: str | None
    type: str
    id: str
    version: str | None

    @property
    def ref(self) -> Ref:
        """The identity without base and version."""
        return Ref(self.type, self.id)


def parse_literal(text: str) -> Literal | None:
    """Return the parts of ``[base/]Type/id[/_history/version]``, or None for anything else (urn:, #fragment, canonical)."""
    return _remembered(text) if len(text) <= _SHORT else _taken_apart(text)


def _taken_apart(text: str) -> Literal | None:
    found = _LITERAL.match(text)
    return Literal(*found.group("base", "type", "id", "version")) if found else None


_remembered = lru_cache(maxsize=4096)(_taken_apart)


def local(text: str, base_url: str) -> Ref | None:
    """Return the Ref that ``text`` names on this server (relative, or absolute under ``base_url``), else None."""
    literal = parse_literal(text)
    if literal is None or literal.base not in (None, base_url):
        return None
    return literal.ref

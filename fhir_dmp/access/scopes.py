"""SMART scopes, v1 and v2. https://hl7.org/fhir/smart-app-launch/STU2.2/scopes-and-launch-context.html."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from fhir_dmp.access.model import Action

_SCOPE = re.compile(
    r"(?P<level>patient|user|system)/(?P<type>\*|[A-Z][A-Za-z]+)\.(?P<rights>read|write|\*|c?r?u?d?s?)\Z"
)
_V1: dict[str, frozenset[Action]] = {
    "read": frozenset({"read", "search"}),
    "write": frozenset({"create", "update", "delete"}),
    "*": frozenset({"create", "read", "update", "delete", "search"}),
}
_V2: dict[str, Action] = {"c": "create", "r": "read", "u": "update", "d": "delete", "s": "search"}


@dataclass(frozen=True, slots=True)
class Scope:
    """A resource scope taken apart; ``type`` is None for ``*``."""

    text: str
    level: str
    type: str | None
    actions: frozenset[Action]


def parse_scope(text: str) -> Scope | None:
    """Return the resource scope that ``text`` is, or None for anything else.

    A v2 scope with a search restriction (``system/Observation.rs?category=…``) is None: it is refused, never widened.
    """
    found = _SCOPE.match(text)
    if found is None or not found["rights"]:
        return None
    rights = found["rights"]
    actions = _V1.get(rights) or frozenset(_V2[letter] for letter in rights)
    return Scope(text, found["level"], None if found["type"] == "*" else found["type"], actions)


def covers(granted: Scope, asked: Scope) -> bool:
    """Tell whether everything that ``asked`` allows is allowed by ``granted`` as well."""
    return granted.level == asked.level and granted.type in (None, asked.type) and asked.actions <= granted.actions


def cut(asked: Iterable[str], registered: Iterable[str]) -> tuple[str, ...]:
    """Return those of the asked scopes that the registered ones cover, in order."""
    have = [scope for scope in map(parse_scope, registered) if scope]
    return tuple(
        text
        for text in dict.fromkeys(asked)
        if (scope := parse_scope(text)) and any(covers(mine, scope) for mine in have)
    )

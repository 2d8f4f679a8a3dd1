"""SMART scopes, v1 and v2. https://hl7.org/fhir/smart-app-launch/STU2.2/scopes-and-launch-context.html."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import parse_qsl

from msgspec import Struct

from fhir_dmp.access.model import Action

_SCOPE = re.compile(
    r"(?P<level>patient|user|system)/(?P<type>\*|[A-Z][A-Za-z]+)\.(?P<rights>read|write|\*|c?r?u?d?s?)"
    r"(?:\?(?P<query>[!-~]+))?\Z"
)
_V1: dict[str, frozenset[Action]] = {
    "read": frozenset({"read", "search"}),
    "write": frozenset({"create", "update", "delete"}),
    "*": frozenset({"create", "read", "update", "delete", "search"}),
}
_V2: dict[str, Action] = {"c": "create", "r": "read", "u": "update", "d": "delete", "s": "search"}
MOST_RESTRICTIONS = 10

Restriction = tuple[tuple[str, str], ...]


class Scope(Struct, frozen=True):
    """A resource scope taken apart; ``type`` is None for ``*``.

    ``restriction`` are the search parameters that a resource has to meet besides, decoded, in their order.
    """

    text: str
    level: str
    type: str | None
    actions: frozenset[Action]
    restriction: Restriction = ()


@lru_cache(maxsize=4096)
def parse_scope(text: str) -> Scope | None:
    """Return the resource scope that ``text`` is, or None for anything else.

    A search restriction belongs to a v2 scope of one type; elsewhere it makes no scope, for to leave it out would widen it.
    """
    found = _SCOPE.match(text)
    if found is None or not found["rights"]:
        return None
    rights = found["rights"]
    restriction = _restriction(found["query"])
    if restriction is None or (restriction and (rights in _V1 or found["type"] == "*")):
        return None
    actions = _V1.get(rights) or frozenset(_V2[letter] for letter in rights)
    return Scope(text, found["level"], None if found["type"] == "*" else found["type"], actions, restriction)


def _restriction(query: str | None) -> Restriction | None:
    if query is None:
        return ()
    try:
        pairs = parse_qsl(query, strict_parsing=True, errors="strict", max_num_fields=MOST_RESTRICTIONS)
    except ValueError:
        return None
    return tuple(pairs) or None


def covers(granted: Scope, asked: Scope) -> bool:
    """Tell whether everything that ``asked`` allows is allowed by ``granted`` as well.

    Restrictions add up: a scope is covered by another if it has all the restrictions of that one.
    """
    return (
        granted.level == asked.level
        and granted.type in (None, asked.type)
        and asked.actions <= granted.actions
        and set(granted.restriction) <= set(asked.restriction)
    )


def cut(asked: Iterable[str], registered: Iterable[str]) -> tuple[str, ...]:
    """Return those of the asked scopes that the registered ones cover, in order."""
    have = [scope for scope in map(parse_scope, registered) if scope]
    return tuple(
        text
        for text in dict.fromkeys(asked)
        if (scope := parse_scope(text)) and any(covers(mine, scope) for mine in have)
    )

"""References between the entries of one bundle. https://hl7.org/fhir/R4/bundle.html#references.

Rewritten are ``Reference.reference``, elements of the types uri, url, oid and uuid (told by their names), and ``href`` and ``src`` in narratives;
never canonicals, never an ``Identifier.value``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from fhir_dmp.fhir.reference import parse_literal

_LINK = re.compile(r"(?:uri|url|oid|uuid)\Z", re.IGNORECASE)
_NARRATIVE = re.compile(r"""((?:href|src)\s*=\s*["'])([^"']+)""")
_CONDITIONAL = re.compile(r"[A-Z][A-Za-z]+\?.+")


class Links:
    """What the names used within a bundle stand for: full URLs and criteria to ``Type/id``."""

    def __init__(self) -> None:
        self._targets: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._targets)

    def add(self, name: str, target: str) -> None:
        """Let ``name`` (a full URL, or the criteria of a conditional reference) stand for ``target``."""
        self._targets[name] = target

    def alias(self, full_url: str, target: str) -> None:
        """Let a full URL stand for ``target``, and what the entries call it relative to each other too."""
        self._targets[full_url] = target
        literal = parse_literal(full_url)
        if literal is not None:
            self._targets[str(literal.ref)] = target

    def rewrite(self, tree: Any) -> Any:
        """Return the tree with every link to a named thing replaced."""
        if isinstance(tree, dict):
            return {key: self._value(key, value) for key, value in tree.items()}
        if isinstance(tree, list):
            return [self.rewrite(item) for item in tree]
        return tree

    def _value(self, key: str, value: Any) -> Any:
        if isinstance(value, str):
            if key == "reference" or _LINK.search(key):
                return self._target(value)
            return _NARRATIVE.sub(lambda found: found[1] + self._target(found[2]), value) if key == "div" else value
        return self.rewrite(value) if isinstance(value, dict | list) else value

    def _target(self, value: str) -> str:
        found = self._targets.get(value)
        if found is None and "/_history/" in value:
            found = self._targets.get(value.partition("/_history/")[0])
        return found or value


def references(tree: Any) -> Iterator[str]:
    """Return every conditional reference (``Type?criteria``) below the tree."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            if key == "reference" and isinstance(value, str):
                if "?" in value and _CONDITIONAL.match(value):
                    yield value
            elif isinstance(value, dict | list):
                yield from references(value)
    elif isinstance(tree, list):
        for item in tree:
            yield from references(item)

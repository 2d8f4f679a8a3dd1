"""References between the entries of one bundle. https://hl7.org/fhir/R4/bundle.html#references.

Rewritten are ``Reference.reference``, elements of the types uri and url (told by their names), and ``href`` and ``src`` in narratives;
never canonicals, identifiers, the URL of an extension or of a definition. Those of the types oid and uuid stay as they are: what an entry
is called by here, ``Type/id``, is none, and would break the resource.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from fhir_dmp.errors import Invalid, Issue
from fhir_dmp.fhir.reference import below, parse_literal, relative
from fhir_dmp.fhir.texts import replaced

_URI = re.compile(r".*(?:uri|url)\Z|(?:address|endpoint|policy)\Z", re.IGNORECASE)
_HREF = re.compile(r"""((?:href|src)\s*=\s*["'])([^"']+)""")
_CONDITIONAL = re.compile(r"[A-Z][A-Za-z]+\?.+")
_VERSION = "/_history/"
PLACEHOLDERS = ("urn:uuid:", "urn:oid:")
"""What a reference begins with that means an entry of the same bundle, and nothing outside of it."""

_EXTENSIONS = ("extension", "modifierExtension")


class Links:
    """What the names used within a bundle stand for: full URLs and criteria to ``Type/id``.

    Those under the base of this server (``base_url``) are the same however that is written.
    """

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._targets: dict[str, str] = {}
        self._versions: dict[str, int] = {}
        self._missed: set[str] = set()

    def add(self, name: str, target: str) -> None:
        """Let ``name`` (a full URL, or a conditional reference) stand for ``target``."""
        self._targets[name] = target

    def add_entry(self, full_url: str, target: str) -> None:
        """Let the full URL of an entry stand for ``target``; raise ``Invalid`` if it is another's place here."""
        literal = parse_literal(full_url)
        if literal is not None and literal.base is None and str(literal.ref) != target:
            raise Invalid(f"The fullUrl {full_url[:200]!r} must be absolute.", expression="Bundle.fullUrl")
        self._targets[full_url] = self._targets[self._written(full_url)] = target

    def make(self, target: str, version: int) -> None:
        """Let references to a version of ``target`` be to this one, which the bundle makes.

        They stay references to a version, whichever the sender chose for it. https://hl7.org/fhir/R4/http.html#trules.
        """
        self._versions[target] = version

    def rewrite(self, tree: Mapping[str, Any], full_url: str | None) -> Mapping[str, Any]:
        """Return the resource with every link to a named thing replaced; what has none is returned as it is.

        A relative reference is one to an entry if it is so under the base of the referring entry's own full URL.
        """
        base = self._base(full_url)

        def each(key: str, value: str, node: Mapping[str, Any], inside: str) -> str:
            found = self._text(key, value, base)
            return value if key == "url" and found is not value and _names_a_definition(inside, node) else found

        return replaced(tree, each)

    def _text(self, key: str, value: str, base: str | None) -> str:
        if key == "reference":
            return self._reference(value, base)
        if value in self._targets:
            return self._targets[value] if _URI.match(key) else value
        return self._narrative(value) if key == "div" else value

    def _reference(self, value: str, base: str | None) -> str:
        found = self._targets.get(value)
        if found is None and "/" in value:
            found, of_version = self._below(value, base)
            if of_version and found in self._versions:
                found = f"{found}/_history/{self._versions[found]}"
        if found is None and value.startswith(PLACEHOLDERS):
            self._missed.add(value)
        return value if found is None else found

    def _below(self, value: str, base: str | None) -> tuple[str | None, bool]:
        """Return what a reference stands for that is not named as it is, if it stands for anything, and whether it is to a version."""
        plain, named, _ = self._written(value).partition(_VERSION)
        targets = self._targets
        return targets.get(plain) or (targets.get(f"{base}/{plain}") if base else None), bool(named)

    def of_version(self, reference: str, full_url: str | None) -> str | None:
        """Return what (``Type/id``) a reference in the entry with that full URL is to a version of, if it is one that is rewritten."""
        found, of_version = self._below(reference, self._base(full_url))
        return found if of_version and reference not in self._targets else None

    def require_resolved(self, tree: Any, named: str) -> None:
        """Raise ``Invalid`` for each reference of a rewritten resource (called ``named``) to something that no entry brings."""
        if self._missed and (left := list(_placeholders(tree, named))):
            raise Invalid(
                "A reference names no entry of the bundle.",
                issues=tuple(Issue(Invalid.code, f"No entry has the fullUrl {url[:200]!r}.", at) for at, url in left),
            )

    def _base(self, full_url: str | None) -> str | None:
        """Return the base under which an entry's relative references are."""
        literal = parse_literal(self._written(full_url)) if full_url else None
        return literal.base if literal else None

    def _written(self, url: str) -> str:
        """Return a URL of this server as this server writes it, and any other as it is."""
        found = below(url, self._base_url)
        return url if found == url else f"{self._base_url}/{found}"

    def _narrative(self, text: str) -> str:
        if "href" not in text and "src" not in text:
            return text
        return _HREF.sub(lambda found: found[1] + self._targets.get(found[2], found[2]), text)


def require_apart(tree: dict[str, Any], names: frozenset[str]) -> None:
    """Raise ``Invalid`` for a reference to an entry of a batch, of whose full URLs ``names`` are those that mean nothing outside of it.

    Entries of a batch know nothing of each other. https://hl7.org/fhir/R4/http.html#brules.
    """
    at = next((at for at, url in _placeholders(tree, str(tree.get("resourceType"))) if url in names), None)
    if at is not None:
        raise Invalid("This refers to another entry of the batch: only those of a transaction do.", expression=at)


def _names_a_definition(inside: str, node: Mapping[str, Any]) -> bool:
    """Tell whether a ``url`` here is what an extension or a definition is called by, and no link."""
    return inside in _EXTENSIONS or "resourceType" in node


def _placeholders(node: Any, at: str) -> Iterator[tuple[str, str]]:
    """Yield where a placeholder is left, and which. The entries of a Bundle within have their own, which are let be."""
    if isinstance(node, list):
        for place, item in enumerate(node):
            yield from _placeholders(item, f"{at}[{place}]")
    elif isinstance(node, dict) and node.get("resourceType") != "Bundle":
        for key, value in node.items():
            if key == "reference" and isinstance(value, str) and value.startswith(PLACEHOLDERS):
                yield f"{at}.{key}", value
            else:
                yield from _placeholders(value, f"{at}.{key}")


def criteria_of(reference: str, base_url: str) -> str | None:
    """Return the criteria (``Type?criteria``) by which a reference names its target on this server, or None."""
    named = relative(reference, base_url) if "?" in reference else ""
    return named if _CONDITIONAL.match(named) else None


def unsettled_references(tree: dict[str, Any], base_url: str) -> list[str]:
    """Return every reference of the resource whose meaning is found out before it is rewritten: by criteria, or to a version."""
    found: list[str] = []
    _collect(tree, found)
    return [each for each in found if _VERSION in each or criteria_of(each, base_url)]


def _collect(node: dict[str, Any], found: list[str]) -> None:
    for key, value in node.items():
        kind = type(value)
        if kind is dict:
            _collect(value, found)
        elif kind is list:
            _collect_list(value, found)
        elif key == "reference" and kind is str and (_VERSION in value or "?" in value):
            found.append(value)


def _collect_list(items: list[Any], found: list[str]) -> None:
    for item in items:
        if type(item) is dict:
            _collect(item, found)
        elif type(item) is list:
            _collect_list(item, found)

"""References between resources. https://hl7.org/fhir/R4/references.html.

What lies on this server may be named by an absolute URL as well, which is the same reference: such a one is made relative on its way in,
however its base is written, and stays true where the server is reached by another name later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from msgspec import Struct

from fhir_dmp.fhir import codec
from fhir_dmp.fhir.texts import replaced

AS_SENT = ("Bundle", "Parameters")
"""Types that hold resources as they were sent: their references have bases of their own."""

ID = re.compile(r"[A-Za-z0-9\-.]{1,64}\Z")
_LITERAL = re.compile(
    r"(?:(?P<base>(?i:https?)://.+)/)?(?P<type>[A-Z][A-Za-z]+)/(?P<id>[A-Za-z0-9\-.]{1,64})"
    r"(?:/_history/(?P<version>[A-Za-z0-9\-.]{1,64}))?(?:#[^/]*)?\Z"
)
"""A fragment names a part of what the rest names, and never another resource."""

_URL = re.compile(r"(?P<scheme>(?i:https?))://(?P<host>[^/?#]+)(?P<path>[^?#]*)(?P<rest>.*)\Z", re.DOTALL)
_OWN_PORT = {"http": ":80", "https": ":443"}
_NAMING = re.compile(r"[A-Z][A-Za-z]+(?:/[A-Za-z0-9\-.]{1,64}(?:/_history/[A-Za-z0-9\-.]{1,64})?(?:#.*)?\Z|\?)")
"""What names a resource below a base: by its id, or by criteria."""

_ABSOLUTE = re.compile(rb'"(?:reference":"[Hh]|url":"[Hh][^"]*/Binary/)')
"""In compact JSON, in which no text can hold a bare quotation mark."""

_BINARY = re.compile(r"Binary/[A-Za-z0-9\-.]{1,64}(?:/_history/[A-Za-z0-9\-.]{1,64})?\Z")
"""What the address of an Attachment has in place of its data."""

_OF_A_URI = frozenset({"resourceType", "language"})
"""What stands beside a ``reference`` that is a uri (DetectedIssue, Expression) and never in a Reference."""

_URIS = ("education",)
"""Elements whose ``reference`` is a uri whatever stands beside it (Immunization)."""

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


def parse_here(text: str, base_url: str) -> Literal | None:
    """Return the parts of a literal reference as this server reads it: what lies here has no base, however it was written."""
    return parse_literal(below(text, base_url))


def local(text: str, base_url: str) -> Ref | None:
    """Return the Ref that ``text`` names on this server (relative, or absolute under ``base_url``), else None."""
    literal = parse_here(text, base_url)
    return literal.ref if literal is not None and literal.base is None else None


def below(url: str, base_url: str) -> str:
    """Return what stands behind the base in a URL of this server, and any other text as it is.

    http and https, the case of the host, the port that is the scheme's own and slashes too many make no other place.
    """
    if url[:4].lower() != "http":
        return url
    return _remembered_behind(url, base_url) if len(url) <= _SHORT else _behind(url, base_url)


def _behind(url: str, base_url: str) -> str:
    named, own = _URL.match(url), _URL.match(base_url)
    if named is None or own is None or _host(named) != _host(own):
        return url
    path, base = _steps(named), _steps(own)
    return "/".join(path[len(base) :]) + named["rest"] if path[: len(base)] == base else url


_remembered_behind = lru_cache(maxsize=4096)(_behind)


def _host(url: re.Match[str]) -> str:
    return url["host"].lower().removesuffix(_OWN_PORT[url["scheme"].lower()])


def _steps(url: re.Match[str]) -> list[str]:
    return [step for step in url["path"].split("/") if step]


def relative(text: str, base_url: str) -> str:
    """Return a reference to what lies on this server, by id or by criteria, as one that is relative to its base; any other as it is."""
    found = below(text, base_url)
    return found if found != text and _NAMING.match(found) else text


def with_relative(resource_type: str, tree: Mapping[str, Any], base_url: str) -> Mapping[str, Any]:
    """Return a resource whose references to what lies on this server are relative, which may be the resource as it is.

    So is the address of an attachment's content. Other elements of the types uri, url and canonical are no references, and stay.
    """
    if resource_type in AS_SENT or not _ABSOLUTE.search(codec.dumps(tree)):
        return tree

    def each(key: str, value: str, node: Mapping[str, Any], inside: str) -> str:
        if key == "url":
            found = below(value, base_url)
            return found if _BINARY.match(found) else value
        if key != "reference" or inside in _URIS or not _OF_A_URI.isdisjoint(node):
            return value
        return relative(value, base_url)

    return replaced(tree, each)

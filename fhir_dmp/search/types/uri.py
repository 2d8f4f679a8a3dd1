"""Uri: the same text; ``:below`` what it begins, ``:above`` what begins it. https://hl7.org/fhir/R4/search.html#uri."""

from __future__ import annotations

from typing import Any

from fhir_dmp.search.types.values import unescape, unsupported
from fhir_dmp.store.query import Eq, In, Query, either, prefix

LONGEST = 512


def entries(name: str, value: Any) -> list[str]:
    """Return the token of a uri for the parameter ``name`` (``Type.param``)."""
    return [f"{name}={value[:LONGEST]}"] if isinstance(value, str) else []


def compile_values(name: str, values: tuple[str, ...], modifier: str | None) -> Query:
    """Return the query for any of the values."""
    return either([_one(name, unescape(value)[:LONGEST], modifier) for value in values])


def _one(name: str, uri: str, modifier: str | None) -> Query:
    if modifier is None:
        return Eq("t", f"{name}={uri}")
    if modifier == "below":
        return either([Eq("t", f"{name}={uri}"), prefix("t", f"{name}={uri.rstrip('/')}/")])
    if modifier == "above":
        return In("t", tuple(f"{name}={above}" for above in _above(uri)))
    raise unsupported(modifier, name)


def _above(uri: str) -> list[str]:
    """Return the uri and each shorter one that ends at a slash of its path."""
    scheme, mark, rest = uri.partition("://")
    parts = rest.split("/")
    return [scheme + mark + "/".join(parts[:end]) for end in range(len(parts), 0, -1)]

"""Reference: by id, by type and id, by URL; canonicals with and without version. https://hl7.org/fhir/R4/search.html#reference.

What lies on this server is indexed as ``Type/id`` whatever form it was written in; a version in it is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

from fhir_dmp.definitions.model import Path
from fhir_dmp.errors import Invalid
from fhir_dmp.fhir.reference import ID, parse_here, parse_literal
from fhir_dmp.search.types import string, token
from fhir_dmp.search.types.values import bounded, unescape, unsupported
from fhir_dmp.store.query import Eq, In, Query, either, prefix

IDENTIFIER = ":identifier"
TEXT = ":text"


def indexer(
    name: str, path: Path, base_url: str, only: str | None = None, compartments: Sequence[str] = ()
) -> Callable[[Any], list[str]]:
    """Return the function from a Reference, canonical or uri to its tokens for ``name`` (``Type.param``).

    ``only`` keeps references to that type; ``compartments`` are those whose members a reference of this parameter makes.
    """
    key, identifier_of = f"{name}=", token.forms("Identifier")
    canonical = path.type in ("canonical", "uri")

    def local(url: str) -> list[str]:
        literal = parse_here(url, base_url)
        if only is not None and (literal is None or literal.type != only):
            return []
        if literal is None or literal.base is not None:
            return [key + bounded(url)]
        found = f"{literal.type}/{literal.id}"
        return [key + found, f"@{found}"] if literal.type in compartments else [key + found]

    def tokens(value: Any) -> list[str]:
        if isinstance(value, str):
            return _canonical(key, value, base_url) if canonical else local(value)
        if not isinstance(value, dict):
            return []
        url, identifier = value.get("reference"), value.get("identifier")
        found = local(url) if isinstance(url, str) and url[:1] != "#" else []
        if isinstance(identifier, dict) and only in (None, value.get("type"), _type(url)):
            found += [f"{name}{IDENTIFIER}={form}" for form in identifier_of(identifier)]
        display = value.get("display")
        if isinstance(display, str) and only in (None, value.get("type"), _type(url)):
            found.append(f"{name}{TEXT}={string.folded(display)}")
        return found

    return tokens


def _type(url: Any) -> str | None:
    literal = parse_literal(url) if isinstance(url, str) else None
    return literal.type if literal else None


def _canonical(key: str, url: str, base_url: str) -> list[str]:
    if url[:1] == "#":
        return []
    bare, bar, _ = url.partition("|")
    return [key + bounded(form) for form in ([url, bare] if bar else [local_form(url, base_url)])]


def local_form(url: str, base_url: str) -> str:
    """Return ``Type/id`` for what lies on this server, and anything else as it is."""
    literal = parse_here(url, base_url)
    return str(literal.ref) if literal is not None and literal.base is None else url


def compile_values(
    name: str,
    values: Sequence[str],
    modifier: str | None,
    targets: Sequence[str],
    paths: Sequence[Path],
    base_url: str,
) -> Query:
    """Return the query for any of the values; a bare id is tried with each type that the parameter may point at."""
    if modifier == "identifier":
        return token.compile_values(f"{name}{IDENTIFIER}", values, None, ())
    if modifier == "text":
        return string.compile_values(name + TEXT, values, None)
    if modifier == "below" and all(path.type == "canonical" for path in paths):
        return either([_versions(name, unescape(value)) for value in values])
    if modifier is not None and modifier not in targets:
        raise unsupported(modifier, name)
    forms: Iterable[str] = (form for value in values for form in asked(unescape(value), targets, modifier, base_url))
    # a canonical may be any text, one that looks like an id as well
    if any(path.type != "Reference" for path in paths):
        forms = chain(forms, map(unescape, values))
    wanted = tuple(dict.fromkeys(f"{name}={bounded(form)}" for form in forms))
    return Eq("t", wanted[0]) if len(wanted) == 1 else In("t", wanted)


def _versions(name: str, url: str) -> Query:
    """Return the query for a canonical in all its versions, or in those that begin as the one that is named."""
    if "|" in url:
        return prefix("t", f"{name}={url}")
    return either([Eq("t", f"{name}={bounded(url)}"), prefix("t", f"{name}={url}|")])


def asked(text: str, targets: Sequence[str], modifier: str | None, base_url: str) -> list[str]:
    """Return the forms that a value asks for among those that are indexed."""
    literal = parse_here(text, base_url)
    if literal is not None and literal.base is None:
        if modifier is not None and literal.type != modifier:
            raise Invalid(f"{text[:100]!r} is not of the type :{modifier}.")
        return [str(literal.ref)]
    if ID.match(text):
        return [f"{target}/{text}" for target in ((modifier,) if modifier else targets)] or [text]
    bare, bar, version = text.partition("|")
    return [f"{bare}|{version}"] if bar else [text]

"""Reference: by id, by type and id, by URL; canonicals with and without version. https://hl7.org/fhir/R4/search.html#reference.

What lies on this server is indexed as ``Type/id`` whatever form it was written in; a version in it is left out.
"""

from __future__ import annotations

from typing import Any

from fhir_dmp.errors import Invalid
from fhir_dmp.fhir.reference import ID, parse_literal
from fhir_dmp.search.types import token
from fhir_dmp.search.types.values import unescape, unsupported
from fhir_dmp.store.query import Eq, In, Query

IDENTIFIER = ":identifier"
_MANY = 12


def entries(name: str, value: Any, datatype: str, base_url: str) -> list[str]:
    """Return the tokens of a Reference, canonical or uri for the parameter ``name`` (``Type.param``)."""
    if isinstance(value, str):
        return [f"{name}={form}" for form in _url_forms(value, datatype, base_url)]
    if not isinstance(value, dict):
        return []
    found = []
    if isinstance(value.get("reference"), str):
        found = [f"{name}={form}" for form in _url_forms(value["reference"], "Reference", base_url)]
    if isinstance(value.get("identifier"), dict):
        found += [f"{name}{IDENTIFIER}={form}" for form in token.forms(value["identifier"], "Identifier")]
    return found


def _url_forms(url: str, datatype: str, base_url: str) -> list[str]:
    if url.startswith("#"):
        return []
    literal = parse_literal(url)
    if literal is not None and (literal.base is None or literal.base == base_url):
        return [str(literal.ref)]
    bare, bar, _ = url.partition("|")
    return [url, bare] if bar and datatype == "canonical" else [url]


def compile_values(
    name: str, values: tuple[str, ...], modifier: str | None, targets: tuple[str, ...], base_url: str
) -> Query:
    """Return the query for any of the values; a bare id is tried with each type that the parameter may point at."""
    if modifier == "identifier":
        return token.compile_values(f"{name}{IDENTIFIER}=", values, None)
    if modifier is not None and modifier not in targets:
        raise unsupported(modifier, name)
    wanted = (modifier,) if modifier else targets
    asked = tuple(f"{name}={form}" for value in values for form in _asked(unescape(value), wanted, modifier, base_url))
    return Eq("t", asked[0]) if len(asked) == 1 else In("t", asked)


def _asked(text: str, targets: tuple[str, ...], modifier: str | None, base_url: str) -> list[str]:
    literal = parse_literal(text)
    if literal is not None and literal.base in (None, base_url):
        if modifier is not None and literal.type != modifier:
            raise Invalid(f"{text[:100]!r} is not of the type :{modifier}.")
        return [str(literal.ref)]
    if ID.match(text):
        return [f"{target}/{text}" for target in targets] or [text]
    return [text]

"""Token: a code, with or without its system. https://hl7.org/fhir/R4/search.html#token.

Indexed as ``code`` and, with a system, ``system|code``; without one, ``|code``. ``system|`` is asked by prefix.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fhir_dmp.search.types.values import split, unescape, unsupported
from fhir_dmp.store.query import Eq, In, Not, Query, either, prefix


def forms(value: Any, datatype: str) -> list[str]:
    """Return the strings that a value is found by."""
    if datatype == "boolean":
        return ["true" if value else "false"]
    if isinstance(value, str):
        return [_plain(value), f"|{_plain(value)}"]
    if not isinstance(value, dict):
        return [str(value)]
    return [form for system, code in _codings(value, datatype) for form in _forms(system, code)]


def _codings(value: dict[str, Any], datatype: str) -> Iterator[tuple[str | None, str | None]]:
    if datatype == "CodeableConcept":
        for coding in value.get("coding", ()):
            yield coding.get("system"), coding.get("code")
    elif datatype in ("Identifier", "ContactPoint"):
        yield (value.get("system") if datatype == "Identifier" else None), value.get("value")
    else:
        yield value.get("system"), value.get("code")


def _forms(system: str | None, code: str | None) -> Iterator[str]:
    if code is None:
        return
    yield _plain(code)
    yield f"{_plain(system)}|{_plain(code)}" if system else f"|{_plain(code)}"


def _plain(text: str) -> str:
    """Return the text with its own bars told apart from the one between system and code."""
    return text.replace("|", "\\|") if "|" in text else text


def compile_values(key: str, values: tuple[str, ...], modifier: str | None) -> Query:
    """Return the query for any of the values under ``key`` (``Type.param=``)."""
    if modifier not in (None, "not"):
        raise unsupported(modifier, key.rstrip("="))
    exact = tuple(f"{key}{_asked(value)}" for value in values if not value.endswith("|"))
    systems = [prefix("t", f"{key}{_asked(value)}") for value in values if value.endswith("|")]
    codes: list[Query] = [Eq("t", exact[0]) if len(exact) == 1 else In("t", exact)] if exact else []
    found = either([*codes, *systems])
    return Not(found) if modifier == "not" else found


def _asked(value: str) -> str:
    return "|".join(_plain(unescape(part)) for part in split(value, "|"))

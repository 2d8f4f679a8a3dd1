"""Token: a code, with or without its system. https://hl7.org/fhir/R4/search.html#token.

Indexed as ``code`` and, with a system, ``system|code``; a code that could have a system and has none also as ``|code``. ``system|`` is
asked by prefix. Matches are literal, but for elements of the type ``string`` case counts for nothing. What a code is called
(text, display) is indexed under ``Type.param:text``, as a string.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from fhir_dmp.definitions.model import Path
from fhir_dmp.errors import Invalid
from fhir_dmp.search.types import string
from fhir_dmp.search.types.values import bounded, halves, unsupported
from fhir_dmp.store.query import Eq, In, Query, either, prefix

TEXT = ":text"
Forms = Callable[[Any], list[str]]

_WITHOUT_SYSTEM = frozenset({"boolean", "code", "id", "string", "uri", "ContactPoint", "dateTime"})
_BAR_FORBIDDEN = frozenset({"boolean", "uri", "ContactPoint"})
_TEXTS = frozenset({"CodeableConcept", "Coding", "Identifier"})


def forms(datatype: str) -> Forms:
    """Return the function from a value of the datatype to the strings that it is found by."""
    return _FORMS.get(datatype, _no_forms)


def indexer(name: str, path: Path) -> Callable[[Any], list[str]]:
    """Return the function from a value to its tokens for the parameter ``name`` (``Type.param``)."""
    key = f"{name}="
    if path.present_is_true:
        return lambda value: [key + ("false" if value is False else "true")]
    found_by, named = forms(path.type), path.type in _TEXTS

    def tokens(value: Any) -> list[str]:
        found = [key + form for form in found_by(value)]
        if named:
            found += [f"{name}{TEXT}={text}" for text in texts(value)]
        return found

    return tokens


def texts(value: Any) -> list[str]:
    """Return what a CodeableConcept, Coding or Identifier is called, folded."""
    if not isinstance(value, dict):
        return []
    return list(dict.fromkeys(string.folded(text) for text in _texts(value) if isinstance(text, str)))


def _texts(value: dict[str, Any]) -> Iterator[Any]:
    yield value.get("text")
    yield value.get("display")
    for coding in value.get("coding") or ():
        yield coding.get("display")
    yield (value.get("type") or {}).get("text")


def _concept(value: Any) -> list[str]:
    return [form for coding in value.get("coding") or () for form in _coding(coding)]


def _coding(value: Any) -> list[str]:
    return _pair(value.get("system"), value.get("code"))


def _identifier(value: Any) -> list[str]:
    return _pair(value.get("system"), value.get("value"))


def _pair(system: str | None, code: str | None) -> list[str]:
    if not code:
        return [bounded(f"{system}|")] if system else []
    plain = code.replace("|", "\\|")
    return [bounded(plain), bounded(f"{system or ''}|{plain}")]


def _contact(value: Any) -> list[str]:
    return _literal(value.get("value"))


def _literal(value: Any) -> list[str]:
    return [bounded(value.replace("|", "\\|"))] if isinstance(value, str) else []


def _caseless(value: Any) -> list[str]:
    return _literal(value.lower()) if isinstance(value, str) else []


def _boolean(value: Any) -> list[str]:
    return ["true" if value else "false"]


def _no_forms(_: Any) -> list[str]:
    return []


_FORMS: Mapping[str, Forms] = {
    "CodeableConcept": _concept,
    "Coding": _coding,
    "Identifier": _identifier,
    "ContactPoint": _contact,
    "boolean": _boolean,
    "code": _literal,
    "id": _literal,
    "uri": _literal,
    "dateTime": _literal,
    "string": _caseless,
}


def compile_values(name: str, values: Sequence[str], modifier: str | None, paths: Sequence[Path]) -> Query:
    """Return the query for any of the values of the parameter ``name``, which reads ``paths``."""
    if modifier == "text":
        return string.compile_values(name + TEXT, values, None)
    if modifier is not None:
        raise unsupported(modifier, name)
    kinds = frozenset(path.type for path in paths)
    wanted = tuple(asked(name, value, kinds) for value in values)
    exact = tuple(f"{name}={form}" for form in wanted if not form.endswith("|"))
    systems = [prefix("t", f"{name}={form}") for form in wanted if form.endswith("|")]
    codes: list[Query] = [Eq("t", exact[0]) if len(exact) == 1 else In("t", exact)] if exact else []
    return either([*codes, *systems])


def asked(name: str, value: str, kinds: frozenset[str]) -> str:
    """Return the form that a value asks for among those that ``forms`` gives; it ends in a bar for all of a system."""
    system, code = halves(value)
    if kinds == {"string"}:
        code = code.lower()
    plain = code.replace("|", "\\|")
    if system is None:
        return bounded(plain)
    if kinds and kinds <= _BAR_FORBIDDEN:
        raise Invalid(f"{name} has no system: write the value alone.", expression=name)
    if system == "" and code == "":
        raise Invalid(f"{value[:40]!r} names neither a system nor a code.", expression=name)
    if system == "" and kinds and kinds <= _WITHOUT_SYSTEM:
        return bounded(plain)
    return bounded(f"{system}|{plain}")

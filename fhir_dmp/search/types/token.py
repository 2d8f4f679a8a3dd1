"""Token: a code, with or without its system. https://hl7.org/fhir/R4/search.html#token.

Indexed as ``code`` and, with a system, ``system|code``; a code that could have a system and has none also as ``|code``. ``system|`` is
asked by prefix. A ``code`` has the system that its binding implies, which is not indexed: it is looked at when asked. Matches are
literal, but for elements of the type ``string`` case counts for nothing. A contact point is asked with its own system (``phone|…``) too.
What a code is called (text, display) is indexed under ``Type.param:text``, as a string.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fhir_dmp.definitions.model import Path
from fhir_dmp.errors import Invalid, NotSupported
from fhir_dmp.search.types import string
from fhir_dmp.search.types.values import bounded, halves, split, unescape, unsupported
from fhir_dmp.store.query import Eq, In, Query, either, prefix

TEXT = ":text"
OF_TYPE = ":of-type"
Forms = Callable[[Any], list[str]]

Form = tuple[str, bool]
"""A form that values are found by, and whether it is the beginning of all that are meant."""

_BARE = frozenset({"boolean", "code", "id", "string", "uri", "dateTime"})
_BAR_FORBIDDEN = frozenset({"boolean", "uri"})
_TEXTS = frozenset({"CodeableConcept", "Coding", "Identifier"})


def forms(datatype: str) -> Forms:
    """Return the function from a value of the datatype to the strings that it is found by."""
    return _FORMS.get(datatype, _no_forms)


def indexer(name: str, path: Path) -> Callable[[Any], list[str]]:
    """Return the function from a value to its tokens for the parameter ``name`` (``Type.param``)."""
    key, text_key = f"{name}=", f"{name}{TEXT}="
    if path.present_is_true:
        return lambda value: [key + ("false" if value is False else "true")]
    found_by, named, identified = forms(path.type), path.type in _TEXTS, path.type == "Identifier"

    def tokens(value: Any) -> list[str]:
        found = [key + form for form in found_by(value)]
        if named:
            found += [text_key + text for text in texts(value)]
        if identified:
            found += [f"{name}{OF_TYPE}={form}" for form in _typed(value)]
        return found

    return tokens


def texts(value: Any) -> list[str]:
    """Return what a CodeableConcept, Coding or Identifier is called, folded."""
    if not isinstance(value, dict):
        return []
    return list(dict.fromkeys([string.folded(text) for text in _texts(value) if isinstance(text, str)]))


def _texts(value: dict[str, Any]) -> list[Any]:
    given = [value.get("text"), value.get("display")]
    given += [coding.get("display") for coding in value.get("coding") or ()]
    given.append((value.get("type") or {}).get("text"))
    return given


def _typed(value: Any) -> list[str]:
    """Return an identifier's value below each coding of its type."""
    number = value.get("value")
    codings = (value.get("type") or {}).get("coding") or ()
    pairs = [(each.get("system") or "", each["code"]) for each in codings if each.get("code")]
    return [_of_type(system, code, number) for system, code in pairs] if number else []


def _of_type(system: str, code: str, number: str) -> str:
    return bounded("|".join(each.replace("|", "\\|") for each in (system, code, number)))


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
    "ContactPoint": _identifier,
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
    if modifier == "of-type" and all(path.type == "Identifier" for path in paths):
        return In("t", tuple(f"{name}{OF_TYPE}={_asked_of_type(name, value)}" for value in values))
    if modifier is not None:
        raise unsupported(modifier, name)
    return any_of(f"{name}=", [form for value in values for form in asked(name, value, paths)])


def any_of(start: str, wanted: Sequence[Form]) -> Query:
    """Return the query for any of the forms, each with ``start`` before it in the index."""
    exact = tuple(dict.fromkeys(start + form for form, whole in wanted if not whole))
    wholes = [prefix("t", start + form) for form, whole in dict.fromkeys(wanted) if whole]
    codes: list[Query] = [Eq("t", exact[0]) if len(exact) == 1 else In("t", exact)] if exact else []
    return either([*codes, *wholes])


def _asked_of_type(name: str, value: str) -> str:
    parts = [unescape(part) for part in split(value, "|")]
    if len(parts) != 3 or not all(parts):
        raise Invalid(f"{name}:of-type is written system|code|value.", expression=name)
    return _of_type(*parts)


def of_codes(name: str, codes: Mapping[str, frozenset[str] | None], paths: Sequence[Path]) -> Query:
    """Return the query for any of the codes of these systems (None: all of one)."""
    wanted: list[Form] = []
    for system, own in codes.items():
        if own is None and not any(path.systems for path in paths) and all(path.type in _BARE for path in paths):
            raise NotSupported(f"{name} has no system: all codes of one cannot be asked for.", expression=name)
        codes_of = ("",) if own is None else sorted(own)
        wanted += [form for code in codes_of for form in _forms_of(system, code, paths, implied=True)]
    return any_of(f"{name}=", wanted)


def asked(name: str, value: str, paths: Sequence[Path]) -> list[Form]:
    """Return the forms that a value asks for among those that ``forms`` gives; none if nothing can be found by it."""
    system, code = halves(value)
    kinds = {path.type for path in paths}
    if kinds == {"string"}:
        code = code.lower()
    if system is None:
        return [(bounded(_plain(code)), False)]
    if kinds and kinds <= _BAR_FORBIDDEN:
        raise Invalid(f"{name} has no system: write the value alone.", expression=name)
    if system == "" and code == "":
        raise Invalid(f"{value[:40]!r} names neither a system nor a code.", expression=name)
    return _forms_of(system, code, paths)


def _forms_of(system: str, code: str, paths: Sequence[Path], *, implied: bool = False) -> list[Form]:
    """Return what is asked for by system and code (either may be empty); ``implied``: an element without a system may have any."""
    coded = (bounded(f"{system}|{_plain(code)}"), code == "")
    found: list[Form] = [] if paths else [coded]
    for path in paths:
        if path.systems:
            found += [form for own, codes in path.systems if own == system for form in _bound(code, codes)]
        elif path.type not in _BARE:
            found.append(coded)
        elif code and (implied or system == ""):
            found.append((bounded(_plain(code)), False))
    return found


def _bound(code: str, codes: frozenset[str] | None) -> list[Form]:
    """Return what finds a code, or any (empty), of those that a system has for an element."""
    if code:
        return [(bounded(_plain(code)), False)] if codes is None or code in codes else []
    return [("", True)] if codes is None else [(bounded(_plain(each)), False) for each in sorted(codes)]


def _plain(code: str) -> str:
    return code.replace("|", "\\|")

"""The formats of primitive types. https://hl7.org/fhir/R4/datatypes.html#primitive.

Each check takes a parsed JSON value and returns what is wrong with it, or None.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Mapping
from typing import Any

from fhir_dmp.fhir.codec import LONGEST_NUMBER, Number
from fhir_dmp.validation import narrative

LONGEST_STRING = 1024 * 1024
_INTEGER = 2**31
Check = Callable[[Any], str | None]

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
"""What no XML can hold."""

_SOLID = r"[^\s\x00-\x1f\ufffe\uffff]+"
_ZONE = r"(?:Z|[+-](?:(?:0\d|1[0-3]):[0-5]\d|14:00))"
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d+)?"
_DATE = re.compile(r"(\d{4})(?:-(0[1-9]|1[0-2])(?:-(0[1-9]|[12]\d|3[01]))?)?\Z")
_DATE_TIME = re.compile(rf"(\d{{4}})(?:-(0[1-9]|1[0-2])(?:-(0[1-9]|[12]\d|3[01])(?:T{_TIME}{_ZONE})?)?)?\Z")
_INSTANT = re.compile(rf"(\d{{4}})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T{_TIME}{_ZONE}\Z")
_EXPONENT = re.compile(r"[eE][+-]?0*(\d*)\Z")
_EXPONENT_DIGITS = 6
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?\Z")


def _matching(pattern: str, what: str) -> Check:
    matcher = re.compile(pattern).match

    def check(value: Any) -> str | None:
        if type(value) is not str:
            return f"must be a JSON string: {what}"
        return None if matcher(value) else f"must be {what}"

    return check


def _dated(pattern: re.Pattern[str], what: str) -> Check:
    def check(value: Any) -> str | None:
        if type(value) is not str:
            return f"must be a JSON string: {what}"
        found = pattern.match(value)
        if found is None or found[1] == "0000":
            return f"must be {what}"
        year, month, day = found.groups()
        if day and int(day) > monthrange(int(year), int(month))[1]:
            return f"is no day of the calendar: {year}-{month}-{day}"
        return None

    return check


def string(value: Any) -> str | None:
    """Judge a string or markdown: not empty, no control characters."""
    if type(value) is not str:
        return "must be a JSON string"
    if not value or value.isspace():
        return "must not be empty"
    if len(value) > LONGEST_STRING:
        return f"must not be longer than {LONGEST_STRING} characters"
    return "must not hold control characters" if _CONTROL.search(value) else None


def boolean(value: Any) -> str | None:
    """Judge a boolean."""
    return None if type(value) is bool else "must be true or false, without quotes"


def decimal(value: Any) -> str | None:
    """Judge a decimal; one that is longer than anybody measures is refused, and never cut."""
    if type(value) is not Number:
        return None if type(value) is int else "must be a JSON number"
    if len(value.text) > LONGEST_NUMBER:
        return f"must not be longer than {LONGEST_NUMBER} characters"
    exponent = _EXPONENT.search(value.text)
    return (
        None
        if exponent is None or len(exponent[1]) <= _EXPONENT_DIGITS
        else "has an exponent beyond any number that is kept"
    )


def _integer(low: int, what: str) -> Check:
    def check(value: Any) -> str | None:
        return None if type(value) is int and low <= value < _INTEGER else f"must be {what}, without quotes or fraction"

    return check


def base64_binary(value: Any) -> str | None:
    """Judge base64; white space is allowed."""
    if type(value) is not str or not value:
        return "must be a JSON string of base64"
    return None if _BASE64.match("".join(value.split())) else "must be base64"


def xhtml(value: Any) -> str | None:
    """Judge a narrative. https://hl7.org/fhir/R4/narrative.html."""
    if type(value) is not str:
        return "must be a JSON string of XHTML"
    if not value.lstrip().startswith("<div"):
        return "must be one <div> element of XHTML"
    return narrative.wrong(value)


CHECKS: Mapping[str, Check] = {
    "base64Binary": base64_binary,
    "boolean": boolean,
    "canonical": _matching(rf"{_SOLID}\Z", "a canonical URL without spaces"),
    "code": _matching(rf"{_SOLID}(?: {_SOLID})*\Z", "a code, without spaces at its ends or two in a row"),
    "date": _dated(_DATE, "a date: 2024, 2024-05 or 2024-05-31"),
    "dateTime": _dated(_DATE_TIME, "a dateTime: 2024, 2024-05, 2024-05-31 or 2024-05-31T12:00:00Z"),
    "decimal": decimal,
    "id": _matching(r"[A-Za-z0-9\-.]{1,64}\Z", "an id: 1 to 64 letters, digits, hyphens and dots"),
    "instant": _dated(_INSTANT, "an instant: 2024-05-31T12:00:00Z"),
    "integer": _integer(-_INTEGER, "an integer of 32 bits"),
    "markdown": string,
    "oid": _matching(r"urn:oid:[0-2](?:\.(?:0|[1-9]\d*))+\Z", "an OID: urn:oid:1.2.3"),
    "positiveInt": _integer(1, "an integer of 1 or more"),
    "string": string,
    "time": _matching(rf"{_TIME}\Z", "a time: 12:00:00"),
    "unsignedInt": _integer(0, "an integer of 0 or more"),
    "uri": _matching(rf"{_SOLID}\Z", "a URI without spaces"),
    "url": _matching(rf"{_SOLID}\Z", "a URL without spaces"),
    "uuid": _matching(r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z", "a UUID: urn:uuid:…"),
    "xhtml": xhtml,
}

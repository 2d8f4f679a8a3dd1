"""The JSON of FHIR, in and out, digit for digit. https://hl7.org/fhir/R4/json.html.

A decimal keeps the text it came with (``36.70``, ``1.0E-5``), since its precision is part of its meaning. What is not
JSON, or is JSON that two readers could understand differently (a key twice, a lone surrogate, NUL), is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from fhir_dmp.errors import Invalid

LONGEST_NUMBER = 200
"""Characters of a number that is kept or asked for; R4 asks for 18 digits to be kept. https://hl7.org/fhir/R4/datatypes.html#decimal."""

_BOM = b"\xef\xbb\xbf"
_LONG = 18
"""Digits that are sure to fit 64 bits; longer integers stay text."""


class Number:
    """A JSON number as it was written; ``value`` is what it says."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    @property
    def value(self) -> Decimal:
        """Return the number with its precision."""
        return Decimal(self.text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Number) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Number({self.text})"


def loads(raw: bytes) -> Any:
    """Return the parsed document: dicts, lists, str, bool, int, ``Number``, None.

    Raises ``Invalid`` with the place of the fault. A byte order mark is passed over (RFC 8259, 8.1).
    """
    try:
        text = raw.removeprefix(_BOM).decode()
        tree = json.loads(
            text,
            object_pairs_hook=_object,
            parse_float=Number,
            parse_int=_integer,
            parse_constant=_constant,
        )
    except RecursionError:
        raise Invalid("The body is nested too deeply.") from None
    except UnicodeDecodeError as fault:
        raise Invalid(f"The body is not UTF-8: byte {fault.start}.") from None
    except ValueError as fault:
        raise Invalid(f"The body is not JSON: {fault}.") from None
    if "\\ud" in text or "\\uD" in text:
        dumps(tree)
    return tree


def loads_object(raw: bytes) -> dict[str, Any]:
    """Return the parsed document, which must be an object."""
    tree = loads(raw)
    if not isinstance(tree, dict):
        raise Invalid("The body must be a JSON object.")
    return tree


def dumps(tree: object) -> bytes:
    """Return compact JSON in UTF-8, keys in the order of the dicts, numbers as they were written."""
    try:
        return _encoder.encode(tree)
    except UnicodeEncodeError:
        raise Invalid("The body holds half of a surrogate pair, which is no character.") from None


def pretty(body: bytes) -> bytes:
    """Return the same document, indented for people."""
    return msgspec.json.format(body, indent=2)


def decimal(value: object) -> Decimal | None:
    """Return the number that a parsed JSON value is, or None."""
    if isinstance(value, Number):
        return value.value
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    return None


def plain(tree: object) -> Any:
    """Return the document with every ``Number`` as a float, for libraries that know no other."""
    if isinstance(tree, Mapping):
        return {key: plain(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [plain(value) for value in tree]
    return float(tree.value) if isinstance(tree, Number) else tree


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return made


def _integer(text: str) -> int | Number:
    return Number(text) if len(text) > _LONG or text == "-0" else int(text)


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _raw(value: object) -> msgspec.Raw:
    if isinstance(value, Number):
        return msgspec.Raw(value.text.encode())
    raise TypeError(type(value).__name__)


_encoder = msgspec.json.Encoder(enc_hook=_raw)

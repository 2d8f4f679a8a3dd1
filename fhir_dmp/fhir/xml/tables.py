"""What reading and writing XML have in common: what they know of types, and how an attribute is written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

from fhir_dmp.fhir.codec import Number

NAMESPACE = "http://hl7.org/fhir"
XHTML = "http://www.w3.org/1999/xhtml"

_NO_CHARACTER = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}
)


class Element(Protocol):
    """What is needed to know of an element."""

    @property
    def name(self) -> str:
        """The property in JSON, which is the name in XML."""
        ...

    @property
    def type(self) -> str:
        """Its datatype."""
        ...

    @property
    def array(self) -> bool:
        """Whether JSON has a list."""
        ...


class Table(Protocol):
    """What is needed to know of a type."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def kind(self) -> str:
        """``resource``, ``complex-type`` or ``backbone``."""
        ...

    @property
    def elements(self) -> Mapping[str, Any]:
        """Its elements (``Element``) by property, in their order."""
        ...


Tables = Mapping[str, Any]
"""Types (``Table``) by name; what is no key of it and no Resource is a primitive."""


def is_attribute(table: Table, name: str) -> bool:
    """Tell whether XML has the element as an attribute."""
    return (name == "id" and table.kind != "resource") or (name == "url" and table.name == "Extension")


def attribute(name: str, value: Any) -> str:
    """Return the attribute with a blank before it; nothing without a value."""
    if value is None:
        return ""
    text = value.text if isinstance(value, Number) else str(value).lower() if isinstance(value, bool) else str(value)
    return f' {name}="{_NO_CHARACTER.sub(chr(0xFFFD), text).translate(_ESCAPES)}"'

"""A parsed resource as XML. https://hl7.org/fhir/R4/xml.html."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html.entities import html5
from typing import Any

from fhir_dmp.fhir.xml.tables import NAMESPACE, XHTML, Element, Table, Tables, attribute, is_attribute

_ENTITY = re.compile(r"&([A-Za-z][A-Za-z0-9]*);")
_OWN_ENTITIES = ("amp", "lt", "gt", "quot", "apos")


def write(tree: Mapping[str, Any], tables: Tables, *, pretty: bool = False) -> bytes:
    """Return the XML of a parsed resource; what its tables do not know is left out."""
    writer = _Writer(tables, pretty=pretty)
    writer.resource(tree, 0, f' xmlns="{NAMESPACE}"')
    return b'<?xml version="1.0" encoding="UTF-8"?>' + "".join(writer.parts).encode()


class _Writer:
    """Puts elements in the order of the tables."""

    def __init__(self, tables: Tables, *, pretty: bool) -> None:
        self.parts: list[str] = []
        self._tables = tables
        self._pretty = pretty

    def resource(self, tree: Mapping[str, Any], depth: int, namespace: str = "") -> None:
        table = self._tables[str(tree["resourceType"])]
        self._object(table.name, table, tree, depth, namespace)

    def _object(self, name: str, table: Table, tree: Mapping[str, Any], depth: int, attributes: str = "") -> None:
        for key in ("id",) if table.kind != "resource" else ():
            attributes += attribute("id", tree.get(key))
        if table.name == "Extension":
            attributes += attribute("url", tree.get("url"))
        self._open(name, attributes, depth)
        for element in table.elements.values():
            if not is_attribute(table, element.name):
                self._element(element, tree, depth + 1)
        self._close(name, depth)

    def _element(self, element: Element, tree: Mapping[str, Any], depth: int) -> None:
        value, beside = tree.get(element.name), tree.get(f"_{element.name}")
        if value is None and beside is None:
            return
        if isinstance(value, list) or isinstance(beside, list):
            values, besides = _list(value), _list(beside)
            longest = max(len(values), len(besides))
            values += [None] * (longest - len(values))
            besides += [None] * (longest - len(besides))
            for one, more in zip(values, besides, strict=True):
                self._value(element, one, more, depth)
        else:
            self._value(element, value, beside, depth)

    def _value(self, element: Element, value: Any, beside: Any, depth: int) -> None:
        if element.type == "xhtml":
            self._break(depth)
            self.parts.append(_narrative(str(value)))
        elif element.type == "Resource":
            self._open(element.name, "", depth)
            self.resource(value, depth + 1)
            self._close(element.name, depth)
        elif element.type in self._tables:
            self._object(element.name, self._tables[element.type], value, depth)
        else:
            self._primitive(element.name, value, beside if isinstance(beside, Mapping) else {}, depth)

    def _primitive(self, name: str, value: Any, beside: Mapping[str, Any], depth: int) -> None:
        attributes = attribute("id", beside.get("id")) + attribute("value", value)
        extensions = beside.get("extension")
        if not extensions:
            self._break(depth)
            self.parts.append(f"<{name}{attributes}/>")
            return
        self._open(name, attributes, depth)
        for extension in extensions:
            self._object("extension", self._tables["Extension"], extension, depth + 1)
        self._close(name, depth)

    def _open(self, name: str, attributes: str, depth: int) -> None:
        self._break(depth)
        self.parts.append(f"<{name}{attributes}>")

    def _close(self, name: str, depth: int) -> None:
        if self.parts[-1].startswith(f"<{name}") and not self.parts[-1].endswith("/>") and self.parts[-1][1] != "/":
            self.parts[-1] = f"{self.parts[-1][:-1]}/>"
            return
        self._break(depth)
        self.parts.append(f"</{name}>")

    def _break(self, depth: int) -> None:
        if self._pretty:
            self.parts.append("\n" + "  " * depth)


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [] if value is None else [value]


def _narrative(text: str) -> str:
    """Return the div as it stands, in its namespace, with the entities of HTML as characters."""
    text = _ENTITY.sub(_character, text.strip())
    head = text[: text.find(">")]
    return text if "xmlns" in head else text.replace("<div", f'<div xmlns="{XHTML}"', 1)


def _character(found: re.Match[str]) -> str:
    if found[1] in _OWN_ENTITIES:
        return found[0]
    return "".join(f"&#{ord(char)};" for char in html5.get(f"{found[1]};", "\ufffd"))

"""XML as the parsed resource that it is. https://hl7.org/fhir/R4/xml.html."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from xml.parsers import expat

from fhir_dmp.errors import Invalid
from fhir_dmp.fhir.codec import Number
from fhir_dmp.fhir.xml.tables import NAMESPACE, XHTML, Element, Table, Tables, attribute, is_attribute

DEEPEST = 100

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?\Z", re.ASCII)
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})\Z", re.ASCII)
_INTEGERS = ("integer", "positiveInt", "unsignedInt")
_FLAGS = {"true": True, "false": False}
_TEXT_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def read(raw: bytes, tables: Tables) -> dict[str, Any]:
    """Return the parsed resource that the XML is; numbers as ``codec.Number``, the narrative as it was written.

    Raises ``Invalid`` for what is not well-formed, declares a document type, is no UTF-8, nests too deeply, or has an element or
    attribute that its type does not know.
    """
    root = _Reader(raw).parse()
    return _Builder(tables).resource(root)


class _Node:
    """One element as it was read. ``raw`` is the text of a narrative."""

    __slots__ = ("attributes", "children", "name", "raw")

    def __init__(self, name: str, attributes: Mapping[str, str]) -> None:
        self.name = name
        self.attributes = attributes
        self.children: list[_Node] = []
        self.raw: str | None = None


class _Reader:
    """Makes nodes of the bytes, narratives uncut."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._open: list[_Node] = []
        self._root: _Node | None = None
        self._inside = 0
        self._start = 0
        self._plain: list[str] = []
        self._is_plain = True
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = self._begin
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = self._refuse
        parser.EntityDeclHandler = self._refuse
        parser.XmlDeclHandler = self._declared
        self._parser = parser

    def parse(self) -> _Node:
        try:
            self._parser.Parse(self._raw, True)  # noqa: FBT003 - it is the whole document
        except expat.ExpatError as fault:
            text = f"The body is not XML: {expat.ErrorString(fault.code)}, line {fault.lineno}."
            raise Invalid(text) from None
        except UnicodeDecodeError:
            raise Invalid("The body is not UTF-8.") from None
        if self._root is None:
            raise Invalid("The body is not XML: it is empty.")
        return self._root

    def _declared(self, version: str, encoding: str | None, standalone: int) -> None:
        del version, standalone
        if (encoding or "utf-8").lower() not in ("utf-8", "utf8", "us-ascii", "ascii"):
            raise Invalid("XML is read in UTF-8.")

    def _refuse(self, *_: object) -> None:
        raise Invalid("XML with a document type is not read.")

    def _begin(self, name: str, attributes: Mapping[str, str]) -> None:
        namespace, _, local = name.rpartition(" ")
        if len(self._open) + self._inside >= DEEPEST:
            raise Invalid("The body is nested too deeply.")
        if self._inside:
            self._inside += 1
            self._plain.append(f"<{local}{_attributes(attributes)}>")
            return
        if namespace not in (NAMESPACE, XHTML) or (namespace == XHTML) != (local == "div"):
            raise Invalid(f"The element {local[:64]!r} is not in the namespace {NAMESPACE}.")
        node = _Node(local, attributes)
        if self._open:
            self._open[-1].children.append(node)
        else:
            self._root = node
        self._open.append(node)
        if namespace == XHTML:
            self._inside, self._start = 1, self._parser.CurrentByteIndex
            head = self._raw[self._start : self._raw.find(b">", self._start)]
            self._is_plain = head.startswith(b"<div") and b"xmlns=" in head
            self._plain = [f'<div xmlns="{XHTML}"{_attributes(attributes)}>']

    def _end(self, name: str) -> None:
        if self._inside > 1:
            self._inside -= 1
            self._plain.append(f"</{name.rpartition(' ')[2]}>")
            return
        node = self._open.pop()
        if self._inside:
            self._inside = 0
            stop = self._raw.find(b">", self._parser.CurrentByteIndex) + 1
            written = self._raw[self._start : stop].decode()
            node.raw = written if self._is_plain else "".join([*self._plain, "</div>"])

    def _text(self, text: str) -> None:
        if self._inside:
            self._plain.append(text.translate(_TEXT_ESCAPES))
        elif not text.isspace():
            raise Invalid(f"The text {text.strip()[:40]!r} stands where only elements may.")


def _attributes(attributes: Mapping[str, str]) -> str:
    return "".join(attribute(name.rpartition(" ")[2], value) for name, value in attributes.items())


class _Builder:
    """Makes a parsed resource of nodes, by the tables."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def resource(self, node: _Node) -> dict[str, Any]:
        table = self._tables.get(node.name)
        if table is None or table.kind != "resource":
            raise Invalid(f"The element {node.name[:64]!r} is no resource of R4.", expression=node.name[:64])
        return {"resourceType": node.name, **self._object(node, table, node.name)}

    def _object(self, node: _Node, table: Table, path: str) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for name, text in node.attributes.items():
            if not is_attribute(table, name):
                self._unknown_attribute(name, path)
            else:
                made[name] = text
        for child in node.children:
            element = table.elements.get(child.name)
            if element is None or is_attribute(table, child.name):
                raise Invalid(f"{path} has no element {child.name[:64]!r}.", expression=path)
            value, beside = self._value(child, element, f"{path}.{child.name}")
            if element.array:
                made.setdefault(child.name, []).append(value)
                made.setdefault(f"_{child.name}", []).append(beside or None)
            elif child.name in made or f"_{child.name}" in made:
                raise Invalid(f"{path}.{child.name} stands twice.", expression=f"{path}.{child.name}")
            else:
                if value is not None:
                    made[child.name] = value
                if beside:
                    made[f"_{child.name}"] = beside
        return {name: value for name, value in made.items() if not _is_hollow(value)}

    def _value(self, node: _Node, element: Element, path: str) -> tuple[Any, dict[str, Any]]:
        if element.type == "xhtml":
            return node.raw, {}
        placeholder = element.array and element.type not in self._tables
        if not node.attributes and not node.children and not placeholder:
            raise Invalid(f"{path} is empty: give it a value, or leave it out (ele-1).", expression=path)
        if element.type == "Resource":
            if len(node.children) != 1 or node.attributes:
                raise Invalid(f"{path} holds one resource.", expression=path)
            return self.resource(node.children[0]), {}
        if element.type in self._tables:
            return self._object(node, self._tables[element.type], path), {}
        return self._primitive(node, element.type, path)

    def _primitive(self, node: _Node, kind: str, path: str) -> tuple[Any, dict[str, Any]]:
        beside: dict[str, Any] = {}
        value: Any = None
        for name, text in node.attributes.items():
            if name == "value":
                value = _typed(text, kind)
            elif name == "id":
                beside["id"] = text
            else:
                self._unknown_attribute(name, path)
        for child in node.children:
            if child.name != "extension":
                raise Invalid(f"{path} has no element {child.name[:64]!r}.", expression=path)
            extension = self._object(child, self._tables["Extension"], f"{path}.extension")
            beside.setdefault("extension", []).append(extension)
        return value, beside

    def _unknown_attribute(self, name: str, path: str) -> None:
        if not name.startswith("http://www.w3.org/2001/XMLSchema-instance "):
            raise Invalid(f"{path} has no attribute {name[:64]!r}.", expression=path)


def _typed(text: str, kind: str) -> Any:
    """Return the value as JSON has it; what does not parse stays text, for the validator to name."""
    if kind == "boolean":
        return _FLAGS.get(text, text)
    if kind in _INTEGERS and _INTEGER.match(text) and text != "-0":
        return int(text)
    if kind == "decimal" and _NUMBER.match(text):
        return int(text) if _INTEGER.match(text) and text != "-0" else Number(text)
    return text


def _is_hollow(value: Any) -> bool:
    """Tell whether this is a list without an item: values that have extensions alone, or extensions that no value has."""
    return isinstance(value, list) and all(each is None for each in value)

"""The grammar of FHIRPath: from a text to a tree of tuples. https://hl7.org/fhirpath/N1/#grammar.

A node is ``("literal", value)``, ``("this",)``, ``("variable", name)``, ``("child", of, name)``, ``("index", of, place)``,
``("call", of, name, arguments)``, ``("binary", operator, left, right)`` or ``("quantity", value, unit)``. What is asked of the focus itself
has ``("this",)`` for its ``of``; ``$index`` and ``$total`` are variables with that sign. Literals of dates are texts; comments are passed over.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

Node = tuple[Any, ...]

_BETWEEN = re.compile(r"(?:\s|//[^\n]*|/\*(?:[^*]|\*(?!/))*\*/)*")
_TOKEN = re.compile(
    r"(?:(?P<text>'(?:[^'\\]|\\.)*')|(?P<number>\d+(?:\.\d+)?)|(?P<name>[A-Za-z_]\w*)|`(?P<quoted>[^`]*)`"
    r"|@(?P<date>[0-9T:.Z+-]+)|%(?P<variable>\w+)|(?P<this>\$this\b)|(?P<place>\$(?:index|total)\b)|(?P<sign><=|>=|!=|!~|[-+*/&|=~<>()\[\].,{}]))"
)
_BINDING = {
    "implies": 1,
    "or": 2,
    "xor": 2,
    "and": 3,
    "contains": 4,
    "in": 4,
    "=": 5,
    "!=": 5,
    "~": 5,
    "!~": 5,
    "<": 6,
    ">": 6,
    "<=": 6,
    ">=": 6,
    "|": 7,
    "is": 8,
    "as": 8,
    "+": 9,
    "-": 9,
    "&": 9,
    "*": 10,
    "/": 10,
    "div": 10,
    "mod": 10,
}
"""How tightly an operator binds: the higher, the tighter."""

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "f": "\f"}
_UNITS = frozenset(
    f"{each}{s}" for each in "year month week day hour minute second millisecond".split() for s in ("", "s")
)
_THIS: Node = ("this",)
_Token = tuple[str, str]


def parse(text: str) -> Node:
    """Return the tree of an expression; raise ``ValueError`` for what is none of this grammar."""
    reader = _Reader(_tokens(text))
    tree = reader.expression(0)
    if reader.kind != "end":
        raise ValueError(f"{text!r} goes on after its end")
    return tree


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    place = _past(text, 0)
    while place < len(text):
        token = _TOKEN.match(text, place)
        if token is None:
            raise ValueError(f"{text[place:]!r} is no FHIRPath")
        kind = str(token.lastgroup)
        found.append((kind, token[kind]))
        place = _past(text, token.end())
    return [*found, ("end", "")]


def _past(text: str, place: int) -> int:
    """Return where white space and comments end."""
    between = _BETWEEN.match(text, place)
    return between.end() if between else place


class _Reader:
    """Reads tokens from the left, one ahead."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._place = 0

    @property
    def kind(self) -> str:
        return self._tokens[self._place][0]

    @property
    def _ahead(self) -> str:
        return self._tokens[self._place][1]

    def _next(self) -> _Token:
        self._place += 1
        return self._tokens[self._place - 1]

    def _sign(self, sign: str) -> bool:
        return self.kind == "sign" and self._ahead == sign

    def _require(self, sign: str) -> None:
        if not self._sign(sign):
            raise ValueError(f"{sign} is missing before {self._ahead!r}")
        self._next()

    def expression(self, binding: int) -> Node:
        """Read what operators that bind more tightly hold together."""
        left = self._chain()
        while self.kind in ("sign", "name") and _BINDING.get(self._ahead, 0) > binding:
            operator = self._next()[1]
            right = ("literal", self._type()) if operator in ("is", "as") else self.expression(_BINDING[operator])
            left = ("binary", operator, left, right)
        return left

    def _type(self) -> str:
        """Read the name of a type; its namespace says nothing (``FHIR.Patient``)."""
        kind, name = self._next()
        while kind in ("name", "quoted") and self._sign("."):
            self._next()
            kind, name = self._next()
        if kind not in ("name", "quoted"):
            raise ValueError(f"{name!r} is no type")
        return name

    def _chain(self) -> Node:
        node = self._term()
        while self._sign(".") or self._sign("["):
            if self._next()[1] == ".":
                node = self._invoked(node)
            else:
                node = ("index", node, self.expression(0))
                self._require("]")
        return node

    def _term(self) -> Node:  # noqa: PLR0911 - one line for each kind of term
        if self._sign("("):
            self._next()
            node = self.expression(0)
            self._require(")")
            return node
        if self.kind in ("name", "quoted"):
            return (
                self._invoked(_THIS) if self._ahead not in ("true", "false") else ("literal", self._next()[1] == "true")
            )
        kind, text = self._next()
        if text in ("+", "-") and kind == "sign":
            return ("binary", text, ("literal", Decimal(0)), self._chain())
        if text == "{" and kind == "sign":
            self._require("}")
            return ("literal", None)
        if kind == "date":
            return ("literal", text)
        if kind == "this":
            return _THIS
        if kind in ("variable", "place"):
            return ("variable", text)
        if kind == "number":
            has_unit = self.kind == "text" or (self.kind == "name" and self._ahead in _UNITS)
            return ("quantity", Decimal(text), self._next()[1]) if has_unit else ("literal", Decimal(text))
        if kind == "text":
            return ("literal", re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), text[1:-1]))
        raise ValueError(f"{text!r} begins no term")

    def _invoked(self, of: Node) -> Node:
        kind, name = self._next()
        if kind not in ("name", "quoted"):
            raise ValueError(f"{name!r} is no name")
        if kind == "quoted" or not self._sign("("):
            return ("child", of, name)
        self._next()
        arguments: list[Node] = []
        while not self._sign(")"):
            arguments.append(self.expression(0))
            if not self._sign(")"):
                self._require(",")
        self._next()
        return ("call", of, name, tuple(arguments))

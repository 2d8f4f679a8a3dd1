"""Which places of a resource a FHIRPath chooses. https://hl7.org/fhirpath/N1/.

A path is evaluated by fhirpathpy, on a copy whose values are told apart by identity: so each node of the answer leads to one
place of the document.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from decimal import Decimal
from functools import partial
from io import StringIO
from typing import Any, Final

from fhir_dmp.errors import Invalid, Unprocessable
from fhir_dmp.fhir import codec, fhirpath
from fhir_dmp.fibres import Threads, hand_over

LONGEST_PATH = 1000
FUNCTIONS = frozenset(
    "as contains count empty endsWith exists extension first is last not ofType single skip startsWith tail take where".split()
)
"""What a path may call: functions that choose among elements, and none whose work grows beyond the document.

Nor may it name a variable: by ``%context`` each ``where`` would begin at the whole document again, for each of its elements.
"""

_CALLED = re.compile(r"([A-Za-z_]\w*)\s*\(")
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'")
_DIV = re.compile(r"('(?:[^'\\]|\\.)*')|\.div\b")
"""The one element whose name is an operator as well, unless it stands in a text."""

Place = tuple[str | int, ...]
"""Where something stands: properties and places in lists, from the resource down."""

_ONE: Final = Threads(1, "fhirpath")
"""Evaluates all paths, one after the other: fhirpathpy keeps the state of an evaluation in its modules, and its parser prints what it
does not understand. Who waits for it holds nobody up."""


def places(tree: Mapping[str, Any], path: str) -> list[Place]:
    """Return where the elements that the path chooses stand.

    Raises ``Invalid`` for a path that is too long or calls what it may not, ``Unprocessable`` for one that cannot be evaluated, or whose
    answer is no part of the resource.
    """
    if len(path) > LONGEST_PATH:
        raise Invalid(f"A path has up to {LONGEST_PATH} characters.")
    bare = _QUOTED.sub("''", path)
    if "%" in bare:
        raise Invalid("A path of a patch begins at its resource, and names no variable (%…).")
    refused = set(_CALLED.findall(bare)) - FUNCTIONS
    if refused:
        raise Invalid(f"A path of a patch may not call {', '.join(sorted(refused))[:100]}.")
    _require_well_formed(path)
    marks = _Marks(tree)
    nodes = [node for node in _evaluate(marks.tree, path) if getattr(node, "data", node) is not None]
    return [marks.place(node) for node in nodes]


def _require_well_formed(path: str) -> None:
    """Raise ``Unprocessable`` for what is no FHIRPath: fhirpathpy passes over what it does not understand, and would choose by the rest."""
    try:
        fhirpath.parse(path)
    except ValueError as fault:
        raise Unprocessable(f"The path {path[:200]!r} is no FHIRPath: {str(fault)[:200]}.") from None
    except RecursionError:
        raise Invalid("The path is nested too deeply.") from None


class _Text(str):
    """A text that can be told from an equal one."""

    __slots__ = ()


class _Whole(int):
    """An integer that can be told from an equal one."""

    __slots__ = ()


class _Decimal(Decimal):
    """A decimal that can be told from an equal one."""

    __slots__ = ()


class _Marks:
    """A copy of the document in which every value is itself alone, and the place that each is at."""

    def __init__(self, tree: Mapping[str, Any]) -> None:
        self._places: dict[int, Place] = {}
        self._flags: dict[str, Place] = {}
        self._kept: list[Any] = []
        self.tree = self._mark(tree, (), str(tree.get("resourceType")))

    def place(self, node: Any) -> Place:
        """Return where the node of an answer stands; raise ``Unprocessable`` for a value that was worked out."""
        data = getattr(node, "data", node)
        found = self._places.get(id(data))
        if found is None and isinstance(data, bool):
            found = self._flags.get(str(getattr(node, "propName", "")))
        if found is None:
            raise Unprocessable("The path chooses no element of the resource.")
        return found

    def _mark(self, value: Any, place: Place, path: str) -> Any:
        if isinstance(value, Mapping):
            marked: Any = {key: self._mark(each, (*place, key), f"{path}.{key}") for key, each in value.items()}
        elif isinstance(value, list):
            return [self._mark(each, (*place, number), f"{path}[{number}]") for number, each in enumerate(value)]
        elif isinstance(value, bool):
            for name in {path, path.removesuffix("Boolean")}:
                self._flags[name] = place
            return value
        else:
            marked = _marked(value)
        self._kept.append(marked)
        self._places[id(marked)] = place
        return marked


def _marked(value: Any) -> Any:
    if isinstance(value, str):
        return _Text(value)
    if isinstance(value, codec.Number):
        return _Decimal(value.text)
    return _Whole(value) if isinstance(value, int) else value


def _as_name(found: re.Match[str]) -> str:
    return found[1] or ".`div`"


def _evaluate(tree: Any, path: str) -> Sequence[Any]:
    return hand_over(partial(_evaluated, tree, path), _ONE)


def _evaluated(tree: Any, path: str) -> Sequence[Any]:
    import fhirpathpy  # noqa: PLC0415 - it brings a parser and models that only a patch needs
    from fhirpathpy.models import models  # noqa: PLC0415 - as above

    with redirect_stdout(StringIO()):
        try:
            found: Sequence[Any] = fhirpathpy.evaluate(
                tree, _DIV.sub(_as_name, path), {}, models["r4"], {"returnRawData": True}
            )
        except RecursionError:
            raise Invalid("The path is nested too deeply.") from None
        except Exception as fault:  # noqa: BLE001 - the library raises bare exceptions for what does not parse or apply
            raise Unprocessable(f"The path {path[:200]!r} cannot be evaluated ({type(fault).__name__}).") from None
    return found

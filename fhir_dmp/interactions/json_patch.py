"""JSON Patch on a parsed resource. https://www.rfc-editor.org/rfc/rfc6902, https://hl7.org/fhir/R4/http.html#patch.

Numbers keep their digits: what the patch does not touch comes out as it went in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jsonpatch import JsonPatch, JsonPatchException, JsonPatchTestFailed
from jsonpointer import JsonPointer, JsonPointerException

from fhir_dmp.errors import Invalid, Unprocessable
from fhir_dmp.fhir import codec

MOST_OPERATIONS = 1000


class _Number(codec.Number):
    """A number that is equal to another by what it says, as the operation ``test`` asks (RFC 6902, 4.6)."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return codec.decimal(other) == self.value

    def __hash__(self) -> int:
        return hash(self.value)


def apply(operations: list[Any], tree: Mapping[str, Any], limit: int) -> Any:
    """Return the patched document; the given one stays as it is.

    Raises ``Invalid`` for what is no JSON Patch, ``Unprocessable`` for an operation that does not apply, or copies that come to
    more than ``limit`` bytes together.
    """
    if len(operations) > MOST_OPERATIONS:
        raise Invalid(f"A JSON Patch has up to {MOST_OPERATIONS} operations; this one has {len(operations)}.")
    made = _comparable(tree)
    for place, operation in enumerate(operations):
        try:
            patch = JsonPatch([_comparable(operation)])
            limit -= _copied(operation, made)
            if limit < 0:
                raise Unprocessable("The patch copies more than a resource may hold.")
            made = patch.apply(made, in_place=True)
        except JsonPatchTestFailed:
            raise Unprocessable(f"Operation {place}: the test of {operation['path'][:200]!r} failed.") from None
        except (JsonPatchException, JsonPointerException) as fault:
            _refuse(operation, place, fault)
        except (TypeError, AttributeError, KeyError, ValueError):
            raise Invalid(f"Operation {place} is no operation of JSON Patch.") from None
    return _exact(made)


def _refuse(operation: Any, place: int, fault: Exception) -> None:
    """Tell an operation that is none from one that does not apply."""
    known = isinstance(operation, Mapping) and isinstance(operation.get("path"), str)
    kind = Unprocessable if known and "op" in operation else Invalid
    raise kind(f"Operation {place}: {str(fault)[:200]}.") from None


def _copied(operation: Any, tree: Any) -> int:
    """Return how many bytes a ``copy`` adds: repeated, it doubles what is there each time."""
    if not isinstance(operation, Mapping) or operation.get("op") != "copy":
        return 0
    return len(codec.dumps(JsonPointer(operation["from"]).resolve(tree)))


def _comparable(value: Any) -> Any:
    """Return a copy in which numbers are equal by what they say."""
    if isinstance(value, Mapping):
        return {key: _comparable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_comparable(each) for each in value]
    return _Number(value.text) if isinstance(value, codec.Number) else value


def _exact(value: Any) -> Any:
    """Return a copy in which numbers are what they were."""
    if isinstance(value, Mapping):
        return {key: _exact(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_exact(each) for each in value]
    return codec.Number(value.text) if isinstance(value, codec.Number) else value

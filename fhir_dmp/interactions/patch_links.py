"""What the patch of an entry sets as a link: it stands apart from the name of its element. https://hl7.org/fhir/R4/http.html#trules.

A JSON Patch names the element at the end of a path, also that of a list of texts; a FHIRPath Patch at the end of a path, as the name of what
it adds, or as that of a part of the value, at any depth. Values of types (``valueReference``) hold their links as resources do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fhir_dmp.call import Call
from fhir_dmp.fhir import codec

_PLACE = re.compile(r"-|\d+")
_STEP = re.compile(r"([A-Za-z]\w*)(?:\[\d+\])?\Z")
Each = Callable[[str, str], str]
"""From the name of an element and the text that is set as its value to what it shall be."""


def patch_of(call: Call) -> Any:
    """Return the patch of a call, parsed."""
    return codec.loads(call.body) if isinstance(call.body, bytes) else call.body


def as_tree(patch: Any) -> dict[str, Any]:
    """Return a patch as a tree in which what it sets as ``reference`` stands under that name, as it does in a resource."""
    texts: list[dict[str, str]] = []

    def noted(name: str, text: str) -> str:
        texts.append({name: text})
        return text

    return {"resourceType": "patch", "patch": setting(patch, noted), "set": texts}


def setting(patch: Any, each: Each) -> Any:
    """Return a patch, of either kind, with every text that it sets apart from its name passed through ``each``."""
    if isinstance(patch, list):
        return [_in_json(operation, each) for operation in patch]
    operations = patch.get("parameter") if isinstance(patch, Mapping) else None
    if not isinstance(operations, list):
        return patch
    return {**patch, "parameter": [_in_parameters(operation, each) for operation in operations]}


def _in_json(operation: Any, each: Each) -> Any:
    value = operation.get("value") if isinstance(operation, Mapping) else None
    if not isinstance(value, str | list):
        return operation
    names = [step for step in str(operation.get("path")).split("/") if not _PLACE.fullmatch(step)]
    name = names[-1] if names else ""
    if isinstance(value, str):
        return {**operation, "value": each(name, value)}
    return {**operation, "value": [each(name, item) if isinstance(item, str) else item for item in value]}


def _in_parameters(operation: Any, each: Each) -> Any:
    parts = _parts(operation)
    if parts is None:
        return operation
    told = {str(part.get("name")): part.get("valueString") for part in parts}
    last = _STEP.search(str(told.get("path")))
    name = str(told.get("name") or (last[1] if last else ""))
    made = [_in_part(part, name, each) if part.get("name") == "value" else part for part in parts]
    return {**operation, "part": made}


def _in_part(part: Mapping[str, Any], name: str, each: Each) -> Mapping[str, Any]:
    """Return a part that is the value of the named element, or an object of its parts."""
    made: dict[str, Any] = {
        key: each(name, value) if key.startswith("value") and isinstance(value, str) else value
        for key, value in part.items()
    }
    inner = _parts(part)
    if inner is not None:
        made["part"] = [_in_part(one, str(one.get("name")), each) for one in inner]
    return made


def _parts(holder: Any) -> Sequence[Mapping[str, Any]] | None:
    """Return the parts of an operation or of a value, if it is made of such."""
    parts = holder.get("part") if isinstance(holder, Mapping) else None
    return parts if isinstance(parts, list) and all(isinstance(part, Mapping) for part in parts) else None

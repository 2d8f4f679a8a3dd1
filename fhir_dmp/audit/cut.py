"""What of a client's own event stands in the open; the rest may be clinical, and lies sealed beside the row.

A client describes what it did in words of its own, and names, queries and values in them tell of diseases. What is kept is what says who
did what, when, why and to which resource; what is not named here is cut out, extensions and ``contained`` too.

==================  ===================================================================================================
``meta``            without extensions: profiles and labels, by which the event is found and hidden
``type``,           the codes; so ``subtype``, ``purposeOfEvent``, and ``role``, ``type`` and ``lifecycle`` of an entity. Text beside codes of
                    a purpose goes: in an emergency it is the reason
``agent``           all but the text of ``purposeOfUse``: it tells of who acted
``source``          all
``entity.what``     reference and identifier; ``display`` goes, and so does a reference to what was contained
``entity.query``    of a request line what our own rows show (``audit.asked``); what is none goes, such as a message of HL7 V2
``entity.detail``   the names; the values are replaced by ``…``
``entity``          else: ``name``, ``description`` and ``securityLabel`` (which may name a disease) go
``outcomeDesc``     goes: what went wrong is often told by what was asked
``text``            goes
==================  ===================================================================================================
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any

from fhir_dmp.audit.asked import CUT, cleaned
from fhir_dmp.audit.scene import MASKED

_Shape = Mapping[str, Any] | Callable[[Any], Any] | None
"""What stays of a value: members by their names, what a function makes of it, or (None) all."""

_LINE = re.compile(r"((?:[A-Z]+ )?\S+)(?: HTTP/[0-9.]+)?\Z")


def _query(value: object) -> str:
    """Return the request line of a query in base64, its clinical values cut out."""
    try:
        sent = base64.b64decode(str(value)).decode()
    except ValueError:
        sent = ""
    found = _LINE.match(sent.partition("\n")[0].strip())
    return base64.b64encode(_shown(found[1] if found else CUT).encode()).decode()


def _shown(line: str) -> str:
    """Return the line cleaned; parameters alone are some, though nothing stands before them."""
    return cleaned(f"?{line}")[1:] if "=" in line and "?" not in line else cleaned(line)


def _detail(value: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": value.get("type", CUT), "valueString": CUT}


def _reference(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a reference without what it leads to within the event."""
    inside = str(value.get("reference", "")).startswith("#")
    return {name: each for name, each in value.items() if not inside or name != "reference"} or MASKED


_CODING: _Shape = dict.fromkeys(("system", "version", "code", "display", "userSelected"))
_CONCEPT: _Shape = {"coding": _CODING}
_IDENTIFIER: _Shape = dict.fromkeys(("use", "system", "value")) | {"type": _CONCEPT}
_ENTITY: _Shape = {
    "what": lambda value: kept(_reference(value), {"reference": None, "type": None, "identifier": _IDENTIFIER}),
    "type": _CODING,
    "role": _CODING,
    "lifecycle": _CODING,
    "query": _query,
    "detail": _detail,
}
_AGENT: _Shape = {
    **dict.fromkeys(("extension", "type", "role", "altId", "name", "requestor", "policy", "media", "network")),
    "who": _reference,
    "location": _reference,
    "purposeOfUse": _CONCEPT,
}
_KEPT: _Shape = {
    **dict.fromkeys(("resourceType", "id", "implicitRules", "language", "action", "recorded", "outcome")),
    "meta": dict.fromkeys(("versionId", "lastUpdated", "source", "profile", "security", "tag")),
    "type": _CODING,
    "subtype": _CODING,
    "period": dict.fromkeys(("start", "end")),
    "purposeOfEvent": _CONCEPT,
    "agent": _AGENT,
    "source": {"site": None, "observer": _reference, "type": None, "extension": None},
    "entity": _ENTITY,
}


def cut(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a client's own event without what may be clinical; what is cut already stays as it is."""
    found: dict[str, Any] = kept(tree, _KEPT)
    return found


def kept(value: Any, shape: _Shape) -> Any:
    """Return what stays of the value; of a list, of each."""
    if shape is None:
        return value
    if isinstance(value, list):
        return [kept(each, shape) for each in value]
    if callable(shape):
        return shape(value)
    return {name: kept(each, shape[name]) for name, each in value.items() if name in shape} or MASKED

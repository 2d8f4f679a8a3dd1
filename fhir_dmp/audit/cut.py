"""What of a client's own event stands in the open; the rest may be clinical, and lies sealed beside the row.

A client describes what it did in words of its own, and names, queries and values in them tell of diseases. What is kept is what says who
did what, when, why and to which resource; what is not named here is cut out, extensions and ``contained`` too.

==================  ===================================================================================================
``meta``            without extensions: profiles and labels, by which the event is found and hidden
``type``,           the codes; so ``subtype``, ``purposeOfEvent``, and ``role``, ``type`` and ``lifecycle`` of an entity. Text beside codes of
                    a purpose goes: in an emergency it is the reason
``agent``           all but the text of ``purposeOfUse``: it tells of who acted
``source``          all
``entity.what``     reference and identifier; ``display`` goes
``entity.query``    of a request line what our own rows show (``audit.asked``); what is none goes, such as a message of HL7 V2
``entity.detail``   the names that standards have; others, and the values, are replaced by ``…``
``entity``          else: ``name``, ``description`` and ``securityLabel`` (which may name a disease) go
references          what names a resource, a place or a number of its own (``urn:uuid:``); of criteria the names. Fragments go, text too
``outcomeDesc``     goes: what went wrong is often told by what was asked
``text``            goes
==================  ===================================================================================================
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from functools import cache
from itertools import chain
from typing import Any

from fhir_dmp.audit.asked import cleaned
from fhir_dmp.audit.scene import MASKED
from fhir_dmp.definitions.loader import load
from fhir_dmp.fhir.url import params_of
from fhir_dmp.redaction import CUT

_Shape = Mapping[str, Any] | Callable[[Any], Any] | None
"""What stays of a value: members by their names, what a function makes of it, or (None) all."""

_PLACE = r"(?:https?://)?[\w\-./:~$%…]*"
_LINE = re.compile(
    rf"(?P<method>(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) )?(?P<place>{_PLACE})(?:\?(?P<query>\S*))?(?: HTTP/[0-9.]+)?\Z",
    re.ASCII,
)
_NAMED = re.compile(r"(?:https?://[^\s?#]+|[A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64}(?:/_history/[A-Za-z0-9\-.]{1,64})?)\Z")
_NUMBERED = re.compile(r"urn:(?:uuid:[0-9A-Fa-f\-]{36}|oid:[0-9.]+)\Z")
_DETAILS = frozenset(
    (
        *(
            "X-Request-Id",
            "jti",
            "grant_type",
            "scope",
            "id",
            "method",
            "MSH-10",
            "QueryEncoding",
            "Repository Unique Id",
        ),
        *("ihe:homeCommunityID", "urn:ihe:iti:xca:2010:homeCommunityId", "urn:ihe:iti:xua:2012:acp"),
        "urn:oasis:names:tc:xacml:2.0:resource:resource-id",
    )
)
"""Names of details by FHIR, IHE and this server; those of search parameters are some, too."""

_MODIFIERS = (
    "missing",
    "exact",
    "contains",
    "text",
    "in",
    "not-in",
    "above",
    "below",
    "not",
    "identifier",
    "of-type",
    "iterate",
)
_OF_ANSWERS = (
    *(
        "_count",
        "_elements",
        "_format",
        "_include",
        "_revinclude",
        "_pretty",
        "_since",
        "_at",
        "_sort",
        "_summary",
        "_total",
        "_type",
    ),
    *("_contained", "_containedType", "_has", "_list", "_filter", "_text", "_content", "_query"),
)


@cache
def _words() -> frozenset[str]:
    """Return what names of parameters are made of: those of R4 and our own, types, and modifiers."""
    tables = load()
    codes = chain.from_iterable(tables.search_params.values())
    return frozenset((*codes, *tables.resource_types, *_MODIFIERS, *_OF_ANSWERS))


def _is_parameter(name: str) -> bool:
    """Tell whether a name is that of a parameter, alone or with what a chain leads on to."""
    return all(word in _words() for word in re.split("[.:]", name))


def _query(value: object) -> str:
    """Return the request line of a query in base64, its clinical values cut out."""
    try:
        sent = base64.b64decode(str(value)).decode()
    except ValueError:
        sent = ""
    return base64.b64encode(_line(sent.partition("\n")[0].strip()).encode()).decode()


def _line(text: str) -> str:
    """Return a request line, or parameters alone, without clinical values; nothing of what is neither, in one word or in many."""
    found = _LINE.match(text)
    if found and _is_place(found["place"]) and (found["method"] or found["query"] is not None):
        return cleaned((found["method"] or "") + found["place"]) + _asked(found["query"])
    return _asked(text)[1:] if "=" in text else CUT


def _is_place(place: str) -> bool:
    """Tell whether text may be a path: a single word is one only where FHIR has it below the base."""
    return not place or "/" in place or place[0] == "$" or place in ("_history", "_search", *load().resource_types)


def _asked(query: str | None) -> str:
    """Return a query as our own rows show one, if all its names are those of parameters."""
    if not query:
        return ""
    return cleaned(f"?{query}") if all(_is_parameter(name) for name, _ in params_of(query)) else f"?{CUT}"


def _detail(value: Mapping[str, Any]) -> dict[str, Any]:
    name = value.get("type", "")
    return {"type": name if name in _DETAILS or _is_parameter(name) else CUT, "valueString": CUT}


def _reference(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a reference without what it leads to within the event or within a resource, and without text."""
    named = _literal(str(value.get("reference", "")))
    return {
        name: named if name == "reference" else each for name, each in value.items() if named or name != "reference"
    } or MASKED


def _literal(text: str) -> str:
    """Return what of a literal reference names a resource; of criteria what a request line with them shows."""
    place, mark, query = text.partition("#")[0].partition("?")
    if mark and (_NAMED.match(place) or place in load().resource_types):
        return place + _asked(query)
    return place if not mark and (_NAMED.match(place) or _NUMBERED.match(place)) else ""


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

"""A row of the log as the port tells it, whatever somebody made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bson.int64 import Int64

from fhir_dmp.store.chain import Row
from fhir_dmp.store.change import Event
from fhir_dmp.stores.mongo.blocks import SINGLE

ONE: dict[str, Any] = {"m": {"$exists": False}, **SINGLE}
SEVERAL: dict[str, Any] = {"m": {"$exists": True}, **SINGLE}
"""What a row that stands alone meets, if it holds one AuditEvent or several."""

_Index = dict[str, Any]
_LISTS, _MOMENTS = ("t", "u", "pt"), ("at", "ps")


def event_of(row: Row) -> Event:
    """Return a row of the log as the port tells it.

    What somebody damaged of it makes no sense and is left out: it is told as damaged by whoever cannot read it, and hides no other.
    What is left is found, and counted by the database, alike (``log_counts``).
    """
    terms = row.terms
    index: _Index = {name: terms[name] for name in _MOMENTS if isinstance(terms.get(name), int)}
    if "sec" in terms:
        index["sec"] = _texts(terms["sec"])
    if "m" in terms:
        index |= _of_several(terms)
    else:
        index |= {name: _texts(terms[name]) for name in _LISTS if isinstance(terms.get(name), list)}
    return Event(row.id, row.recorded, row.body, index, row.secret if isinstance(row.secret, bytes) else None)


def _of_several(terms: Mapping[str, Any]) -> _Index:
    """Return what a row that holds several AuditEvents is found by: nothing, if it has not as many as it says."""
    count, patients, own = terms["m"], _texts(terms.get("pt")), terms.get("x")
    events: Any = patients if own is None else own
    if type(count) not in (int, Int64) or not isinstance(events, list) or not len(events) == count > 0:
        return {}
    index: _Index = {"t": _texts(terms.get("t")), "u": _texts(terms.get("u")), "pt": patients, "m": int(count)}
    index |= {name: _texts(terms[name]) for name in ("c", "cu") if terms.get(name) is not None}
    if own is not None:
        index["x"] = [_apart(each) if isinstance(each, dict) else _NONE for each in own]
    return index


def _apart(event: Mapping[str, Any]) -> _Index:
    index: _Index = {name: _texts(event.get(name)) for name in _LISTS}
    return {**index, "sec": _texts(event["sec"])} if "sec" in event else index


_NONE: _Index = {name: [] for name in _LISTS}


def _texts(value: Any) -> list[str]:
    """Return a list with its texts, and with none for what is no text: of an empty one nobody asks."""
    return [each if isinstance(each, str) else "" for each in value] if isinstance(value, list) else []

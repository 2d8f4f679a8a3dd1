"""A row of the log as the port tells it, whatever somebody made of it."""

from __future__ import annotations

from typing import Any

from fhir_dmp.store.change import Event
from fhir_dmp.store.ledger import Row
from fhir_dmp.store.log import indexes_of
from fhir_dmp.stores.mongo.blocks import SINGLE

ONE: dict[str, Any] = {"m": {"$exists": False}, **SINGLE}
SEVERAL: dict[str, Any] = {"m": {"$exists": True}, **SINGLE}
"""What a row that stands alone meets, if it holds one AuditEvent or several."""

_TEXTS, _NUMBERS = ("t", "u", "pt", "sec", "c", "cu"), ("m", "at", "ps")


def event_of(row: Row) -> Event:
    """Return a row of the log as the port tells it.

    Of one that somebody damaged all that makes no sense is left out: it is told as damaged by whoever cannot read it, and hides no other.
    """
    terms = row.terms
    index = {name: terms[name] for name in _TEXTS if _are_texts(terms.get(name))}
    index |= {name: terms[name] for name in _NUMBERS if isinstance(terms.get(name), int)}
    if isinstance(terms.get("x"), list):
        index["x"] = terms["x"]
    if "m" in index and not _is_apart(index):
        index = {}
    return Event(row.id, row.recorded, row.body, index, row.secret if isinstance(row.secret, bytes) else None)


def _is_apart(index: dict[str, Any]) -> bool:
    """Tell whether the index is that of as many AuditEvents as it says."""
    try:
        events = indexes_of(index)
        return len(events) == index["m"] and all(_are_texts(each[name]) for each in events for name in ("t", "u", "pt"))
    except (LookupError, TypeError, AttributeError):
        return False


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)

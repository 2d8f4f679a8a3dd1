"""A row of the log as the AuditEvents that it holds, for whoever has to tell them apart. See ``audit.index`` for the fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fhir_dmp.store.query import EVERYTHING, Among, And, Between, Eq, In, Not, Or, Query, mentions

NUMBER = "k"
_DIFFER = frozenset({"t", "u", "pt", "sec", NUMBER})
"""Fields by which the AuditEvents of a row differ."""

OF_EACH = frozenset({"sec", NUMBER})
"""Those that a row may have of each alone, and not of any: nothing that it is found by tells of them."""


def indexes_of(index: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the index part of each AuditEvent of a row, from that of the row; ``k`` is its number, if there are several."""
    if "m" not in index:
        return [dict(index)]
    shared = {name: value for name, value in index.items() if name not in ("m", "x", "c", "cu")}
    tokens, more = index.get("c", index.get("t", ())), index.get("cu", index.get("u", ()))
    events = index.get("x") or [{"pt": [patient]} for patient in index["pt"]]
    return [
        {
            **shared,
            "k": number,
            "pt": each["pt"],
            "t": [*tokens, *each.get("t", ())],
            "u": [*more, *each.get("u", ())],
            **({"sec": each["sec"]} if "sec" in each else {}),
        }
        for number, each in enumerate(events, 1)
    ]


def loosened(query: Query) -> Query:
    """Return what a row meets if any of its AuditEvents meets the query: a refusal that may concern one of them is left out."""
    match query:
        case And(parts):
            return And(tuple(loosened(part) for part in parts))
        case Or(parts):
            return Or(tuple(loosened(part) for part in parts))
        case Not():
            return EVERYTHING if mentions(query, _DIFFER) else query
        case _ if mentions(query, OF_EACH):
            return EVERYTHING
        case Among(field, values) if field in _DIFFER:
            return In(field, values)
        case _:
            return query


def numbered(row_id: str, number: int) -> Query:
    """Return the query for one AuditEvent of a row."""
    return And((Eq("_id", row_id), Eq(NUMBER, number) if number > 1 else Not(Between(NUMBER, 2, None))))

"""The query of a URL, and criteria, which are written as one. https://hl7.org/fhir/R4/http.html#ccreate."""

from __future__ import annotations

from urllib.parse import parse_qsl

Params = tuple[tuple[str, str], ...]


def params_of(query: str) -> Params:
    """Return names and values of a query in their order, decoded; those without a value, too."""
    return tuple(parse_qsl(query, keep_blank_values=True))


def parted(criteria: str) -> tuple[str, str]:
    """Return the type that stands before criteria (``Patient?…``), empty where none does, and their query; a ``?`` of a value is its own."""
    head, mark, query = criteria.partition("?")
    return (head, query) if mark and "=" not in head else ("", criteria)

"""Whom and what parameters name themselves, before anything is looked for. https://hl7.org/fhir/R4/search.html#reference.

So may a search, the criteria of a conditional interaction or of a bundle's entry, and those by which a reference names its target.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from fhir_dmp.fhir.reference import ID, Ref, local
from fhir_dmp.fhir.url import Params, params_of, parted

_PATIENT = re.compile(r"(?:patient|subject)(?:(?P<own>:identifier)|(?::Patient)?(?P<by>\.(?:_id|identifier))?)\Z")
"""Names of parameters that lead to a patient, by reference or by what the patient is known by."""

_NAMING = frozenset(
    (
        "_id",
        "_type",
        "_count",
        "_elements",
        "_format",
        "_include",
        "_pretty",
        "_revinclude",
        "_sort",
        "_summary",
        "_total",
    )
)
"""Parameters that ask nothing of what a search names: with these alone it tells no more than a read."""


class Named(NamedTuple):
    """Whom and what the parameters of a search of these ``types`` name.

    ``patients`` (``Patient/p``) are named by reference or id (None where no parameter does), others by tokens of their ``numbers``;
    ``items`` by id, others by tokens of their ``identifiers``. ``asks`` tells whether anything else is asked.
    """

    types: tuple[str, ...]
    patients: tuple[str, ...] | None
    numbers: tuple[str, ...]
    items: tuple[Ref, ...]
    identifiers: tuple[str, ...]
    asks: bool


def with_criteria(params: Params, criteria: str | None) -> Params:
    """Return what is asked with the criteria of a condition, which may have the type (``Patient?…``) or ``?`` before them."""
    return (*params, *(each for each in params_of(parted(criteria)[1]) if each[1])) if criteria else params


def named_by(types: Sequence[str], params: Params, base_url: str) -> Named:
    """Return whom and what the parameters of a search of these types name, each by the first parameter that does."""
    patients: tuple[str, ...] | None = None
    numbers: tuple[str, ...] = ()
    items: tuple[Ref, ...] = ()
    identifiers: tuple[str, ...] = ()
    asks = False
    record, of_log = tuple(types) == ("Patient",), tuple(types) == ("AuditEvent",)
    for name, value in params:
        leading = _PATIENT.match(name)
        by_id = name == "_id" if record else leading is not None and leading["by"] == "._id"
        if by_id or (leading and not leading["own"] and not leading["by"]):
            found = _records(value) if by_id else _referred(value, base_url)
            patients = tuple(dict.fromkeys(found)) if patients is None else patients
            asks = asks or leading is not None
        elif leading or (record and name == "identifier"):
            numbers = numbers or _tokens(value)
            asks = asks or leading is not None
        elif of_log and name.partition(":")[0] == "entity":
            refs = tuple(_entities(name, value, base_url))
            touched = tuple(str(ref) for ref in refs if ref.type == "Patient")
            patients = touched if patients is None and touched else patients
            items = items or tuple(ref for ref in refs if ref.type != "Patient")
            asks = True
        elif name == "_id":
            items = items or tuple(Ref(kind, own) for kind in types for own in value.split(",") if ID.match(own))
        elif name == "identifier":
            identifiers = identifiers or _tokens(value)
        elif name.partition(":")[0] not in _NAMING or name == "_id:not":
            asks = True
    return Named(tuple(types), patients, numbers, items, identifiers, asks)


def patients_named(resource_type: str | None, params: Params, base_url: str) -> tuple[str, ...] | None:
    """Return the patients (``Patient/p``) that the first criterion names which names any; None where none does.

    Criteria are all met at once: whatever is found is of these patients. What a reference names that is none of them finds nothing.
    Where a chain leads (``patient._id``) is judged by more policies than theirs, and so are events of a log: neither is told here.
    """
    direct = tuple(each for each in params if "." not in each[0] and not each[0].startswith("entity"))
    return named_by((resource_type or "",), direct, base_url).patients


def _entities(name: str, value: str, base_url: str) -> Iterator[Ref]:
    """Yield what a search of the log names that was touched: ``entity=Type/id``, or ``entity:Type=id``."""
    kind = name.partition(":")[2]
    for each in value.split(","):
        ref = Ref(kind, each) if kind and "/" not in each else local(each, base_url)
        if ref is not None and ID.match(ref.id):
            yield ref


def _records(value: str) -> Iterator[str]:
    return (f"Patient/{each}" for each in value.split(",") if ID.match(each))


def _tokens(value: str) -> tuple[str, ...]:
    """Return the tokens (``system|value``, or the value alone) of which each names one; none where one of them is of a whole system."""
    tokens = tuple(value.split(","))
    return tokens if all(each.rpartition("|")[2] for each in tokens) else ()


def _referred(value: str, base_url: str) -> Iterator[str]:
    for each in value.split(","):
        ref = local(each, base_url) if "/" in each else Ref("Patient", each)
        if ref is not None and ref.type == "Patient" and ID.match(ref.id):
            yield str(ref)

"""Parameters that are asked together all day, kept as one token as well: a patient's results of one code.

An index finds rows by one token, and a patient has thousands of results and a few of each code. Whoever asked for both would have
all results of the patient fetched: 0.5 ms of the database for 39 of them (measured), and as many times more as there are more.
The code is paired as it is without its system, of which the few rows that are found are asked afterwards: that saves each of them an entry.
The search itself stays what https://hl7.org/fhir/R4/search.html says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import product

from msgspec import Struct

from fhir_dmp.store.query import And, Eq, In, Not, Query

PAIRED = frozenset({"DiagnosticReport", "Observation"})
"""Types of which a patient has many."""

_SYSTEM = re.compile(r"^.*(?<!\\)\|", re.DOTALL)
"""All before a code: up to the last bar, as those within a code are escaped."""

MOST = 20
"""Pairs that a query asks for in place of two lists."""


def indexer(resource_type: str) -> Callable[[Sequence[str]], list[str]]:
    """Return the function from the tokens of a resource to those of its pairs."""
    patient, code = f"{resource_type}.patient=", f"{resource_type}.code="

    def pairs(tokens: Sequence[str]) -> list[str]:
        patients = [token.removeprefix(patient) for token in tokens if token.startswith(patient)]
        codes = [token.removeprefix(code) for token in tokens if token.startswith(code)] if patients else ()
        return [_pair(resource_type, *each) for each in product(patients, dict.fromkeys(map(_alone, codes)))]

    return pairs if resource_type in PAIRED else lambda _: []


def paired(resource_type: str, parts: Sequence[Query], *, alone: bool = True) -> Sequence[Query]:
    """Return the parts of a conjunction with a patient and a code as one, which is found by pairs.

    ``alone``: all rows have those of codes without systems; otherwise older ones have those of codes as they are written.
    """
    if resource_type not in PAIRED:
        return parts
    asked = [asked for part in parts if (asked := _asked(resource_type, part)) is not None]
    patient = next((each for each in asked if each.of == "patient"), None)
    code = next((each for each in asked if each.of == "code"), None)
    if patient is None or code is None:
        return parts
    codes = tuple(dict.fromkeys([*map(_alone, code.values), *(() if alone else code.values)]))
    if len(patient.values) * len(codes) > MOST:
        return parts
    tokens = tuple(_pair(resource_type, *each) for each in product(patient.values, codes))
    both = Eq("t", tokens[0]) if len(tokens) == 1 else In("t", tokens)
    others = [part for part in parts if part not in (patient.part, code.part)]
    told = codes == code.values and not any("\\" in each for each in codes)
    return (both, *others) if told else (both, _looked_at(code.part), *others)


def _looked_at(part: Query) -> Query:
    """Return the part as one that a database asks of the rows that it finds, and finds none by."""
    return Not(Not(part))


def _alone(form: str) -> str:
    """Return the code of ``system|code``; whatever it is of another form, it is the same for a resource and for a question."""
    return _SYSTEM.sub("", form)


def patient_of(resource_type: str, query: Query) -> str | None:
    """Return the one patient (``Patient/p``) whose results a query asks for by a part of its own; their record holds what it finds."""
    parts = query.parts if isinstance(query, And) else (query,)
    asked = [_asked(resource_type, part) for part in parts] if resource_type in PAIRED else ()
    return next((each.values[0] for each in asked if each and each.of == "patient" and len(each.values) == 1), None)


def _pair(resource_type: str, patient: str, code: str) -> str:
    """Return the token of a pair: its form is none of those that rules narrow by, which outlive a resource (``store.query.kept``)."""
    return f"{resource_type}.patient+code:{patient}+{code}"


class _Asked(Struct, frozen=True):
    """What a part asks of one half of a pair."""

    of: str
    values: tuple[str, ...]
    part: Query


def _asked(resource_type: str, part: Query) -> _Asked | None:
    values = _tokens(part)
    for of, start in _starts(resource_type):
        if values and all(value.startswith(start) for value in values):
            cut = len(start) - len("Patient/") if of == "patient" else len(start)
            return _Asked(of, tuple(value[cut:] for value in values), part)
    return None


def _starts(resource_type: str) -> Iterator[tuple[str, str]]:
    """Yield how tokens begin that a half is asked by: a subject that is a patient is the ``patient``."""
    yield "patient", f"{resource_type}.patient=Patient/"
    yield "patient", f"{resource_type}.subject=Patient/"
    yield "code", f"{resource_type}.code="


def _tokens(part: Query) -> tuple[str, ...]:
    match part:
        case Eq("t", value):
            return (str(value),)
        case In("t", values):
            return tuple(map(str, values))
        case _:
            return ()

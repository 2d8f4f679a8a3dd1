"""Whom and what criteria name themselves, before anything is looked for. https://hl7.org/fhir/R4/search.html#reference.

So may a search, the criteria of a conditional interaction or of a bundle's entry, and those by which a reference names its target. Which
parameters lead to what is told by their definitions, however deep a chain, ``_has`` or a filter hides it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from fhir_dmp.fhir.reference import ID, Ref, local
from fhir_dmp.fhir.url import Params, params_of, parted
from fhir_dmp.search.model import Chain, Clause, Compared, Criterion, Has, Listed, NoneOf
from fhir_dmp.search.types.values import unescape

_HOLDING = ("patient", "subject")
"""Parameters that name the patient whose record holds whatever is found."""

_DIRECTLY = frozenset(f"{code}{target}" for code in _HOLDING for target in ("", ":Patient"))
_EQUAL = ("eq", "ne", "in", "ni", "re")
"""Operators of a filter whose value is what it looks for."""

_OWN = (("_id", None), ("identifier", None), ("identifier", "of-type"))
"""Parameters, with their modifiers, whose value names the resource itself."""


class Number(NamedTuple):
    """A number of a resource of the type: ``system|value``, or the value alone."""

    type: str
    token: str


_Name = str | Ref | Number
"""A patient (``Patient/p``), what else is named or may be, or a number."""


class Named(NamedTuple):
    """Whom and what criteria name.

    ``patients`` (``Patient/p``) are named by reference or id, others, and items, by their ``numbers``. ``items`` are what else is named by id,
    or may be: a bare id may be that of any type which its parameter may point at.
    ``asks`` tells whether anything is asked but what the id or number of the resource itself says: that alone tells no more than a read.
    """

    patients: tuple[str, ...]
    items: tuple[Ref, ...]
    numbers: tuple[Number, ...]
    asks: bool


def with_criteria(params: Params, criteria: str | None) -> Params:
    """Return what is asked with the criteria of a condition, which may have the type (``Patient?…``) or ``?`` before them."""
    return (*params, *(each for each in params_of(parted(criteria)[1]) if each[1])) if criteria else params


def patients_named(resource_type: str | None, params: Params, base_url: str) -> tuple[str, ...] | None:
    """Return the patients (``Patient/p``) that the first parameter names which names any by itself; None where none does.

    Criteria are all met at once: whatever is found is of these patients. What a reference names that is none of them finds nothing.
    Where a chain leads is judged by more policies than theirs, and so is what names them as anything but its patient.
    """
    for name, value in params:
        if name in _DIRECTLY or (name == "_id" and resource_type == "Patient"):
            refs = (local(each, base_url) if "/" in each else Ref("Patient", each) for each in value.split(","))
            named = (str(ref) for ref in refs if ref is not None and ref.type == "Patient" and ID.match(ref.id))
            return tuple(dict.fromkeys(named))
    return None


def named_by(criteria: Sequence[Criterion], base_url: str) -> Named:
    """Return whom and what criteria name.

    Where one says whose patient's all must be, other resources that are named beside it are told of nothing but whether they are theirs.
    """
    held = any(isinstance(each, Clause) and _holds(each) for each in criteria)
    patients, items, numbers = dict[str, None](), dict[Ref, None](), dict[Number, None]()
    for each in criteria:
        beside = held and isinstance(each, Clause) and each.param.code != "_id"
        for name in _names(each, base_url):
            match name:
                case str():
                    patients[name] = None
                case Ref() if not beside:
                    items[name] = None
                case Number() if name.type == "Patient" or not beside:
                    numbers[name] = None
    return Named(tuple(patients), tuple(items), tuple(numbers), not all(map(_is_own, criteria)))


def _holds(clause: Clause) -> bool:
    return clause.param.code in _HOLDING and clause.modifier in (None, "Patient")


def _is_own(criterion: Criterion) -> bool:
    """Tell whether it names a resource by its own id or number."""
    return isinstance(criterion, Clause) and (criterion.param.code, criterion.modifier) in _OWN


def _names(criterion: Criterion, base_url: str) -> Iterator[_Name]:
    match criterion:
        case Clause():
            return _of_clause(criterion, base_url)
        case Chain():
            return chain.from_iterable(_names(each, base_url) for each in criterion.inner)
        case Has():
            return _names(criterion.inner, base_url)
        case Listed():
            return (Ref("List", each) for each in criterion.ids)
        case Compared(kind, param, comparison):
            escaped = comparison.value.replace("\\", "\\\\")
            values = (escaped,) if comparison.operator in _EQUAL else ()
            return _of_clause(Clause(kind, param, None, values), base_url)
        case _:
            parts = (criterion.part,) if isinstance(criterion, NoneOf) else criterion.parts
            return chain.from_iterable(_names(each, base_url) for each in parts)


def _of_clause(clause: Clause, base_url: str) -> Iterator[_Name]:
    param, modifier = clause.param, clause.modifier
    if param.code == "_id" and modifier is None:
        yield from (_known(Ref(clause.type, each)) for each in clause.values if ID.match(each))
    elif _is_own(clause) or modifier == "identifier":
        numbers = [each if modifier != "of-type" else each.rpartition("|")[2] for each in clause.values]
        types = _targets(clause) if modifier == "identifier" else (clause.type,)
        yield from (Number(kind, each) for kind in types for each in numbers if each.rpartition("|")[2])
    elif param.type in ("reference", "uri") and (modifier is None or modifier in param.targets):
        for value in map(unescape, clause.values):
            ref = local(value, base_url)
            if ref is not None:
                yield _known(ref)
            elif ID.match(value):
                refs = [Ref(kind, value) for kind in _targets(clause)]
                yield from map(_known, refs) if len(refs) == 1 else refs


def _targets(clause: Clause) -> Sequence[str]:
    """Return the types of which a reference may name a resource by id or number alone; what holds all names the patient."""
    param, modifier = clause.param, clause.modifier
    if modifier in param.targets:
        return (modifier,)
    return ("Patient",) if param.code in _HOLDING and "Patient" in param.pointed_at else param.pointed_at


def _known(ref: Ref) -> _Name:
    return str(ref) if ref.type == "Patient" else ref

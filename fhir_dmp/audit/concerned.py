"""Whose records an act is about: what it touched, whom it named, whose rows it counted, whose item it met in vain.

Somebody whose record was told of finds it in their journal, though the answer was a number, or an error.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from urllib.parse import parse_qsl

from fhir_dmp.access.model import Subject
from fhir_dmp.call import Act, Context, Entity, Params
from fhir_dmp.errors import FhirError, NotFound
from fhir_dmp.fhir.reference import ID
from fhir_dmp.search.patients import patients_named, with_criteria

MOST_PATIENTS = 20
"""Patients whom a call can name that touched nothing of theirs, or an error."""

_NOBODYS = ("",)


def by_patient(entities: Iterable[Entity], concerned: Sequence[Entity]) -> dict[str, dict[str, list[str]]]:
    """Return what a row says was touched: by patient, then by type, the versions; of who is merely ``concerned`` there is none.

    Where nothing was touched, whoever is concerned is one whom the act was ``about``.
    """
    touched: dict[str, dict[str, list[str]]] = {}
    for entity in entities:
        ref, version = entity.ref, entity.version
        name = f"{ref.id}/{version}" if version else ref.id
        for patient in entity.patients or _NOBODYS:
            touched.setdefault(patient, {}).setdefault(ref.type, []).append(name)
    if touched and concerned:
        for patient in _patients(concerned):
            touched.setdefault(patient, {})
    return touched


def _patients(entities: Iterable[Entity]) -> dict[str, None]:
    return dict.fromkeys(patient for entity in entities for patient in entity.patients)


def hidden_in(act: Act, entities: Sequence[Entity], journals: Collection[str], context: Context) -> list[str] | None:
    """Return what of an event is hidden from representatives, None where all of it is: patients of whom all is, and versions of others.

    ``entities`` are those touched and concerned, ``journals`` whose it stands in. Who reads the log would learn by its label
    that what they asked for in vain is there: of their own record it says no more than the error does.
    """
    error = act.error
    if act.hidden:
        return None
    if error is None and not any(entity.hidden for entity in entities):
        return []
    reader = context.subject if _is_told_as_absent(error, context.subject) else None
    if error is not None and error.hidden and not error.patients and reader is None:
        return None
    shown = _patients(each for each in entities if not each.hidden)
    secret = _patients(each for each in entities if each.hidden).keys() - shown.keys()
    if error is not None:
        secret |= set(error.patients if error.hidden else error.secret)
    if reader is not None and (error is not None or act.met):
        secret.discard(reader.record or "")
    patients = [each for each in journals if each]
    apart = [each for each in entities if not (each.patients and secret.issuperset(each.patients))]
    if (entities or patients) and secret.issuperset(patients) and all(each.hidden for each in apart):
        return None
    return [*(each for each in patients if each in secret), *(_name(each) for each in apart if each.hidden)]


def _name(entity: Entity) -> str:
    return f"{entity.ref}/{entity.version}" if entity.version else str(entity.ref)


def _is_told_as_absent(error: FhirError | None, subject: Subject | None) -> bool:
    """Tell whether who asked reads the log, and was told no more than of what is absent: the holder sees what else they are told of."""
    person = subject.person if subject else None
    if person is None or person.kind == "professional":
        return False
    return isinstance(error, NotFound) or (person.kind == "representative" and not (error is not None and error.hidden))


def about(act: Act, concerned: Iterable[Entity], context: Context) -> list[str] | None:
    """Return the patients of an act that touched nothing of theirs: whose item was refused, who was named, whose token it is.

    A person's token comes first whatever was refused: that nothing of it stood among its own traces would tell whose the item is.
    Nobody unknown can put a line into somebody's record.
    """
    subject = context.subject
    if subject is None:
        return None
    own = [subject.record] if subject.person and subject.record else []
    met = (*(act.error.patients if act.error else ()), *_patients(concerned))
    if act.error is not None and met:
        return list(dict.fromkeys((*own, *met)))[:MOST_PATIENTS]
    return list(dict.fromkeys((*_named(act, own, context), *met)))


def _named(act: Act, own: Sequence[str], context: Context) -> Sequence[str]:
    """Return the patients whom a call names, or its token: by the path, or by what is asked for."""
    call, record = act.call, act.call.compartment
    if call.type == "Patient" and call.id and ID.match(call.id):
        return (*own, f"Patient/{call.id}")
    if context.subject is not None and context.subject.record is not None:
        return (context.subject.record,)
    if record is not None and record.type == "Patient" and ID.match(record.id):
        return (str(record),)
    return (patients_named(call.type, asked_for(act), context.base_url) or ())[:MOST_PATIENTS]


def asked_for(act: Act) -> Params:
    """Return what was asked for; of a later page that is what the server understood, of an operation what it was given."""
    call, understood = act.call, act.result.query if act.result else None
    if understood and any(name == "_page" for name, _ in call.params):
        return tuple(parse_qsl(understood))
    return with_criteria(call.parameters.query or call.params, call.criteria)

"""Whose records an act is about: what it touched, whom it named, whose rows it counted, whose item it met in vain.

Somebody whose record was told of finds it in their journal, though the answer was a number, or an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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


def _patients(entities: Iterable[Entity]) -> Iterable[str]:
    return dict.fromkeys(patient for entity in entities for patient in entity.patients)


def is_hidden(error: FhirError | None, entities: Sequence[Entity], subject: Subject | None) -> bool:
    """Tell whether an event is hidden from representatives: all that it is about is.

    Who reads the log would learn by its label that what they asked for in vain is there: it says no more than the error does.
    """
    hidden = bool(entities) and all(entity.hidden for entity in entities)
    if error is None:
        return hidden
    if _reads_the_log(subject):
        return _told_as_there(error)
    return error.hidden or hidden


def apart(act: Act, context: Context) -> list[str]:
    """Return in whose journals a second row tells of an act, hidden from representatives as all is that it met of theirs in vain.

    A label stands for a whole row. In the journal of who asked, as of anybody else, it would tell that something is there; and without
    one a representative would find in theirs what was asked by another's token.
    """
    error = act.error
    if (error is None and not act.met) or (act.result is not None and act.result.entities):
        return []
    there = [(patient, entity.hidden) for entity in act.met for patient in entity.patients]
    hidden = {patient for patient, _ in there} - {patient for patient, label in there if not label}
    if error is not None and error.hidden:
        hidden |= set(error.patients)
    subject = context.subject
    if subject is not None and _reads_the_log(subject) and not (error is not None and _told_as_there(error)):
        hidden.discard(subject.record or "")
    concerned = about(act, act.met, context) if hidden else None
    found = [patient for patient in concerned or () if patient in hidden]
    return found if len(found) < len(concerned or ()) else []


def _reads_the_log(subject: Subject | None) -> bool:
    person = subject.person if subject else None
    return person is not None and person.kind != "professional"


def _told_as_there(error: FhirError) -> bool:
    """Tell whether an error says of what is hidden that it is there, or was: who asked sees it."""
    return error.hidden and not isinstance(error, NotFound)


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

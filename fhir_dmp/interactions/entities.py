"""What an event says of the versions that a call makes, changes or lets go. https://profiles.ihe.net/ITI/BALP/."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from fhir_dmp.call import Entity, Env
from fhir_dmp.errors import Gone
from fhir_dmp.fhir.labels import HIDDEN_FROM_REPRESENTATIVES
from fhir_dmp.store.change import NOBODYS, Change, Stored
from fhir_dmp.store.query import Row


def entity(change: Change) -> Entity:
    """Return what the event says of a change: the version it makes, and whose records it touches: what is moved is gone from one of them."""
    before = change.before
    patients = dict.fromkeys(change.index.get("pt") or change.index.get("about") or ())
    if before is not None:
        patients |= dict.fromkeys(before.index.get("pt") or before.index.get("about") or ())
    if change.ref.type == "Patient":
        patients[str(change.ref)] = None
    authors = _authors(change.ref.type, change.index)
    return Entity(change.ref, change.version, tuple(patients), is_hidden(change.index), change.stays, authors)


def disclosed(row: Stored) -> Entity:
    """Return what the event says of a version that leaves."""
    patients = tuple(each for each in row.index.get("pt") or row.index.get("about") or () if each != NOBODYS)
    authors = _authors(row.ref.type, row.index)
    return Entity(row.ref, row.version, patients, is_hidden(row.index), authors=authors)


def counted(total: int | None, shown: int, find: Callable[[int], Sequence[Stored]], env: Env) -> tuple[Entity, ...]:
    """Return what the event says of rows that are counted and not shown: whose they are, where all rows are as few as one page may hold.

    A number tells of one patient what a row would; of thousands it tells none of them anything. Nothing is asked where all are shown.
    """
    if total is None or not shown < total <= env.limits.page:
        return ()
    return tuple(map(disclosed, find(env.limits.page)))


def left_as_it_is(row: Stored) -> Entity:
    """Return what the event says of a version that was to be changed, and in which nothing differed."""
    return replace(disclosed(row), stays=True)


def gone(what: Entity, text: str = "") -> Gone:
    """Return the refusal of what was deleted; its event stands where one of it would that is there: in its patients' journals.

    Of what was hidden from representatives it is hidden from them as well: they would be told that there was something.
    """
    return Gone(text or f"{what.ref} was deleted.", patients=what.patients, hidden=what.hidden)


def is_hidden(index: Row) -> bool:
    """Tell whether a label hides it from representatives: the trace of it is then hidden from them as well."""
    return HIDDEN_FROM_REPRESENTATIVES in (index.get("sec") or ())


def _authors(resource_type: str, index: Row) -> tuple[str, ...]:
    """Return who wrote a Binary: it is of the documents of its author, and these say the rest of it (``service.contents``)."""
    return tuple(index.get("au") or ()) if resource_type == "Binary" else ()

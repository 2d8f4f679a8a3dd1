"""Whose a Binary is for the log: what is done to it stands where acts on the documents that name it do, and is hidden where these are.

https://hl7.org/fhir/R4/binary.html#security. Who may see it goes by these documents too (``service.binaries``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import structlog
from msgspec.structs import replace

from fhir_dmp.access.rules import authors_of
from fhir_dmp.call import Act, Call, Context, Entity, Env, Plan, Result
from fhir_dmp.errors import FhirError, Refused
from fhir_dmp.fhir.labels import HIDDEN_FROM_HOLDER
from fhir_dmp.fhir.reference import Ref, parse_literal
from fhir_dmp.interactions.entities import disclosed, is_hidden
from fhir_dmp.store.change import Change
from fhir_dmp.store.port import Page
from fhir_dmp.store.query import In, Query, Row, either, prefix

TYPE = "Binary"
MOST_DOCUMENTS = 20
"""Documents that name one Binary and are looked at."""

_DOCUMENT = "DocumentReference"
_LOCATION = f"{_DOCUMENT}.location="
_TOGETHER = 20
"""Contents whose documents are looked for by one question."""

Hides = Callable[[Row], bool]
_log = structlog.get_logger(__name__)


class Documents:
    """The documents that name contents; those of each are looked for once. ``hides`` tells which of them hide theirs from representatives."""

    def __init__(self, base_url: str, env: Env, hides: Hides = is_hidden) -> None:
        self._base_url = base_url
        self._env = env
        self._hides = hides
        self._naming: dict[str, tuple[Row, ...]] = {}

    def of(self, binary: str) -> tuple[Row, ...]:
        """Return the documents that name ``Binary/b``."""
        self._learn((binary,))
        return self._naming[binary]

    def answered(self, result: Result) -> Result:
        """Return the Result with the contents that it discloses where the documents are that name them."""
        if not has_contents(result.entities) and not has_contents(result.concerned):
            return result
        return replace(result, entities=self.told(result.entities), concerned=self.told(result.concerned))

    def planned(self, plan: Plan, call: Call) -> Plan:
        """Return the Plan with the contents that it changes where the documents are that name them, or do so by the Plan itself.

        What gets an id of the server's is named by no others.
        """
        if not has_contents(plan.entities):
            return plan
        self._naming.update((each, ()) for each in _created(plan, call))
        return replace(plan, entities=self.told(plan.entities, plan.changes))

    def told(self, entities: Sequence[Entity], changes: Iterable[Change] = ()) -> tuple[Entity, ...]:
        """Return what an event says, with contents where the documents are that name them, as they are after the ``changes``."""
        self._learn(dict.fromkeys(str(entity.ref) for entity in entities if entity.ref.type == TYPE))
        changed = self._changed(changes)
        return tuple(each for entity in entities for each in self._as_documents(entity, changed))

    def _as_documents(self, entity: Entity, changed: Mapping[str, Mapping[str, Row]]) -> Iterable[Entity]:
        if entity.ref.type != TYPE:
            return (entity,)
        name = str(entity.ref)
        documents = {row["_id"]: row for row in self._naming[name]} | dict(changed.get(name, {}))
        return as_documents(entity, tuple(documents.values()), self._hides)

    def _changed(self, changes: Iterable[Change]) -> Mapping[str, Mapping[str, Row]]:
        """Return by the contents that they name, or named, the documents that are changed, as they will be."""
        found: dict[str, dict[str, Row]] = {}
        for change in changes:
            if change.ref.type == _DOCUMENT:
                before = change.before.index if change.before else {}
                patients = dict.fromkeys((*(change.index.get("pt") or ()), *(before.get("pt") or ())))
                for name in {*self._named(change.index), *self._named(before)}:
                    found.setdefault(name, {})[str(change.ref)] = {**change.index, "pt": list(patients)}
        return found

    def _learn(self, binaries: Iterable[str]) -> None:
        unknown = [each for each in binaries if each not in self._naming]
        for start in range(0, len(unknown), _TOGETHER):
            some = unknown[start : start + _TOGETHER]
            page = Page(MOST_DOCUMENTS * len(some), with_index=True)
            found: dict[str, list[Row]] = {each: [] for each in some}
            for document in self._env.store.search(self._naming_one_of(some), page).rows:
                for name in found.keys() & set(self._named(document.index)):
                    found[name].append(document.index)
            self._naming.update((name, tuple(rows)) for name, rows in found.items())

    def _naming_one_of(self, binaries: Iterable[str]) -> Query:
        at = tuple(f"{_LOCATION}{url}" for each in binaries for url in (each, f"{self._base_url}/{each}"))
        return either([In("t", at), *(prefix("t", f"{each}/_history/") for each in at)])

    def _named(self, document: Row) -> Iterator[str]:
        """Yield the contents on this server that a document names, or a version of which it does."""
        urls = (token.removeprefix(_LOCATION) for token in document.get("t") or () if token.startswith(_LOCATION))
        for url in urls:
            kind, _, rest = url.removeprefix(f"{self._base_url}/").partition("/")
            if kind == TYPE:
                yield f"{TYPE}/{rest.partition('/')[0]}"


def as_documents(entity: Entity, documents: Sequence[Row], hides: Hides) -> Iterator[Entity]:
    """Yield what an event says of a Binary that these documents name: it is of the patients of its author's, and hidden where all of these are.

    Whoever knows its id can write that a document is of it: those of others put nothing into a journal, and where there are none but these, one
    that is hidden hides it (as ``service.binaries`` has it). Of several patients it may be hidden from the representatives of some.
    """
    own = [row for row in documents if not authors_of(row).isdisjoint(entity.authors)]
    if not own:
        yield replace(entity, hidden=entity.hidden or any(map(hides, documents)))
        return
    patients = dict.fromkeys((*entity.patients, *(patient for row in own for patient in row.get("pt") or ())))
    of_each = {patient: [row for row in own if patient in (row.get("pt") or ())] or own for patient in patients}
    hidden = tuple(patient for patient, rows in of_each.items() if entity.hidden or all(map(hides, rows)))
    shown = tuple(patient for patient in patients if patient not in hidden)
    if shown or not patients:
        nobodys = not patients and all(map(hides, own))
        yield replace(entity, patients=shown, hidden=entity.hidden or nobodys)
    if hidden:
        yield replace(entity, patients=hidden, hidden=True, stays=entity.stays and not shown)


def has_contents(entities: Iterable[Entity]) -> bool:
    """Tell whether one of them is a Binary."""
    return any(entity.ref.type == TYPE for entity in entities)


def _created(plan: Plan, call: Call) -> Iterator[str]:
    """Yield what is made under ids of the server's."""
    if call.name == "create":
        yield from (str(change.ref) for change in plan.changes if change.before is None)
    for act in plan.entries:
        if act.call.name == "create" and act.result is not None:
            yield str(act.result.ref)


def placed(act: Act, context: Context, env: Env) -> Act:
    """Return the act with whatever contents it met, or its error is about, where the documents are that name them.

    It goes to the log and nowhere else. A database that does not answer leaves the answer as it is, and representatives are told nothing then.
    """
    about = _refused(act) if act.error is not None and context.subject is not None else ()
    if not about and not has_contents(act.met):
        return act
    documents = Documents(context.base_url, env, _hiding_from(context))
    try:
        rows = env.store.find_many(about, with_index=False).values() if about else ()
        found = documents.told(tuple(map(disclosed, rows)))
        act = replace(act, met=documents.told(act.met))
    except Exception as fault:  # noqa: BLE001 - whatever it is, the caller is told of the error, and the log of it
        _log.warning("documents-unknown", fault=type(fault).__name__, request_id=context.request_id)
        return replace(act, hidden=True)
    if act.error is not None:
        _tell(act.error, found)
    return act


def _hiding_from(context: Context) -> Hides:
    """Return what hides a content that was met: of one that is hidden from the holder who asked, no more is told than of what is absent."""
    person = context.subject.person if context.subject else None
    if person is None or person.kind != "holder":
        return is_hidden
    return lambda row: is_hidden(row) and HIDDEN_FROM_HOLDER not in (row.get("sec") or ())


def _refused(act: Act) -> tuple[Ref, ...]:
    """Return the contents that an error is about which says itself whose what it met is: of others that is looked up (``service.met``)."""
    call, error = act.call, act.error
    if error is None or not (error.patients or isinstance(error, Refused)):
        return ()
    named = [literal.ref for name in error.met if (literal := parse_literal(name))]
    own = [call.ref] if call.id is not None and call.type is not None and error.patients else []
    return tuple(dict.fromkeys(ref for ref in (*named, *own) if ref.type == TYPE))


def _tell(error: FhirError, found: Sequence[Entity]) -> None:
    """Name for the log whose the contents are that an error is about."""
    error.patients = tuple(dict.fromkeys((*error.patients, *(each for entity in found for each in entity.patients))))
    error.hidden = error.hidden or any(entity.hidden for entity in found)

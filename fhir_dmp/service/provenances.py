"""A Provenance belongs to the record of what it is about, and is seen by who sees all of that. https://hl7.org/fhir/R4/provenance.html.

It has no labels of its own: an item that is masked, hidden or withheld by a Consent would be told by the Provenance of it. So its
targets are judged when somebody asks, by the rules as they are then. What is hidden from representatives when a Provenance is told of it hides
that for good: the traces of it would say who had to do with it, and when.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

from msgspec.structs import replace

from fhir_dmp.access.model import Action, Decision, Rule
from fhir_dmp.access.narrow import narrow
from fhir_dmp.access.people import READS
from fhir_dmp.access.rules import authors_of
from fhir_dmp.call import Call, Entity, Env, Plan
from fhir_dmp.errors import FhirError, TooCostly
from fhir_dmp.fhir.labels import HIDDEN_FROM_REPRESENTATIVES
from fhir_dmp.fhir.reference import Ref, parse_literal
from fhir_dmp.interactions.entities import disclosed, entity, is_hidden
from fhir_dmp.service.contents import TYPE as CONTENT
from fhir_dmp.service.contents import Documents
from fhir_dmp.service.named import asked_of, reaches
from fhir_dmp.store.change import Change, Stored
from fhir_dmp.store.port import Found, HistoryPage, Page, Scope
from fhir_dmp.store.query import TARGETS, Eq, In, Not, Query, Row, both

TYPE = "Provenance"
MOST = 1000
"""Provenances of a list whose targets are looked at."""

_TARGET = TARGETS[0]
_SYSTEM = ("search-system", "history-system")


class Judge(Protocol):
    """Knows what the caller may do with a row."""

    def decide(self, action: Action, row: Row) -> Decision:
        """Return the decision for one row."""
        ...


def targets_of(row: Row) -> tuple[Ref, ...]:
    """Return what a Provenance is about, of what lies on this server."""
    named = (parse_literal(each.removeprefix(_TARGET)) for each in row.get("t") or () if each.startswith(_TARGET))
    return tuple(dict.fromkeys(each.ref for each in named if each and each.base is None))


def is_known_what_about(row: Row) -> bool:
    """Tell whether it is known what a Provenance is about: not of a deletion that kept none of its targets."""
    return not row.get("del") or any(each.startswith(TARGETS) for each in row.get("t") or ())


def may_be_listed(call: Call, env: Env) -> bool:
    """Tell whether a list that the call asks for can hold a Provenance, or lead over one."""
    if call.type == TYPE or call.name in _SYSTEM or call.compartment is not None or call.operation is not None:
        return True
    if call.name == "transaction":
        return TYPE.encode() in call.body if isinstance(call.body, bytes) else True
    return any(TYPE in text or text == "*" for pair in asked_of(call, env) for text in pair)


def belonging(plan: Plan, judge: Judge, documents: Documents, env: Env) -> Plan:
    """Return the plan with each Provenance in the record of its targets that the caller makes, changes or sees.

    Of any other target nothing is taken over: whether it is there is not told by what becomes of the Provenance. A content is hidden by the
    ``documents`` that name it.
    """
    told = [change for change in plan.changes if change.ref.type == TYPE and change.body is not None]
    if not told:
        return plan
    made = {change.ref: change.index for change in plan.changes}
    sought = {ref for change in told for ref in targets_of(change.index)} - made.keys()
    rows = env.store.find_many(sorted(sought, key=str)) if sought else {}
    known: dict[Ref, Row] = {
        ref: row.index
        for ref, row in rows.items()
        if any(judge.decide(action, row.index).permit for action in ("read", "update"))
    }
    about = [entity(each) for each in plan.changes if each.ref.type == CONTENT]
    about += [disclosed(row) for ref, row in rows.items() if ref.type == CONTENT and ref in known]
    contents = documents.told(about, plan.changes)
    hidden = frozenset(each.ref for each in contents if each.hidden)
    placed = {change.ref: _placed(change, {**known, **made}, hidden) for change in told}
    return replace(
        plan,
        changes=tuple(placed.get(change.ref, change) for change in plan.changes),
        entities=tuple(_entities(plan, placed, contents)),
    )


def _placed(change: Change, known: Mapping[Ref, Row], hidden: frozenset[Ref]) -> Change:
    about = [known[ref] for ref in targets_of(change.index) if ref in known and ref != change.ref]
    patients = dict.fromkeys(
        (*(change.index.get("pt") or ()), *(each for row in about for each in row.get("pt") or ()))
    )
    category = next((row["ca"] for row in about if "ca" in row), None)
    index = {**change.index, **({"pt": list(patients)} if patients else {}), **({"ca": category} if category else {})}
    if not hidden.isdisjoint(targets_of(change.index)) or any(map(is_hidden, about)):
        index["sec"] = list(dict.fromkeys((*(index.get("sec") or ()), HIDDEN_FROM_REPRESENTATIVES)))
    return replace(change, index=index)


def _entities(plan: Plan, placed: Mapping[Ref, Change], contents: Sequence[Entity]) -> Iterator[Entity]:
    for each in plan.entities:
        if each.ref in placed:
            told = entity(placed[each.ref])
            refs = targets_of(placed[each.ref].index)
            patients = (patient for content in contents if content.ref in refs for patient in content.patients)
            yield replace(told, patients=tuple(dict.fromkeys((*told.patients, *patients))))
        else:
            yield each


class SeenProvenances:
    """Which Provenances the caller of a call sees, who writes under these ``names``; ``judge`` tells what of the targets."""

    def __init__(self, call: Call, names: frozenset[str], judge: Judge, env: Env) -> None:
        self._call = call
        self._names = names
        self._judge = judge
        self._env = env

    def as_targets(self, row: Row, decision: Decision, known: Mapping[Ref, Stored] | None = None) -> Decision:
        """Return the decision for a Provenance: it is seen by who sees all that it is about, which are no others of its kind, and by its author.

        To its author it tells nothing; if it went away where something is hidden, that would.
        """
        if not is_known_what_about(row):
            return Decision(permit=False, reasons=("what it was about is not known",))
        if not authors_of(row).isdisjoint(self._names):
            return decision
        refs = targets_of(row)
        found = known if known is not None else self._env.store.find_many(refs) if refs else {}
        for ref in refs:
            hidden = ref in found and not self._judge.decide("read", found[ref].index).permit
            if hidden or ref.type == TYPE:
                return Decision(permit=False, reasons=(f"{ref}, which it is about, is hidden",))
        return decision

    def sees(self, provenances: Sequence[Ref]) -> Collection[Ref]:
        """Return those of these Provenances whose targets the caller all sees."""
        store = self._env.store
        rows = store.find_many(provenances) if provenances else {}
        seen = {row["_id"] for row in self._of_seen_targets([row.index for row in rows.values()])}
        return tuple(ref for ref in rows if str(ref) in seen)

    def not_listed(self, action: Action, rules: tuple[Rule, ...]) -> Iterator[Rule]:
        """Yield the refusal of all Provenances but those about what is seen; of all, where a list asks for none."""
        every = Eq("ty", TYPE)
        if action not in READS or not any(rule.permit for rule in rules):
            return
        if not may_be_listed(self._call, self._env):
            if self._call.type is None or reaches(self._call, self._env):
                yield Rule(permit=False, where=every, reason="not asked for")
            return
        where = both(every, narrow(rules))
        past = self._call.name.startswith("history")
        seen = self._versions_seen(where) if past else self._those_seen(both(where, *self._asked()))
        yield Rule(permit=False, where=both(every, Not(In("_id", seen))), reason="what it is about is hidden")

    def _those_seen(self, where: Query) -> tuple[str, ...]:
        """Return the rows of the Provenances that meet the query and are seen."""
        found = self._env.store.search(where, Page(MOST))
        _require_all(found)
        return tuple(map(str, self.sees([row.ref for row in found.rows])))

    def _versions_seen(self, where: Query) -> tuple[str, ...]:
        """Return the same of their versions, each seen by what it was about then and by what the present one is about."""
        store = self._env.store
        scope = Scope(TYPE, self._call.id, where)
        found = store.history(scope, HistoryPage(MOST, with_index=True))
        _require_all(found)
        present = self.sees(tuple(dict.fromkeys(row.ref for row in found.rows)))
        rows = [row.index for row in found.rows if row.ref in present]
        return tuple(row["_id"] for row in self._of_seen_targets(rows))

    def _of_seen_targets(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Return those of the rows whose targets the caller all sees; these are read together."""
        refs = dict.fromkeys(ref for row in rows for ref in targets_of(row))
        targets = self._env.store.find_many(tuple(refs)) if refs else {}
        seen = Decision(permit=True, reasons=())
        return [row for row in rows if self.as_targets(row, seen, targets).permit]

    def _asked(self) -> tuple[Query, ...]:
        """Return what is asked of the Provenances that are listed, so that no others are looked at."""
        if self._call.compartment is not None:
            return (Eq("t", f"@{self._call.compartment}"),)
        if self._call.type != TYPE:
            return ()
        asked = tuple(each for each in self._call.params if each[0] in ("target", "_id"))
        try:
            return (self._env.restrict(TYPE, asked),) if asked else ()
        except FhirError:
            return ()


def _require_all(found: Found) -> None:
    if found.more:
        raise TooCostly(f"More than {MOST} Provenances would have to be looked at: name a target.")

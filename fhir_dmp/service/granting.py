"""What the caller of one perform may do: the rules, on the policies that they need, each read once and remembered for the commit."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

from fhir_dmp.access.decide import NO_RULE, decide
from fhir_dmp.access.model import Action, Decision, Person, Rule
from fhir_dmp.access.narrow import narrow
from fhir_dmp.access.people import READS
from fhir_dmp.access.policy import EVERYBODY, Policy, decode
from fhir_dmp.access.rules import finds, names_of, rules_for
from fhir_dmp.access.scopes import Scope
from fhir_dmp.call import Call, Context, Env
from fhir_dmp.errors import FhirError, Refused, Stale, TooCostly
from fhir_dmp.fhir.ins import is_ins
from fhir_dmp.fhir.reference import Ref, parse_literal
from fhir_dmp.service import provenances
from fhir_dmp.service.named import reaches, records_of
from fhir_dmp.service.provenances import targets_of
from fhir_dmp.store.change import Stored
from fhir_dmp.store.grants import PolicyRow
from fhir_dmp.store.port import Found, HistoryPage, Page
from fhir_dmp.store.port import Scope as HistoryScope
from fhir_dmp.store.query import NOTHING, Among, Between, Eq, In, Not, Query, Row, both, either, mentions, prefix

_SEARCHED = frozenset({"t", "r", "w"})
_looks_at = lru_cache(maxsize=4096)(mentions)
"""``mentions`` of the rules that rows are judged by, one after the other; those of lists name all that is seen, and are not worth keeping."""

_MOST_REASONS = 20
_CONTENT = "Binary"
_MOST_DOCUMENTS = 20
"""Documents that name one Binary and are looked at."""


class Granting:
    """``call.Grant`` for one attempt of one caller; ``known`` are policies that were read after the request began.

    A person's token names one record: its policy came with the token. A system's rules rest on the policies of the rows in
    question, or, for lists, on those of the records that the ``call`` names, or on all that name its structure. ``sought`` are the
    rows of whoever is looked for by an exact INS. ``looked`` tells whether anything that is kept was judged.

    A system that writes ``presumes`` policies to be what they lately were: its commit holds their versions (``decided_on``). No refusal
    rests on what is presumed, and nothing that is told without a commit (``confirm``).
    """

    def __init__(
        self,
        call: Call,
        context: Context,
        env: Env,
        known: Mapping[str, PolicyRow | None],
        sought: Query,
        *,
        presumes: bool = False,
    ) -> None:
        self.looked = False
        self._call = call
        self._sought = sought
        self._context = context
        self._env = env
        self._known = dict(known)
        self._presumes = presumes
        self._presumed: set[str] = set()
        self._rules: dict[tuple[Action, int], tuple[Rule, ...]] = {}
        self._listed: dict[tuple[Action, bool], tuple[Rule, ...]] = {}
        self._naming: Mapping[str, Policy] | None = None
        self._within: tuple[str, ...] = ()
        self._used: dict[str, None] = {}

    def rules(self, action: Action, *, provenances_apart: bool = False) -> tuple[Rule, ...]:
        """Return the rules for whatever is listed."""
        self.looked = True
        found = self._listed.get((action, provenances_apart))
        if found is None:
            found = self._made(action) if self._person or self._context.subject is None else self._for_lists(action)
            among = () if provenances_apart else self._provenances(action, found)
            found = self._listed[action, provenances_apart] = (*found, *self._binaries(action), *among)
            self._note(rule.reason for rule in found if rule.permit and rule.record)
        return found

    def decide(self, action: Action, row: Row) -> Decision:
        """Return the decision for one row, by the policies of the records that hold it; raise ``Stale`` if they were presumed wrongly."""
        self.looked = self.looked or "co" in row
        decision = self._decided(action, row)
        if decision.permit or not self._presumed:
            return decision
        self.confirm()
        return self._decided(action, row)

    def _decided(self, action: Action, row: Row) -> Decision:
        rules = self.about(action, (row,))
        told = row.get("ty") == provenances.TYPE and action in READS
        if "t" not in row and (told or any(_looks_at(rule.where, _SEARCHED) for rule in rules)):
            row = self._whole(row)
        decision = decide(rules, row)
        if row.get("ty") == "Binary" and action == "read":
            decision = self._as_its_documents(row, decision)
        if told and decision.permit:
            decision = self._as_its_targets(row, decision)
        if decision.permit:
            opening = {rule.reason for rule in rules if rule.permit and rule.record}
            self._note(reason for reason in decision.reasons if reason in opening)
        return decision

    def _as_its_documents(self, row: Row, decision: Decision) -> Decision:
        """Return the decision for a Binary: that for the documents of its author which name it, if there are any; its author has it anyhow.

        https://hl7.org/fhir/R4/binary.html#security: a Binary has no labels of its own, and is seen by who sees what it belongs to. Whoever
        knows its id can write that a document is of it, so those of others open nothing; what hides one of them hides it.
        """
        if decision.reasons == ("author",) or not (decision.permit or decision.reasons == (NO_RULE,)):
            return decision
        urls = (row["_id"], f"{self._context.base_url}/{row['_id']}")
        at = tuple(f"DocumentReference.location={url}" for url in urls)
        naming = either([In("t", at), *(prefix("t", f"{each}/_history/") for each in at)])
        documents = self._env.store.search(naming, Page(_MOST_DOCUMENTS)).rows
        own = [each for each in documents if not _written_by(row).isdisjoint(_written_by(each.index))]
        judged = [(each, self.decide("read", each.index)) for each in own or documents]
        seen = [(each, found) for each, found in judged if found.permit]
        if not documents or not (own or decision.permit):
            return decision
        if not seen or (not own and len(seen) < len(judged)):
            return Decision(permit=False, reasons=("its documents are hidden",))
        document, found = seen[0]
        reasons = tuple(f"{document.ref}: {reason}" for reason in found.reasons)
        return Decision(permit=True, reasons=reasons, patients=tuple(document.index.get("pt") or ()))

    def _as_its_targets(self, row: Row, decision: Decision, known: Mapping[Ref, Stored] | None = None) -> Decision:
        """Return the decision for a Provenance: it is seen by who sees all that it is about, which are no others of its kind, and by its author.

        To its author it tells nothing; if it went away where something is hidden, that would.
        """
        if not provenances.is_known_what_about(row):
            return Decision(permit=False, reasons=("what it was about is not known",))
        if not _written_by(row).isdisjoint(self._names):
            return decision
        refs = targets_of(row)
        found = known if known is not None else self._env.store.find_many(refs) if refs else {}
        for ref in refs:
            hidden = ref in found and not self.decide("read", found[ref].index).permit
            if hidden or ref.type == provenances.TYPE:
                return Decision(permit=False, reasons=(f"{ref}, which it is about, is hidden",))
        return decision

    def _binaries(self, action: Action) -> Iterator[Rule]:
        """Yield the refusal to list contents of others: a Binary is found by the document that names it, and judged by it when it is read."""
        subject, call = self._context.subject, self._call
        single = call.id is not None and call.operation is None
        if subject is None or action not in READS or single:
            return
        if call.type in (None, _CONTENT) or call.operation or call.compartment or reaches(call, self._env):
            where = both(Eq("ty", _CONTENT), Not(In("au", tuple(sorted(self._names)))))
            yield Rule(permit=False, where=where, reason="found by its document")

    def _provenances(self, action: Action, rules: tuple[Rule, ...]) -> Iterator[Rule]:
        """Yield the refusal of all Provenances but those about what is seen; of all, where a list asks for none."""
        every = Eq("ty", provenances.TYPE)
        if action not in READS or not any(rule.permit for rule in rules):
            return
        if not provenances.may_be_listed(self._call, self._env):
            if self._call.type is None or reaches(self._call, self._env):
                yield Rule(permit=False, where=every, reason="not asked for")
            return
        where = both(every, narrow(rules))
        past = self._call.name.startswith("history")
        seen = self._versions_seen(where) if past else self._those_seen(both(where, *self._asked_of_provenances()))
        yield Rule(permit=False, where=both(every, Not(In("_id", seen))), reason="what it is about is hidden")

    def _those_seen(self, where: Query) -> tuple[str, ...]:
        """Return the rows of the Provenances that meet the query and are seen."""
        found = self._env.store.search(where, Page(provenances.MOST))
        _require_all(found)
        return tuple(map(str, self.sees([row.ref for row in found.rows])))

    def _versions_seen(self, where: Query) -> tuple[str, ...]:
        """Return the same of their versions, each seen by what it was about then and by what the present one is about."""
        store = self._env.store
        scope = HistoryScope(provenances.TYPE, self._call.id, where)
        found = store.history(scope, HistoryPage(provenances.MOST, with_index=True))
        _require_all(found)
        present = self.sees(tuple(dict.fromkeys(row.ref for row in found.rows)))
        rows = [row.index for row in found.rows if row.ref in present]
        return tuple(row["_id"] for row in self._of_seen_targets(rows))

    def sees(self, provenances: Sequence[Ref]) -> Collection[Ref]:
        """Return those of these Provenances whose targets the caller all sees."""
        store = self._env.store
        rows = store.find_many(provenances) if provenances else {}
        seen = {row["_id"] for row in self._of_seen_targets([row.index for row in rows.values()])}
        return tuple(ref for ref in rows if str(ref) in seen)

    def _of_seen_targets(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Return those of the rows whose targets the caller all sees; these are read together."""
        refs = dict.fromkeys(ref for row in rows for ref in targets_of(row))
        targets = self._env.store.find_many(tuple(refs)) if refs else {}
        seen = Decision(permit=True, reasons=())
        return [row for row in rows if self._as_its_targets(row, seen, targets).permit]

    def _asked_of_provenances(self) -> tuple[Query, ...]:
        """Return what is asked of the Provenances that are listed, so that no others are looked at."""
        if self._call.compartment is not None:
            return (Eq("t", f"@{self._call.compartment}"),)
        if self._call.type != provenances.TYPE:
            return ()
        asked = tuple(each for each in self._call.params if each[0] in ("target", "_id"))
        try:
            return (self._env.restrict(provenances.TYPE, asked),) if asked else ()
        except FhirError:
            return ()

    def about(self, action: Action, rows: Sequence[Row]) -> tuple[Rule, ...]:
        """Return the rules for these rows; the policies that are not known yet are read together."""
        if not self._person:
            self.learn(patient for row in rows for patient in row.get("pt") or ())
        return self._made(action)

    def learn(self, patients: Iterable[str]) -> None:
        """Read the policies of these records, unless they are known."""
        unknown = [patient for patient in dict.fromkeys(patients) if patient not in self._known]
        if self._presumes:
            recent = self._env.recent
            lately = {patient: recent.find(patient) for patient in unknown if recent.known(patient)}
            self._presume(lately)
            unknown = [patient for patient in unknown if patient not in lately]
        if unknown:
            self._known.update(self._read(unknown))

    def presume_none(self, patients: Iterable[str]) -> None:
        """Presume that nobody has opened or shut records that are made only now."""
        if self._presumes:
            self._presume({patient: None for patient in patients if patient not in self._known})

    def confirm(self) -> None:
        """Read what was presumed; raise ``Stale`` if it is not so any more."""
        now = self._read(self._presumed) if self._presumed else {}
        if any(row != self._known[patient] for patient, row in now.items()):
            raise Stale
        self._presumed.clear()

    def _presume(self, policies: Mapping[str, PolicyRow | None]) -> None:
        self._known.update(policies)
        self._presumed.update(policies)

    def _read(self, patients: Collection[str]) -> Mapping[str, PolicyRow | None]:
        found = self._env.store.find_policies(tuple(patients))
        rows = {patient: found.get(patient) for patient in patients}
        self._env.recent.note(rows)
        return rows

    def searches(self, action: Action) -> bool:
        """Tell whether a rule for the action looks at what is searched; a system's row is read anew where one does."""
        return self._person is not None and any(_looks_at(rule.where, _SEARCHED) for rule in self._made(action))

    def policy(self, patient: str) -> tuple[Policy, int]:
        """Return what opens a record now, and its version (0: nothing was ever said)."""
        self.learn((patient,))
        row = self._known[patient]
        if row is not None and patient in self._presumed:
            self.confirm()
        return (decode(row.body), row.version) if row else (Policy(patient), 0)

    @property
    def decided_on(self) -> Mapping[str, int]:
        """The versions of the policies that the decisions rest on."""
        return {patient: row.version if row else 0 for patient, row in self._known.items()}

    @property
    def used(self) -> tuple[str, ...]:
        """What opened the records that were touched, for the event."""
        return tuple(self._used)[:_MOST_REASONS]

    @property
    def _names(self) -> frozenset[str]:
        """The names under which the caller writes."""
        subject = self._context.subject
        return frozenset() if subject is None else frozenset(names_of(subject))

    @property
    def _person(self) -> Person | None:
        return self._context.subject.person if self._context.subject else None

    def _made(self, action: Action) -> tuple[Rule, ...]:
        key = (action, len(self._known))
        found = self._rules.get(key)
        if found is None:
            policies = {patient: decode(row.body) for patient, row in self._known.items() if row}
            found = self._rules[key] = self._from(action, policies)
        return found

    def _for_lists(self, action: Action) -> tuple[Rule, ...]:
        if self._naming is None:
            self._naming = self._policies_of_lists()
        return (*self._from(action, self._naming), *self._beyond())

    def _policies_of_lists(self) -> Mapping[str, Policy]:
        """Return the policies that judge a list: those of the records that the call names where it reaches no others."""
        subject = self._context.subject
        if subject is not None and subject.patient is not None:
            return self._policies_within((subject.patient,))
        named = None if reaches(self._call, self._env) else self._records()
        if named:
            return self._policies_within(named)
        try:
            return self._policies_naming()
        except TooCostly:
            named = self._records()
            if not named:
                raise
        return self._policies_within(named)

    def _records(self) -> tuple[str, ...]:
        sought = None if self._sought == NOTHING else self._sought
        return records_of(self._call, sought, self._context.base_url, self._env)

    def _policies_within(self, named: tuple[str, ...]) -> Mapping[str, Policy]:
        """Return the policies of these records, and of those that hold rows of theirs too."""
        found = self._policies_of(named)
        shares = (each for policy in found.values() for each in policy.shares if each not in named)
        beside = tuple(dict.fromkeys(shares))[: self._env.limits.policies]
        self._within = (*named, *beside)
        return {**found, **self._policies_of(beside)} if beside else found

    def _policies_of(self, patients: tuple[str, ...]) -> Mapping[str, Policy]:
        return {patient: decode(row.body) for patient, row in self._env.store.find_policies(patients).items()}

    def _beyond(self) -> Iterator[Rule]:
        """Yield the refusal of the records whose policies were not looked at."""
        if self._within:
            where = both(Between("pt"), Not(Among("pt", self._within)))
            yield Rule(permit=False, where=where, reason="not of a record that was named")

    def _policies_naming(self) -> Mapping[str, Policy]:
        subject = self._context.subject
        structure = subject.organization if subject else None
        most = self._env.limits.policies
        rows = self._env.store.policies_naming([EVERYBODY, *([structure] if structure else [])], most + 1)
        if len(rows) > most:
            raise TooCostly(f"More than {most} records would have to be looked at: name a patient.")
        return {row.patient: decode(row.body) for row in rows}

    def _from(self, action: Action, policies: Mapping[str, Policy]) -> tuple[Rule, ...]:
        context = self._context
        matrix = self._env.definitions.matrix
        copies = _copies(self._call, self._person)
        rules = rules_for(
            context.subject,
            action,
            policies,
            context.now,
            matrix,
            self._restriction,
            readings=self._env.readings,
            copies=copies,
        )
        return (*rules, *finds(context.subject, action, self._sought))

    def _restriction(self, scope: Scope) -> Query:
        """Return the query of a scope's restriction; one that cannot be asked covers nothing."""
        try:
            return self._env.restrict(scope.type or "", scope.restriction)
        except FhirError:
            return NOTHING

    def _whole(self, row: Row) -> Row:
        literal = parse_literal(row.get("_id", ""))
        stored = self._env.store.find_current(literal.ref) if literal else None
        return stored.index if stored else row

    def _note(self, reasons: Iterable[str]) -> None:
        self._used.update(dict.fromkeys(reasons))


def _require_all(found: Found) -> None:
    if found.more:
        raise TooCostly(f"More than {provenances.MOST} Provenances would have to be looked at: name a target.")


def _written_by(row: Row) -> frozenset[str]:
    """Return who wrote version 1 of the row, as it was stamped."""
    return frozenset(row.get("au") or ())


def grant_of(call: Call, context: Context, env: Env, *, anew: bool = False, writes: bool = False) -> Granting:
    """Return the grant of a caller; ``anew`` presumes nothing, and reads again the policy that came with a person's token."""
    person = context.subject.person if context.subject else None
    sought = _sought(call, env, one=person is not None)
    if person is None or person.patient is None:
        return Granting(call, context, env, {}, sought, presumes=writes and not anew and person is None)
    policy = env.store.find_policies((person.patient,)).get(person.patient) if anew else context.policy
    return Granting(call, context, env, {person.patient: policy}, sought)


def shut_out(context: Context, reasons: tuple[str, ...]) -> Refused:
    """Return the refusal of a whole record: one answer for every reason, which only the holder is told."""
    person = context.subject.person if context.subject else None
    told = f" ({'; '.join(reasons)})" if person and person.kind == "holder" else ""
    patients = (person.patient,) if person and person.patient else ()
    return Refused(f"This record is not open to you{told}.", reasons=reasons, patients=patients)


def _copies(call: Call, person: Person | None) -> bool:
    """Tell whether the call is for a copy of the record that the person's token names."""
    if person is None or person.patient is None or (call.type, call.operation) != ("Patient", "everything"):
        return False
    return call.id is None or str(call.ref) == person.patient


def _sought(call: Call, env: Env, *, one: bool) -> Query:
    """Return the rows of those whom a search names by their exact INS; a person seeks ``one`` number at a time."""
    if call.name != "search-type" or call.type != "Patient":
        return NOTHING
    for name, value in call.params:
        numbers = {each.partition("|")[2] for each in value.split(",")}
        if name == "identifier" and all(map(is_ins, value.split(","))) and not (one and len(numbers) > 1):
            try:
                return env.restrict("Patient", ((name, value),))
            except FhirError:
                return NOTHING
    return NOTHING

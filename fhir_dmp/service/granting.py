"""What the caller of one perform may do: the rules, on the policies that they need, each read once and remembered for the commit."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache

from fhir_dmp.access.decide import decide
from fhir_dmp.access.model import Action, Decision, Person, Rule
from fhir_dmp.access.people import READS
from fhir_dmp.access.policy import Policy
from fhir_dmp.access.rules import finds, names_of, rules_for
from fhir_dmp.access.scopes import Scope
from fhir_dmp.call import Call, Context, Env
from fhir_dmp.errors import FhirError, Refused
from fhir_dmp.fhir.ins import is_ins
from fhir_dmp.fhir.reference import Ref, parse_literal
from fhir_dmp.service import binaries, provenances
from fhir_dmp.service.contents import TYPE as CONTENT
from fhir_dmp.service.contents import Documents
from fhir_dmp.service.known_policies import KnownPolicies
from fhir_dmp.service.list_policies import ListPolicies, list_policies
from fhir_dmp.service.provenances import SeenProvenances
from fhir_dmp.store.query import NOTHING, Query, Row, mentions

_SEARCHED = frozenset({"t", "r", "w"})
_looks_at = lru_cache(maxsize=4096)(mentions)
"""``mentions`` of the rules that rows are judged by, one after the other; those of lists name all that is seen, and are not worth keeping."""

_MOST_REASONS = 20


class Granting:
    """``call.Grant`` for one attempt of one caller, by these ``policies``.

    A person's token names one record: its policy came with the token. A system's rules rest on the policies of the rows in
    question, or, for lists, on those of the records that the ``call`` names, or on all that name its structure. ``sought`` are the
    rows of whoever is looked for by an exact INS. ``looked`` tells whether anything that is kept was judged; ``documents`` are those that
    name contents, as far as they were looked for.
    """

    def __init__(self, call: Call, context: Context, env: Env, policies: KnownPolicies, sought: Query) -> None:
        self.looked = False
        self.policies = policies
        self.documents = Documents(context.base_url, env)
        self._call = call
        self._sought = sought
        self._context = context
        self._env = env
        self._rules: dict[tuple[Action, int], tuple[Rule, ...]] = {}
        self._listed: dict[tuple[Action, bool], tuple[Rule, ...]] = {}
        self._of_lists: ListPolicies | None = None
        self._used: dict[str, None] = {}

    def rules(self, action: Action, *, provenances_apart: bool = False) -> tuple[Rule, ...]:
        """Return the rules for whatever is listed."""
        self.looked = True
        found = self._listed.get((action, provenances_apart))
        if found is None:
            found = self._made(action) if self._person or self._context.subject is None else self._for_lists(action)
            among = () if provenances_apart else self._provenances.not_listed(action, found)
            found = self._listed[action, provenances_apart] = (*found, *self._contents(action), *among)
            self._note(rule.reason for rule in found if rule.permit and rule.record)
        return found

    def decide(self, action: Action, row: Row) -> Decision:
        """Return the decision for one row, by the policies of the records that hold it; raise ``Stale`` if they were presumed wrongly."""
        self.looked = self.looked or "co" in row
        decision = self._decided(action, row)
        if decision.permit or not self.policies.confirm():
            return decision
        return self._decided(action, row)

    def _decided(self, action: Action, row: Row) -> Decision:
        rules = self.about(action, (row,))
        told = row.get("ty") == provenances.TYPE and action in READS
        if "t" not in row and (told or any(_looks_at(rule.where, _SEARCHED) for rule in rules)):
            row = self._whole(row)
        decision = decide(rules, row)
        if row.get("ty") == CONTENT and action == "read":
            decision = binaries.as_documents(row, decision, self, self.documents)
        if told and decision.permit:
            decision = self._provenances.as_targets(row, decision)
        if decision.permit:
            opening = {rule.reason for rule in rules if rule.permit and rule.record}
            self._note(reason for reason in decision.reasons if reason in opening)
        return decision

    def about(self, action: Action, rows: Sequence[Row]) -> tuple[Rule, ...]:
        """Return the rules for these rows; the policies that are not known yet are read together."""
        if not self._person:
            self.policies.learn(patient for row in rows for patient in row.get("pt") or ())
        return self._made(action)

    def policy(self, patient: str) -> tuple[Policy, int]:
        """Return what opens a record now, and its version (0: nothing was ever said)."""
        return self.policies.policy(patient)

    def sees(self, provenances: Sequence[Ref]) -> Collection[Ref]:
        """Return those of these Provenances whose targets the caller all sees."""
        return self._provenances.sees(provenances)

    def searches(self, action: Action) -> bool:
        """Tell whether a rule for the action looks at what is searched; a system's row is read anew where one does."""
        return self._person is not None and any(_looks_at(rule.where, _SEARCHED) for rule in self._made(action))

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
    def _provenances(self) -> SeenProvenances:
        return SeenProvenances(self._call, self._names, self, self._env)

    @property
    def _person(self) -> Person | None:
        return self._context.subject.person if self._context.subject else None

    def _made(self, action: Action) -> tuple[Rule, ...]:
        key = (action, len(self.policies))
        found = self._rules.get(key)
        if found is None:
            found = self._rules[key] = self._from(action, self.policies.all())
        return found

    def _for_lists(self, action: Action) -> tuple[Rule, ...]:
        if self._of_lists is None:
            self._of_lists = list_policies(self._call, self._context, self._sought, self._env)
        return (*self._from(action, self._of_lists.policies), *self._of_lists.beyond())

    def _contents(self, action: Action) -> Iterable[Rule]:
        return () if self._context.subject is None else binaries.not_listed(self._call, action, self._names, self._env)

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


def grant_of(call: Call, context: Context, env: Env, *, anew: bool = False, writes: bool = False) -> Granting:
    """Return the grant of a caller; ``anew`` presumes nothing, and reads again the policy that came with a person's token."""
    person = context.subject.person if context.subject else None
    sought = _sought(call, env, one=person is not None)
    if person is None or person.patient is None:
        policies = KnownPolicies({}, env, presumes=writes and not anew and person is None)
        return Granting(call, context, env, policies, sought)
    policy = env.store.find_policies((person.patient,)).get(person.patient) if anew else context.policy
    return Granting(call, context, env, KnownPolicies({person.patient: policy}, env), sought)


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

"""Why somebody may or may not: the rules of a caller and one record in their order, in plain words, for an administrator.

It is the list that ``perform`` decides by, told instead of applied; nothing of any resource is shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from fhir_dmp.access.model import Action, Person, Rule, Subject
from fhir_dmp.access.people import ACT_REASON, CENTRE_15
from fhir_dmp.access.policy import Entry, Policy
from fhir_dmp.access.rules import shut
from fhir_dmp.call import Act, Call, Context, Entity, Env, Result
from fhir_dmp.clock import instant
from fhir_dmp.errors import FhirError, Invalid, NotFound
from fhir_dmp.fhir.parameters import NONE_GIVEN, Parameter, Parameters
from fhir_dmp.fhir.reference import Ref, parse_literal
from fhir_dmp.service.evidence import described
from fhir_dmp.service.granting import Granting, grant_of
from fhir_dmp.store.accounts import Account, Accounts
from fhir_dmp.store.grants import Client, Grants
from fhir_dmp.store.matching import matches
from fhir_dmp.store.query import Row


class Asked(Struct, frozen=True):
    """Whose access to what: ``resource`` None asks about the record as a whole; ``note`` says what else the caller may be judged as."""

    subject: Subject
    patient: str
    resource: Ref | None = None
    action: Action = "read"
    note: str | None = None


def of_client(client: Client) -> Subject:
    """Return a system as its own token would speak for it."""
    return Subject(client.id, client.role, client.scopes, client.organization)


class Supposed(Struct, frozen=True):
    """What is supposed of a person's token: why it was asked for, and what was written for an emergency.

    ``situation`` is which of theirs, from 1; ``strong`` is whether they proved who they are by two factors or as much.
    """

    purpose: str | None = None
    reason: str | None = None
    situation: int = 1
    strong: bool = True


def of_account(account: Account, patient: str, supposed: Supposed) -> Subject:
    """Return a person as a token for the record would, with every scope: what an app may ask is another question."""
    professional = account.kind == "professional"
    own = account.resource == patient
    usual = "TREAT" if professional else "PATRQT" if own else "FAMRQT"
    situation = account.situations[supposed.situation - 1] if account.situations else None
    person = Person(
        "professional" if professional else "holder" if own else "representative",
        account.id,
        account.identifier,
        account.resource,
        account.name,
        profession=situation.profession if situation else None,
        specialty=situation.specialty if situation else None,
        patient=patient,
        purpose=supposed.purpose or usual,
        reason=supposed.reason,
        strong=supposed.strong,
    )
    organization = situation.organization if situation else None
    role = "samu" if supposed.purpose == CENTRE_15 else "app"
    return Subject("any-app", role, ("user/*.cruds",), organization, person=person)


NOTHING_SUPPOSED = Supposed()


class Explainer(Struct, frozen=True):
    """Knows callers by the names that an administrator has for them: a client's id, an account's login or id."""

    grants: Grants
    accounts: Accounts
    env: Env

    def explain(
        self,
        who: str,
        patient: str,
        context: Context,
        *,
        resource: str | None = None,
        action: Action = "read",
        supposed: Supposed = NOTHING_SUPPOSED,
    ) -> tuple[str, ...]:
        """Return the path to the decision. That it was asked leaves its event, whatever is found.

        Raises ``NotFound`` for a caller or a resource that is not there, ``Invalid`` for no reference and no situation of theirs.
        """
        record = patient if patient.startswith("Patient/") else f"Patient/{patient}"
        try:
            asked = self._asked(who, record, resource, action, supposed)
        except FhirError as error:
            error.reasons, error.patients = (str(error),), (record,)
            _record(Act(_call(record, supposed.reason), error=error), context, self.env)
            raise
        return explain(asked, context, self.env)

    def _asked(self, who: str, record: str, resource: str | None, action: Action, supposed: Supposed) -> Asked:
        named = parse_literal(resource) if resource else None
        if resource and named is None:
            raise Invalid(f"{resource[:100]!r} is no resource: write Type/id.")
        ref = named.ref if named else None
        client = self.grants.find_client(who)
        if client is not None:
            return Asked(of_client(client), record, ref, action)
        account = self._account(who)
        if not 1 <= supposed.situation <= max(len(account.situations), 1):
            raise Invalid(
                f"They have {_counted(len(account.situations), 'situation')}, counted from 1; not {supposed.situation}."
            )
        return Asked(of_account(account, record, supposed), record, ref, action, _one_of_several(account, supposed))

    def _account(self, who: str) -> Account:
        account = self.accounts.find_account_by_login(who) or self.accounts.find_account(who)
        if account is None:
            raise NotFound(f"There is no client and no account {who[:64]!r}.")
        return account


def _one_of_several(account: Account, supposed: Supposed) -> str | None:
    """Return which situation an account is judged in, where it has several: a token is for one of them."""
    several = len(account.situations)
    if several < 2:
        return None
    judged = account.situations[supposed.situation - 1]
    named = judged.label or f"profession {judged.profession}, for {judged.organization or 'no structure'}"
    return f"Judged in situation {supposed.situation} of {several}: {named}."


def _call(record: str, reason: str | None) -> Call:
    """Return what the log is told: that it was asked, and under which reason, which is shown to nobody who may not read it."""
    given = Parameters((Parameter("reason", reason, "string"),)) if reason else NONE_GIVEN
    return Call("operation", "Patient", record.partition("/")[2], operation="explain", parameters=given)


def explain(asked: Asked, context: Context, env: Env) -> tuple[str, ...]:
    """Return the path to the decision, line by line; that it was asked leaves its event, whatever is found.

    Raises ``NotFound`` for a resource that is not there.
    """
    within = replace(context, subject=asked.subject, purpose=asked.subject.purpose)
    person = asked.subject.person
    told = _call(asked.patient, person.reason if person else None)
    call = replace(told, name="read", operation=None, parameters=NONE_GIVEN)
    try:
        row = _row(asked, env)
    except NotFound as error:
        _record(Act(told, error=error), context, env)
        raise
    grant = grant_of(call, within, env, anew=True)
    policy, version = grant.policy(asked.patient)
    lines = [*_who(asked), *_policy(policy, version), *_rules(asked, grant, row)]
    _record(Act(told, Result("ok", entities=(Entity(call.ref, None, (asked.patient,)),))), context, env)
    return tuple(lines)


def _record(act: Act, context: Context, env: Env) -> None:
    env.store.record(described(act, context, env))


def _row(asked: Asked, env: Env) -> Row | None:
    if asked.resource is None:
        return None
    stored = env.store.find_current(asked.resource)
    if stored is None or stored.deleted:
        text = f"{asked.resource} is not there."
        raise NotFound(text, reasons=(text,), patients=(asked.patient,))
    return stored.index


def _who(asked: Asked) -> Iterator[str]:
    subject, person = asked.subject, asked.subject.person
    if person is None:
        yield f"{subject.client} asks as a system: {subject.role}, for {subject.organization or 'no structure'}."
    else:
        where = (
            f", profession {person.profession}, for {subject.organization or 'no structure'}"
            if person.profession
            else ""
        )
        yield f"{person.name or person.resource} asks as {person.kind}{where}, purpose {person.purpose}."
    if asked.note:
        yield asked.note
    yield f"Scopes: {' '.join(subject.scopes) or 'none'}."


def _policy(policy: Policy, version: int) -> Iterator[str]:
    if not policy.entries:
        yield f"{policy.patient}: nobody has said anything of this record; it is open to its holder alone."
        return
    yield f"{policy.patient}: policy version {version}, from {_counted(len(policy.entries), 'source')}."
    yield from (f"  {entry.name}: {'; '.join(_says(entry))}" for entry in policy.entries)


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _says(entry: Entry) -> Iterator[str]:
    if entry.closed is not None:
        yield "closes the record"
    if entry.died is not None:
        yield "says that the holder has died"
    if entry.provision is not None:
        root = entry.provision
        whom = ", ".join(" + ".join(actor) for actor in root.actors) or "everybody"
        why = ", ".join(purpose.removeprefix(f"{ACT_REASON}|") for purpose in root.purposes) or "any purpose"
        until = f", until {instant(root.period.end)}" if root.period.end is not None else ""
        exceptions = f", with {_counted(len(root.exceptions), 'exception')}" if root.exceptions else ""
        yield f"{'permits' if root.permit else 'denies'} {whom} for {why}{until}{exceptions}"
    for kind, members in (
        ("care team", entry.members),
        ("attending doctor", entry.doctors),
        ("representative", entry.representatives),
    ):
        if members:
            yield f"{kind}: {', '.join(' + '.join(actor) for member in members for actor in member.actors)}"


def _rules(asked: Asked, grant: Granting, row: Row | None) -> Iterator[str]:
    rules = grant.about(asked.action, (row,) if row else ({"pt": [asked.patient]},))
    what = str(asked.resource) if asked.resource else "the record"
    yield f"To {asked.action} {what}, in the order of decision:"
    yield from (f"  {_told(rule, row)}" for rule in rules)
    if row is not None:
        decision = grant.decide(asked.action, row)
        yield f"{'Permitted' if decision.permit else 'Refused'}: {'; '.join(decision.reasons)}."
    else:
        yield _whole(rules)


def _told(rule: Rule, row: Row | None) -> str:
    said = f"{'permits' if rule.permit else 'refuses'}: {rule.reason}"
    if row is None:
        return f"{said}{' (the whole record)' if rule.record else ' (single items)'}"
    return f"{said} ({'meets this item' if matches(rule.where, row) else 'does not meet this item'})"


def _whole(rules: Sequence[Rule]) -> str:
    why = shut(rules)
    return f"The record is shut: {'; '.join(why)}." if why else "The record is open, but for what is refused above."

"""The policies that judge what a system lists: those of the records that it names, or of all that name its structure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

from fhir_dmp.access.model import Rule, Subject
from fhir_dmp.access.policy import EVERYBODY, Policy, decode
from fhir_dmp.call import Call, Context, Env
from fhir_dmp.errors import TooCostly
from fhir_dmp.service.named import reaches, records_of
from fhir_dmp.store.query import NOTHING, Among, Between, Not, Query, both


class ListPolicies(Struct, frozen=True):
    """The policies by record; where a list is ``within`` some records, no others were looked at."""

    policies: Mapping[str, Policy]
    within: tuple[str, ...] = ()

    def beyond(self) -> Iterator[Rule]:
        """Yield the refusal of the records whose policies were not looked at."""
        if self.within:
            where = both(Between("pt"), Not(Among("pt", self.within)))
            yield Rule(permit=False, where=where, reason="not of a record that was named")


def list_policies(call: Call, context: Context, sought: Query, env: Env) -> ListPolicies:
    """Return the policies that judge a list: those of the records that the call names where it reaches no others.

    ``sought`` are the rows of whoever is looked for by an exact INS. Raises ``TooCostly`` where no record is named and too many name
    the structure.
    """
    subject = context.subject
    if subject is not None and subject.patient is not None:
        return _within((subject.patient,), env)
    named = None if reaches(call, env) else _records(call, context, sought, env)
    if named:
        return _within(named, env)
    try:
        return ListPolicies(_naming(subject, env))
    except TooCostly:
        named = _records(call, context, sought, env)
        if not named:
            raise
    return _within(named, env)


def _records(call: Call, context: Context, sought: Query, env: Env) -> tuple[str, ...]:
    return records_of(call, None if sought == NOTHING else sought, context.base_url, env)


def _within(named: tuple[str, ...], env: Env) -> ListPolicies:
    """Return the policies of these records, and of those that hold rows of theirs too."""
    found = _of(named, env)
    shares = (each for policy in found.values() for each in policy.shares if each not in named)
    beside = tuple(dict.fromkeys(shares))[: env.limits.policies]
    return ListPolicies({**found, **_of(beside, env)} if beside else found, (*named, *beside))


def _of(patients: tuple[str, ...], env: Env) -> Mapping[str, Policy]:
    return {patient: decode(row.body) for patient, row in env.store.find_policies(patients).items()}


def _naming(subject: Subject | None, env: Env) -> Mapping[str, Policy]:
    structure = subject.organization if subject else None
    most = env.limits.policies
    rows = env.store.policies_naming([EVERYBODY, *([structure] if structure else [])], most + 1)
    if len(rows) > most:
        raise TooCostly(f"More than {most} records would have to be looked at: name a patient.")
    return {row.patient: decode(row.body) for row in rows}

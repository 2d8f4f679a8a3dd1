"""From who asks to the list of rules that judge the call: those of people and of systems, the keeper's, and what the scopes cover."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache

from fhir_dmp.access import people, systems
from fhir_dmp.access.kinds import IS_DIRECTORY
from fhir_dmp.access.model import Action, Rule, Subject
from fhir_dmp.access.people import READS, person_rules
from fhir_dmp.access.policy import Policy
from fhir_dmp.access.scopes import Scope, parse_scope
from fhir_dmp.access.systems import WRITERS, keeps_directory, system_rules
from fhir_dmp.definitions.model import Matrix
from fhir_dmp.errors import Refused
from fhir_dmp.settings import Readings
from fhir_dmp.store.query import NOTHING, Among, Between, Eq, In, Not, Query, Row, both, either

_LEVELS = {True: ("patient", "user"), False: ("system",)}
_INSUFFICIENT = (("WWW-Authenticate", 'Bearer error="insufficient_scope"'),)
_LOG = "AuditEvent"
KEPT = "kept by the keeper of the directory"
"""Why nobody else changes what the keeper of the directory wrote of who is who."""

_CHANGES = ("update", "delete", "relabel")

Restrict = Callable[[Scope], Query]
"""Gives the query for what a scope's search restriction covers of its type."""


def rules_for(
    subject: Subject | None,
    action: Action,
    policies: Mapping[str, Policy],
    now: datetime,
    matrix: Matrix,
    restrict: Restrict,
    *,
    readings: Readings,
    copies: bool = False,
) -> tuple[Rule, ...]:
    """Return the rules for one caller and one kind of action; nobody has none.

    ``policies`` (by ``Patient/p``) are those of the records in question: of the one that a person's token names, or of all that could
    open or shut something to a system. Who acts and why stands in the subject. The scopes are the ceiling of all of it. ``readings`` say
    how this server takes what no text settles. ``copies``: the call is for a copy of the token's record, which a closed one
    leaves to its holder, where the scopes cover all of it.
    """
    if subject is None:
        return ()
    kept = _kept(subject, action)
    action = "update" if action == "repeat" else action
    person = subject.person
    rules: tuple[Rule, ...]
    if person is None:
        rules = (*system_rules(subject, action, policies, now, matrix, readings), *_bound(subject))
    else:
        policy = policies.get(person.patient) if person.patient else None
        whole = copies and all(_covered(subject, each, whole=True) is None for each in READS)
        rules = tuple(person_rules(subject, person, action, policy, now, matrix, readings, copies=whole))
    if action == "govern":
        return rules
    return (*rules, *kept, *_ceiling(subject, action, restrict))


def _bound(subject: Subject) -> Iterator[Rule]:
    """Yield the refusal of all but the record that a system's token is bound to, and the directory."""
    if subject.patient is not None:
        where = both(Not(Among("pt", (subject.patient,))), Not(IS_DIRECTORY))
        yield Rule(permit=False, where=where, reason=f"the token is for {subject.patient} alone")


def _kept(subject: Subject, action: Action) -> Iterator[Rule]:
    """Yield the refusal to change what the keeper of the directory wrote of who is who: others of its structure are authors of that, too.

    Labels are put on what others wrote as well: a Group of the keeper's that stands in a record would be its holder's to change by them.
    """
    if action in _CHANGES and not keeps_directory(subject):
        kept = Eq("kept", value=True)
        where = kept if action == "relabel" else both(kept, In("au", tuple(sorted(names_of(subject)))))
        yield Rule(permit=False, where=where, reason=KEPT)


def names_of(subject: Subject) -> tuple[str, ...]:
    """Return the names under which the caller writes: a person's and its structure's, or a system's."""
    return tuple(people.names_of(subject)) if subject.person else systems.names_of(subject)


def authors_of(row: Row) -> frozenset[str]:
    """Return who wrote version 1 of the row, as it was stamped."""
    return frozenset(row.get("au") or ())


def _ceiling(subject: Subject, action: Action, restrict: Restrict) -> Iterator[Rule]:
    """Yield the refusal of all that the scopes do not cover."""
    types = _covered(subject, action, whole=True)
    if types is None:
        return
    scopes = _scopes(subject, action)
    covered: list[Query] = [In("ty", types)] if types else []
    there = Not(Between("del"))  # a deletion keeps too little for a restriction to be held against it
    covered += [both(Eq("ty", scope.type or ""), there, restrict(scope)) for scope in scopes if scope.restriction]
    yield Rule(permit=False, where=Not(either(covered)), reason=f"scope: {' '.join(subject.scopes)}")


def _covered(subject: Subject, action: Action, *, whole: bool) -> tuple[str, ...] | None:
    """Return the types that the scopes cover for the action, in part or as a ``whole``; None for all."""
    return _types_of(subject.scopes, subject.person is not None, action, whole)


@lru_cache(maxsize=4096)
def _types_of(scopes: tuple[str, ...], for_people: bool, action: Action, whole: bool) -> tuple[str, ...] | None:  # noqa: FBT001 - keys of the cache
    found = [scope for scope in _scopes_for(scopes, for_people, action) if not (whole and scope.restriction)]
    if any(scope.type is None for scope in found):
        return None
    return tuple(dict.fromkeys(scope.type for scope in found if scope.type))


def _scopes(subject: Subject, action: Action) -> tuple[Scope, ...]:
    return _scopes_for(subject.scopes, subject.person is not None, action)


@lru_cache(maxsize=4096)
def _scopes_for(scopes: tuple[str, ...], for_people: bool, action: Action) -> tuple[Scope, ...]:  # noqa: FBT001 - a key of the cache
    levels, needed = _LEVELS[for_people], "update" if action == "relabel" else action
    return tuple(each for each in map(parse_scope, scopes) if each and each.level in levels and needed in each.actions)


def may_find_by_ins(subject: Subject | None) -> bool:
    """Tell whether the caller finds a Patient by the exact INS whose record it may not read: who feeds records, and professionals."""
    if subject is None:
        return False
    return subject.role in WRITERS if subject.person is None else subject.person.kind == "professional"


def finds(subject: Subject | None, action: Action, sought: Query) -> tuple[Rule, ...]:
    """Return the permission to find a Patient by the exact INS: for a professional who has no record yet, and for who feeds records.

    What refuses still wins. Nobody finds anybody by less than the whole number.
    """
    if subject is None or action != "search" or sought == NOTHING or not may_find_by_ins(subject):
        return ()
    if subject.person is not None and subject.person.patient is not None:
        return ()
    return (Rule(permit=True, where=both(Eq("ty", "Patient"), sought), reason="by exact INS"),)


def require_scope(subject: Subject | None, resource_type: str | None, action: Action, *, whole: bool = False) -> None:
    """Refuse at once what the caller's scopes and role could never permit for the type, whatever the resource holds.

    Without a type (the whole system) it is enough that anything is permitted: the query is narrowed. What no row is judged for needs
    the ``whole`` type: there a scope with a search restriction permits nothing.
    """
    reason = _why_never(subject, resource_type, action, whole=whole)
    if reason is not None:
        raise Refused(
            f"This token does not allow to {action} {resource_type or 'anything'}.",
            reasons=(reason,),
            headers=_INSUFFICIENT,
        )


def _why_never(subject: Subject | None, resource_type: str | None, action: Action, *, whole: bool) -> str | None:
    if subject is None:
        return "nobody is known"
    types = _covered(subject, action, whole=whole)
    if types == () or (types is not None and resource_type is not None and resource_type not in types):
        return f"scope: {' '.join(subject.scopes)}"
    return None if _role_may(subject, resource_type, action) else f"role {subject.role}: this is not for the role"


def _role_may(subject: Subject, resource_type: str | None, action: Action) -> bool:
    """Tell whether the role is one for the type: traces are for auditors, holders and who acts for them, and an auditor is for traces."""
    reads_log = resource_type == _LOG and action in READS
    if subject.person is not None:
        return not reads_log or (subject.person.kind != "professional" and subject.person.patient is not None)
    if subject.role == "admin":
        return resource_type in (None, "Task") and action in (*READS, "update")
    return reads_log if subject.role == "auditor" else subject.role in WRITERS and not reads_log


def shut(rules: Sequence[Rule]) -> tuple[str, ...]:
    """Return why a whole record is shut to who has these rules: what refuses it, or that nothing opens it; nothing if it is open."""
    refusals = tuple(rule.reason for rule in rules if not rule.permit and rule.record)
    if refusals:
        return refusals
    return () if any(rule.permit and rule.record for rule in rules) else ("not authorised",)

"""From who asks to a list of rules: all policy lives here."""

from __future__ import annotations

from collections.abc import Sequence

from fhir_dmp.access.decide import decide
from fhir_dmp.access.model import Action, Rule, Subject
from fhir_dmp.access.scopes import parse_scope
from fhir_dmp.errors import Refused
from fhir_dmp.store.query import EVERYTHING, Eq, In, Not

_NO_ROLE_MAY = "role {role}: clinical content is not for this role"


def rules_for(subject: Subject | None, action: Action) -> tuple[Rule, ...]:
    """Return the rules for one caller and one kind of action; nobody has none.

    A system's scopes are its ceiling. An auditor reads AuditEvents and nothing else; an administrator reads no
    clinical content at all (decision of the roles, whatever the scopes say).
    """
    if subject is None:
        return ()
    scopes = [scope for scope in map(parse_scope, subject.scopes) if scope and action in scope.actions]
    permits = tuple(
        Rule(
            permit=True,
            where=EVERYTHING if scope.type is None else Eq("ty", scope.type),
            reason=f"scope {scope.text}",
        )
        for scope in scopes
        if scope.level == "system" and not scope.restriction
    )
    return permits + _role_limits(subject)


def _role_limits(subject: Subject) -> tuple[Rule, ...]:
    if subject.role == "auditor":
        return (_only(subject, ("AuditEvent",)),)
    if subject.role == "admin":
        return (Rule(permit=False, where=EVERYTHING, reason=_NO_ROLE_MAY.format(role="admin")),)
    return ()


def _only(subject: Subject, types: tuple[str, ...]) -> Rule:
    return Rule(permit=False, where=Not(In("ty", types)), reason=_NO_ROLE_MAY.format(role=subject.role))


def require_scope(rules: Sequence[Rule], resource_type: str | None, action: Action) -> None:
    """Refuse at once what no rule could permit for the type, whatever the resource holds.

    Without a type (the whole system) it is enough that anything is permitted: the query is narrowed.
    """
    if resource_type is None:
        if any(rule.permit for rule in rules):
            return
    elif decide(rules, {"ty": resource_type}).permit:
        return
    raise Refused(
        f"This token does not allow to {action} {resource_type or 'anything'}.",
        reasons=decide(rules, {"ty": resource_type}).reasons,
        headers=(("WWW-Authenticate", 'Bearer error="insufficient_scope"'),),
    )

"""What the server itself writes into records: notices to the holder and the attending doctor, tasks for the administrator.

https://hl7.org/fhir/R4/communication.html. A notice has an id that its cause gives it, so that nobody is told twice. It says that something
happened and where to look, and nothing of anybody's health.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from fhir_dmp.access import systems
from fhir_dmp.access.actors import reference_of
from fhir_dmp.access.model import Subject
from fhir_dmp.access.policy import Policy
from fhir_dmp.access.systems import REVIEW, TASKS
from fhir_dmp.call import Context, Env
from fhir_dmp.fhir.labels import HIDDEN_FROM_REPRESENTATIVES, with_flags
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.interactions.write import prepare
from fhir_dmp.store.change import Change

SERVER = Subject("dmp-server", systems.SERVER, ())
"""Who writes notices: nobody signs in as it, and no rule permits it anything."""

_CATEGORY = {"system": "http://terminology.hl7.org/CodeSystem/communication-category", "code": "notification"}


def notice_id(cause: str) -> str:
    """Return the id of the notice about a cause, the same each time."""
    return f"n{hashlib.sha256(cause.encode()).hexdigest()[:40]}"


def untold(causes: Sequence[str], env: Env) -> list[str]:
    """Return those of the causes that no notice was written about."""
    refs = {cause: Ref("Communication", notice_id(cause)) for cause in causes}
    known = env.store.find_many(tuple(refs.values())) if refs else {}
    return [cause for cause, ref in refs.items() if ref not in known]


def notice(
    cause: str, patient: str, to: Mapping[str, Any], words: str, context: Context, env: Env, *, secret: bool = False
) -> Change:
    """Return the Change that writes the notice ``words`` about ``cause`` to a reference; a ``secret`` one is told to no representative."""
    tree: dict[str, Any] = {
        "resourceType": "Communication",
        "status": "completed",
        "category": [{"coding": [_CATEGORY]}],
        "subject": {"reference": patient},
        "recipient": [to],
        "sent": context.now.isoformat(timespec="seconds"),
        "payload": [{"contentString": words}],
    }
    if secret:
        tree = with_flags(tree, frozenset((HIDDEN_FROM_REPRESENTATIVES,)))
    return _written(Ref("Communication", notice_id(cause)), tree, context, env)


def review(cause: str, patient: str, words: str, context: Context, env: Env) -> Change:
    """Return the Change that opens a Task for the record administrator."""
    tree = {
        "resourceType": "Task",
        "status": "requested",
        "intent": "order",
        "code": {"coding": [{"system": TASKS, "code": REVIEW}]},
        "for": {"reference": patient},
        "authoredOn": context.now.isoformat(timespec="seconds"),
        "description": words,
    }
    return _written(Ref("Task", notice_id(cause)), tree, context, env)


def doctors(policy: Policy) -> list[Mapping[str, Any]]:
    """Return references to the attending doctors that the policy names."""
    names = dict.fromkeys(member.actors[0][0] for entry in policy.entries for member in entry.doctors)
    return [reference_of(name) for name in names]


def _written(ref: Ref, tree: Mapping[str, Any], context: Context, env: Env) -> Change:
    return prepare(ref, None, tree, replace(context, subject=SERVER), env)
